//! Frames of a control link: what two nodes of a cluster say to each other.
//!
//! They have the fixed header of all frames, with types of their own, and no compact form. The
//! dialler says LINK_HELLO, the acceptor LINK_WELCOME or BYE; after that both are alike. Messages
//! of the consensus pass through as opaque parts. `seq` and `ack_seq` mean what they
//! mean to clients: STATE is sequenced, and its next part goes once the one before is acknowledged. `window`
//! permits nothing.

mod exchange;
mod greeting;
mod lease;

pub use exchange::{Part, Request, Response, State};
pub use greeting::{ClusterId, Epoch, Identity, Incarnation, LinkHello, LinkPurpose, NodeId, StoreId};
pub use lease::{Lease, LinkHeartbeat, VoterSet, Voters};

use crate::codec::{Count, Reader, Sink, Unreadable, Writer};
use crate::decoder::Step;
use crate::frame::Bye;
use crate::header::{HEADER_BYTES, Header, TypeNumber, fixed, parse_fixed};
use crate::ids::Seq;
use crate::limits::{LINK_HELLO_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::rejection::{Malformed, Misbehaved, Rejection};

macro_rules! link_frame_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal $label:literal $sequenced:literal,)*) => {
        /// What a frame of a link is for. The numbers are the header's `type` byte.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum LinkFrameType { $($(#[$doc])* $name = $number,)* }

        impl LinkFrameType {
            /// All types, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Name in documents, logs and metrics.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }

            /// Whether frames of this type take a sequence number.
            #[must_use]
            pub const fn sequenced(self) -> bool {
                match self { $(Self::$name => $sequenced,)* }
            }
        }

        impl TypeNumber for LinkFrameType {
            fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
            fn number(self) -> u8 {
                self as u8
            }
        }
    };
}

link_frame_types! {
    /// Last frame of either side: why the link ends.
    Bye = 13 "BYE" false,
    /// First frame of the side that dialled.
    Hello = 64 "LINK_HELLO" false,
    /// The answer of the side that was dialled.
    Welcome = 65 "LINK_WELCOME" false,
    /// A sign of life, and a wish for a lease.
    Heartbeat = 66 "LINK_HEARTBEAT" false,
    /// The answer to a heartbeat: a lease granted or refused.
    Lease = 67 "LEASE" false,
    /// A part of a question to the other node's consensus.
    Request = 68 "REQUEST" false,
    /// A part of the answer.
    Response = 69 "RESPONSE" false,
    /// A part of the agreed state, for whoever dialled and is behind.
    State = 70 "STATE" true,
}

/// Which way a frame travels on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkDirection {
    /// From the side that dialled.
    ToAcceptor,
    /// To the side that dialled.
    ToDialler,
}

/// A frame of a link; borrows from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkFrame<'a> {
    /// The header.
    pub header: Header<LinkFrameType>,
    /// What follows it.
    pub payload: LinkPayload<'a>,
}

/// What a frame of a link carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkPayload<'a> {
    /// BYE.
    Bye(Bye<'a>),
    /// LINK_HELLO.
    Hello(LinkHello<'a>),
    /// LINK_WELCOME: who answers.
    Welcome(Identity),
    /// LINK_HEARTBEAT.
    Heartbeat(LinkHeartbeat),
    /// LEASE.
    Lease(Lease),
    /// REQUEST.
    Request(Request<'a>),
    /// RESPONSE.
    Response(Response<'a>),
    /// STATE.
    State(State<'a>),
}

impl<'a> LinkPayload<'a> {
    /// The type that the header says for this payload.
    #[must_use]
    pub const fn frame_type(&self) -> LinkFrameType {
        match self {
            Self::Bye(_) => LinkFrameType::Bye,
            Self::Hello(_) => LinkFrameType::Hello,
            Self::Welcome(_) => LinkFrameType::Welcome,
            Self::Heartbeat(_) => LinkFrameType::Heartbeat,
            Self::Lease(_) => LinkFrameType::Lease,
            Self::Request(_) => LinkFrameType::Request,
            Self::Response(_) => LinkFrameType::Response,
            Self::State(_) => LinkFrameType::State,
        }
    }

    /// Appends the whole frame to `out` and returns the bytes of its payload.
    ///
    /// # Panics
    /// When a string or part is longer than its limit in [`crate::limits`].
    pub fn encode(&self, seq: Seq, ack_seq: Seq, window: u16, out: &mut Vec<u8>) -> usize {
        let mut count = Count::default();
        self.put(&mut count);
        let len = count.0;
        assert!(len <= PAYLOAD_BYTES_MAX, "{len} bytes of payload in a {}", self.frame_type().label());
        let header = Header { frame_type: self.frame_type(), seq, ack_seq, window, len: len as u16 };
        out.reserve(HEADER_BYTES + len);
        out.extend_from_slice(&fixed(&header));
        let start = out.len();
        out.resize(start + len, 0);
        let mut writer = Writer::new(&mut out[start..]);
        self.put(&mut writer);
        writer.finish();
        len
    }

    fn put<S: Sink>(&self, sink: &mut S) {
        match self {
            Self::Bye(bye) => bye.put(sink),
            Self::Hello(hello) => hello.put(sink),
            Self::Welcome(identity) => identity.put(sink),
            Self::Heartbeat(heartbeat) => heartbeat.put(sink),
            Self::Lease(lease) => lease.put(sink),
            Self::Request(request) => request.put(sink),
            Self::Response(response) => response.put(sink),
            Self::State(state) => state.put(sink),
        }
    }

    fn decode(frame_type: LinkFrameType, payload: &'a [u8]) -> Result<Self, Unreadable> {
        let reader = &mut Reader::new(payload);
        Ok(match frame_type {
            LinkFrameType::Bye => Self::Bye(Bye::decode(reader)?),
            LinkFrameType::Hello => Self::Hello(LinkHello::decode(reader)?),
            LinkFrameType::Welcome => Self::Welcome(Identity::decode(reader)?),
            LinkFrameType::Heartbeat => Self::Heartbeat(LinkHeartbeat::decode(reader)?),
            LinkFrameType::Lease => Self::Lease(Lease::decode(reader)?),
            LinkFrameType::Request => Self::Request(Request::decode(reader)?),
            LinkFrameType::Response => Self::Response(Response::decode(reader)?),
            LinkFrameType::State => Self::State(State::decode(reader)?),
        })
    }
}

/// Reads the frames of one direction of a link. Keeps no bytes; its only state is whether the
/// handshake is over, before which frames must be short.
#[derive(Clone, Copy, Debug)]
pub struct LinkDecoder {
    direction: LinkDirection,
    payload_bytes_max: usize,
}

impl LinkDecoder {
    /// A decoder of a link that has just been opened.
    #[must_use]
    pub const fn new(direction: LinkDirection) -> Self {
        Self { direction, payload_bytes_max: LINK_HELLO_BYTES_MAX }
    }

    /// Allows frames of full length: the handshake is over.
    pub const fn established(&mut self) {
        self.payload_bytes_max = PAYLOAD_BYTES_MAX;
    }

    /// Looks at the start of `input`.
    ///
    /// # Errors
    /// See [`Rejection`]. The link can only be closed: frame borders are lost.
    pub fn step<'a>(&self, input: &'a [u8]) -> Result<Step<LinkFrame<'a>>, Rejection> {
        let Some(header) = parse_fixed::<LinkFrameType>(input)? else {
            return Ok(Step::Partial(HEADER_BYTES));
        };
        let frame_type = header.frame_type;
        let travels = match frame_type {
            LinkFrameType::Hello => self.direction == LinkDirection::ToAcceptor,
            LinkFrameType::Welcome => self.direction == LinkDirection::ToDialler,
            LinkFrameType::Bye
            | LinkFrameType::Heartbeat
            | LinkFrameType::Lease
            | LinkFrameType::Request
            | LinkFrameType::Response
            | LinkFrameType::State => true,
        };
        if !travels {
            return Err(Misbehaved::WrongDirection(frame_type.label()).into());
        }
        let end = HEADER_BYTES + usize::from(header.len);
        if usize::from(header.len) > self.payload_bytes_max {
            let len_max = self.payload_bytes_max;
            return Err(Malformed::TooLong { len: header.len.into(), len_max }.into());
        }
        let Some(payload) = input.get(HEADER_BYTES..end) else { return Ok(Step::Partial(end)) };
        let payload =
            LinkPayload::decode(frame_type, payload).map_err(|_| Malformed::Payload(frame_type.label()))?;
        Ok(Step::Frame(LinkFrame { header, payload }, end))
    }
}
