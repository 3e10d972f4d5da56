//! The compact header once more, written down from docs/PROTOCOL.md and not from the code.

use multibeam_wire::Header;

/// Unsigned LEB128.
fn varint(mut n: u64, out: &mut Vec<u8>) {
    loop {
        let more = n > 127;
        out.push((n % 128) as u8 + if more { 128 } else { 0 });
        n /= 128;
        if !more {
            return;
        }
    }
}

/// What the compact header of a frame must be when `last` came before it.
pub(crate) fn compact_header(header: &Header, last: &Header) -> Vec<u8> {
    let implied_seq = last.seq.0.wrapping_add(u32::from(header.frame_type.sequenced()));
    let (mut lead, mut fields) = (header.frame_type as u8, Vec::new());
    if header.seq.0 != implied_seq {
        lead += 16;
        varint(header.seq.0.wrapping_sub(implied_seq).into(), &mut fields);
    }
    if header.ack_seq != last.ack_seq {
        lead += 32;
        varint(header.ack_seq.0.wrapping_sub(last.ack_seq.0).into(), &mut fields);
    }
    if header.window != last.window {
        lead += 64;
        varint(header.window.into(), &mut fields);
    }
    varint(header.len.into(), &mut fields);
    fields.insert(0, lead);
    fields
}
