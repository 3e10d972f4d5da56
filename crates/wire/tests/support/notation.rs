//! Streams of bytes written down in hexadecimal digits, and what frames they are.
//!
//! A stream is named `to-node`, `to-client`, `link to-acceptor` or `link to-dialler`, and says how
//! far the connection is: `compact` (agreed on), `early` (before the handshake), `after SEQ ACK
//! WINDOW` (what the last frame said).

use crate::rendering;
use multibeam_wire::link::{LinkDecoder, LinkDirection};
use multibeam_wire::{Decoder, Direction, Encoder, FrameType, Header, Payload, Rejection, Seq, Step};

/// Digits as in the documents: upper case, no spaces.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Bytes of pairs of digits, with spaces between or without.
///
/// # Panics
/// On anything else.
pub(crate) fn parse_hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "an odd number of digits: {text}");
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16);
    digits.chunks(2).map(|pair| byte(pair).unwrap_or_else(|_| panic!("no digits: {text}"))).collect()
}

/// One direction of a connection: reads a frame, says what it is, and writes it again.
#[derive(Debug)]
pub(crate) enum Reader {
    Client { decoder: Decoder, encoder: Encoder },
    Link(LinkDecoder),
}

/// A frame, or why there is none.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its line of text.
    pub(crate) line: String,
    /// Its type's name.
    pub(crate) label: &'static str,
    /// What it encodes to, in the form it came in.
    pub(crate) again: Vec<u8>,
    /// Its header, if it is one between client and node.
    pub(crate) header: Option<Header>,
}

impl Reader {
    /// A reader of the stream with this name.
    ///
    /// # Panics
    /// On words that this module does not describe.
    pub(crate) fn new(stream: &str) -> Self {
        let mut words = stream.split_whitespace();
        let mut next = || words.next().unwrap_or("nothing");
        let mut reader = match next() {
            "to-node" => Self::client(Direction::ToNode),
            "to-client" => Self::client(Direction::ToClient),
            "link" => Self::Link(LinkDecoder::new(match next() {
                "to-acceptor" => multibeam_wire::link::LinkDirection::ToAcceptor,
                "to-dialler" => LinkDirection::ToDialler,
                other => panic!("{other} in {stream:?}"),
            })),
            other => panic!("{other} in {stream:?}"),
        };
        let mut is_early = false;
        while let Some(word) = words.next() {
            match (word, &mut reader) {
                ("early", _) => is_early = true,
                ("compact", Self::Client { decoder, encoder }) => {
                    decoder.agree_compact();
                    encoder.agree_compact();
                }
                ("after", Self::Client { decoder, encoder }) => {
                    let mut number = || words.next().and_then(|word| word.parse().ok()).expect("a number");
                    let (seq, ack_seq) = (Seq(number()), Seq(number()));
                    let window = u16::try_from(number()).expect("a window");
                    let frame_type = FrameType::Heartbeat;
                    decoder.advance(&Header { frame_type, seq, ack_seq, window, len: 0 });
                    encoder.encode(&Payload::Heartbeat, seq, ack_seq, window, &mut Vec::new());
                }
                (other, _) => panic!("{other} in {stream:?}"),
            }
        }
        match &mut reader {
            Self::Client { decoder, .. } if !is_early => decoder.established(),
            Self::Link(decoder) if !is_early => decoder.established(),
            Self::Client { .. } | Self::Link(_) => {}
        }
        reader
    }

    fn client(direction: Direction) -> Self {
        Self::Client { decoder: Decoder::new(direction), encoder: Encoder::new() }
    }

    /// The frame at the start of the bytes and how many it takes.
    ///
    /// # Errors
    /// What the decoder says.
    ///
    /// # Panics
    /// If the frame is incomplete.
    pub(crate) fn next(&mut self, bytes: &[u8]) -> Result<(Found, usize), Rejection> {
        let mut again = Vec::new();
        match self {
            Self::Client { decoder, encoder } => match decoder.step(bytes)? {
                Step::Partial(needed) => panic!("{needed} bytes wanted: {}", hex(bytes)),
                Step::Frame(frame, used) => {
                    let header = frame.header;
                    let (seq, ack_seq, window) = (header.seq, header.ack_seq, header.window);
                    // In a stream of both forms a fixed frame may stand where a compact one could.
                    let mut form = if bytes[0] == b'M' { Encoder::new() } else { *encoder };
                    form.encode(&frame.payload, seq, ack_seq, window, &mut again);
                    encoder.encode(&frame.payload, seq, ack_seq, window, &mut Vec::new());
                    decoder.advance(&header);
                    let (line, label) = (rendering::frame(&frame), header.frame_type.label());
                    Ok((Found { line, label, again, header: Some(header) }, used))
                }
            },
            Self::Link(decoder) => match decoder.step(bytes)? {
                Step::Partial(needed) => panic!("{needed} bytes wanted: {}", hex(bytes)),
                Step::Frame(frame, used) => {
                    let header = frame.header;
                    frame.payload.encode(header.seq, header.ack_seq, header.window, &mut again);
                    let (line, label) = (rendering::link_frame(&frame), header.frame_type.label());
                    Ok((Found { line, label, again, header: None }, used))
                }
            },
        }
    }
}
