//! The same bytes in any pieces give the same frames, or the same rejection.

use multibeam_wire::link::LinkDecoder;
use multibeam_wire::{Decoder, Direction, Inbound, Rejection, Step};

/// What a stream comes to: its frames, each as it would be encoded, and what stopped the reader.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    frames: Vec<Vec<u8>>,
    rejection: Option<Rejection>,
}

/// A frame as it would be encoded and the bytes it took, or the bytes it will take.
type Looked = Result<Step<Vec<u8>>, Rejection>;

/// One that looks at the start of some bytes; a frame that it returns counts as handled.
trait Reader: Clone {
    fn look(&mut self, input: &[u8]) -> Looked;
}

#[derive(Clone)]
struct Client {
    decoder: Decoder,
    /// So many frames in, compact headers are agreed on.
    agreed_at: Option<usize>,
    handled: usize,
}

impl Reader for Client {
    fn look(&mut self, input: &[u8]) -> Looked {
        if self.agreed_at == Some(self.handled) {
            self.decoder.agree_compact();
        }
        let (frame, used) = match self.decoder.step(input)? {
            Step::Frame(frame, used) => (frame, used),
            Step::Partial(needed) => return Ok(Step::Partial(needed)),
        };
        let header = frame.header;
        let mut bytes = Vec::new();
        frame.payload.encode(header.seq, header.ack_seq, header.window, &mut bytes);
        self.decoder.advance(&header);
        self.handled += 1;
        Ok(Step::Frame(bytes, used))
    }
}

impl Reader for LinkDecoder {
    fn look(&mut self, input: &[u8]) -> Looked {
        Ok(match self.step(input)? {
            Step::Partial(needed) => Step::Partial(needed),
            Step::Frame(frame, used) => {
                let header = frame.header;
                let mut bytes = Vec::new();
                frame.payload.encode(header.seq, header.ack_seq, header.window, &mut bytes);
                Step::Frame(bytes, used)
            }
        })
    }
}

/// Reads a stream between client and node in one piece, parked, and through [`Inbound`].
pub(super) fn check(
    decoder: Decoder,
    direction: Direction,
    agreed_at: Option<usize>,
    is_early: bool,
    stream: &[u8],
    cuts: &[u8],
) {
    let reader = Client { decoder, agreed_at, handled: 0 };
    let whole = in_one_piece(reader.clone(), stream);
    assert_eq!(whole, parked(reader, stream, cuts), "parked, in pieces of {cuts:?}");
    let mut inbound = Inbound::new(direction);
    if !is_early {
        inbound.established();
    }
    assert_eq!(whole, buffered(inbound, agreed_at, stream, cuts), "in pieces of {cuts:?}");
}

/// Reads a stream of a link in one piece and parked.
pub(super) fn check_link(decoder: LinkDecoder, stream: &[u8], cuts: &[u8]) {
    let whole = in_one_piece(decoder, stream);
    assert_eq!(whole, parked(decoder, stream, cuts), "parked, in pieces of {cuts:?}");
}

fn in_one_piece(mut reader: impl Reader, stream: &[u8]) -> Outcome {
    let (mut outcome, mut rest) = (Outcome::default(), stream);
    loop {
        match reader.look(rest) {
            Ok(Step::Frame(frame, used)) => {
                outcome.frames.push(frame);
                rest = &rest[used..];
            }
            Ok(Step::Partial(needed)) => {
                assert!(needed > rest.len());
                return outcome;
            }
            Err(rejection) => {
                outcome.rejection = Some(rejection);
                return outcome;
            }
        }
    }
}

/// Pieces of these lengths, again and again; one, if there are none.
fn pieces<'a>(stream: &'a [u8], cuts: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = stream;
    let mut lens = cuts.iter().map(|len| usize::from(*len).max(1)).cycle();
    std::iter::from_fn(move || {
        let len = lens.next().unwrap_or(usize::MAX).min(rest.len());
        let (piece, behind) = rest.split_at(len);
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Keeps the start of a frame aside, and adds to it no more than the decoder asks for: as a node does
/// whose buffers are shared by many connections.
fn parked(mut reader: impl Reader, stream: &[u8], cuts: &[u8]) -> Outcome {
    let (mut outcome, mut park, mut needed) = (Outcome::default(), Vec::new(), 0);
    for mut piece in pieces(stream, cuts) {
        while !piece.is_empty() {
            let is_parked = !park.is_empty();
            let input = if is_parked {
                let (more, behind) = piece.split_at(piece.len().min(needed - park.len()));
                park.extend_from_slice(more);
                piece = behind;
                park.as_slice()
            } else {
                piece
            };
            match reader.look(input) {
                Ok(Step::Frame(frame, used)) => {
                    outcome.frames.push(frame);
                    if is_parked {
                        assert_eq!(used, park.len(), "more was asked for than the frame takes");
                        park.clear();
                    } else {
                        piece = &piece[used..];
                    }
                }
                Ok(Step::Partial(bytes)) => {
                    assert!(bytes > input.len());
                    needed = bytes;
                    if !is_parked {
                        park.extend_from_slice(std::mem::take(&mut piece));
                    }
                }
                Err(rejection) => {
                    outcome.rejection = Some(rejection);
                    return outcome;
                }
            }
        }
    }
    outcome
}

fn buffered(mut inbound: Inbound, agreed_at: Option<usize>, stream: &[u8], cuts: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    let agree = |inbound: &mut Inbound, handled| {
        if agreed_at == Some(handled) {
            inbound.agree_compact();
        }
    };
    agree(&mut inbound, 0);
    for piece in pieces(stream, cuts) {
        inbound.push(piece);
        loop {
            match inbound.next_frame() {
                Ok(Some(frame)) => {
                    let header = frame.header;
                    let mut bytes = Vec::new();
                    frame.payload.encode(header.seq, header.ack_seq, header.window, &mut bytes);
                    outcome.frames.push(bytes);
                    agree(&mut inbound, outcome.frames.len());
                }
                Ok(None) => break,
                Err(rejection) => {
                    outcome.rejection = Some(rejection);
                    return outcome;
                }
            }
        }
    }
    outcome
}
