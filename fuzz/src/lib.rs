//! What the fuzz targets run, as plain functions of bytes, so that an ordinary test replays
//! the corpus that the fuzzer built.
//!
//! * [`event_loop`]: a whole node over the scripted kernel; see `multibeam_model::script`.
//! * [`client_frame`]: the codec, in both directions and in any chunks.

#![forbid(unsafe_code)]

use multibeam_model::script;
use multibeam_wire::{Decoder, Direction, Inbound, Payload, Step};

/// Runs the bytes as a script.
///
/// # Panics
/// When the script breaks something.
pub fn event_loop(bytes: &[u8]) {
    if let Err(error) = script::run(bytes) {
        panic!("{error}");
    }
}

/// Decodes the bytes. The first one says where the stream is cut.
///
/// # Panics
/// When a cut changes the frames, or a frame does not come back from its own encoding.
pub fn client_frame(bytes: &[u8]) {
    let Some((cut, stream)) = bytes.split_first() else { return };
    for direction in [Direction::ToNode, Direction::ToClient] {
        let mut decoder = Decoder::new(direction);
        decoder.established();
        let mut inbound = Inbound::new(direction);
        inbound.established();
        let mut whole = Vec::new();
        let mut at = 0;
        while let Ok(Step::Frame(frame, used)) = decoder.step(&stream[at..]) {
            at += used;
            whole.push(again(&frame.payload, direction));
        }
        let mut cut_up = Vec::new();
        'chunks: for chunk in stream.chunks(usize::from(*cut).max(1)) {
            inbound.push(chunk);
            loop {
                match inbound.next_frame() {
                    Ok(Some(frame)) => cut_up.push(again(&frame.payload, direction)),
                    Ok(None) => break,
                    Err(_) => break 'chunks,
                }
            }
        }
        assert_eq!(whole, cut_up, "cut every {cut} bytes");
    }
}

/// A frame's own encoding, which must decode to the same frame.
fn again(payload: &Payload<'_>, direction: Direction) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What a node takes from a publisher may be longer than what it will deliver.
    if let Payload::Publish(publish) = payload
        && publish.body.len() > multibeam_wire::limits::BODY_BYTES_MAX
    {
        return publish.body.to_vec();
    }
    payload.encode(multibeam_wire::Seq(1), multibeam_wire::Seq(2), 3, &mut bytes);
    let mut decoder = Decoder::new(direction);
    decoder.established();
    match decoder.step(&bytes) {
        Ok(Step::Frame(frame, used)) => {
            assert_eq!((&frame.payload, used), (payload, bytes.len()));
        }
        other => panic!("{payload:?} came back as {other:?}"),
    }
    bytes
}
