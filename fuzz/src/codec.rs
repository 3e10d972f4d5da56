//! The codec under any bytes: four targets, each a plain function.
//!
//! * [`client_frame`], [`peer_frame`]: what is accepted has one spelling.
//! * [`chunked_decoder`]: where the bytes are cut makes no difference.
//! * [`compact`]: both forms of a frame say the same.
//!
//! Each takes a byte or more of settings from the front of its input.

mod drawn;
mod pieces;
mod spelling;

use multibeam_wire::link::{LinkDecoder, LinkDirection};
use multibeam_wire::{Decoder, Direction, Encoder, Header, Payload, Step};

/// Bits of the first byte.
const COMPACT: u8 = 1;
const EARLY: u8 = 2;
const OTHER_WAY: u8 = 4;
const LINK: u8 = 8;

/// Decodes the bytes as a stream between client and node, in both directions.
///
/// # Panics
/// When an accepted frame is not what its own encoding says.
pub fn client_frame(bytes: &[u8]) {
    let Some((settings, stream)) = bytes.split_first() else { return };
    for direction in [Direction::ToNode, Direction::ToClient] {
        spelling::check(decoder(direction, *settings), direction, stream);
    }
}

/// Decodes the bytes as a stream of a link, in both directions.
///
/// # Panics
/// When an accepted frame is not what its own encoding says.
pub fn peer_frame(bytes: &[u8]) {
    let Some((settings, stream)) = bytes.split_first() else { return };
    for direction in [LinkDirection::ToAcceptor, LinkDirection::ToDialler] {
        spelling::check_link(link_decoder(direction, *settings), stream);
    }
}

/// Decodes the bytes in one piece, then in the pieces that the input asks for: through a buffer that
/// takes all there is, and through one that holds a frame and takes what the decoder asks for.
///
/// # Panics
/// When the frames or the rejection differ.
pub fn chunked_decoder(bytes: &[u8]) {
    let [settings, agreed_at, cuts, rest @ ..] = bytes else { return };
    let Some((cuts, stream)) = rest.split_at_checked(usize::from(cuts % 8)) else { return };
    let is_other_way = settings & OTHER_WAY != 0;
    if settings & LINK != 0 {
        let direction = if is_other_way { LinkDirection::ToDialler } else { LinkDirection::ToAcceptor };
        pieces::check_link(link_decoder(direction, *settings), stream, cuts);
    } else {
        let direction = if is_other_way { Direction::ToClient } else { Direction::ToNode };
        let agreed_at = (settings & COMPACT != 0).then_some(usize::from(agreed_at % 8));
        pieces::check(
            decoder(direction, settings & !COMPACT),
            direction,
            agreed_at,
            settings & EARLY != 0,
            stream,
            cuts,
        );
    }
}

/// Builds the frames that the input describes, in both forms.
///
/// # Panics
/// When they don't come back, or not as the same frames.
pub fn compact(bytes: &[u8]) {
    let Some((settings, rest)) = bytes.split_first() else { return };
    let direction = if settings & OTHER_WAY != 0 { Direction::ToClient } else { Direction::ToNode };
    if settings & LINK != 0 {
        // In place of a description: raw bytes behind the agreement.
        return spelling::check(decoder(direction, COMPACT), direction, rest);
    }
    let mut pair = Pair::new(direction);
    drawn::frames(rest, direction, |header, payload| pair.check(header, payload));
}

fn decoder(direction: Direction, settings: u8) -> Decoder {
    let mut decoder = Decoder::new(direction);
    if settings & EARLY == 0 {
        decoder.established();
    }
    if settings & COMPACT != 0 {
        decoder.agree_compact();
    }
    decoder
}

fn link_decoder(direction: LinkDirection, settings: u8) -> LinkDecoder {
    let mut decoder = LinkDecoder::new(direction);
    if settings & EARLY == 0 {
        decoder.established();
    }
    decoder
}

/// The same frames in fixed and in compact form.
struct Pair {
    fixed: (Encoder, Decoder),
    compact: (Encoder, Decoder),
}

impl Pair {
    fn new(direction: Direction) -> Self {
        let mut encoder = Encoder::new();
        encoder.agree_compact();
        Self {
            fixed: (Encoder::new(), decoder(direction, 0)),
            compact: (encoder, decoder(direction, COMPACT)),
        }
    }

    fn check(&mut self, header: &Header, payload: &Payload<'_>) {
        for (encoder, decoder) in [&mut self.fixed, &mut self.compact] {
            let mut bytes = Vec::new();
            let len = encoder.encode(payload, header.seq, header.ack_seq, header.window, &mut bytes);
            let expected = Header { len: len as u16, ..*header };
            let Ok(Step::Frame(frame, used)) = decoder.step(&bytes) else { panic!("{payload:?} is refused") };
            assert_eq!((&frame.header, &frame.payload, used), (&expected, payload, bytes.len()));
            for cut in [0, 1, 2, bytes.len() - len, bytes.len() - 1] {
                let step = decoder.step(&bytes[..cut]);
                let asks_enough =
                    matches!(step, Ok(Step::Partial(needed)) if cut < needed && needed <= bytes.len());
                assert!(cut == bytes.len() || asks_enough, "{cut} bytes: {step:?}");
            }
            let header = frame.header;
            decoder.advance(&header);
        }
    }
}
