//! The 16-byte header of each frame. Big-endian. `compact` has its short form.

use crate::ids::Seq;
use crate::rejection::{Incompatible, Malformed, Rejection};

/// First two bytes of each frame: "MB".
pub const MAGIC: u16 = 0x4D42;
/// Version of the protocol spoken here.
pub const VERSION: u8 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 16;

macro_rules! frame_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal $label:literal $sequenced:literal $compact:literal,)*) => {
        /// What a frame between client and node is for. The numbers are the header's `type` byte.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum FrameType { $($(#[$doc])* $name = $number,)* }

        impl FrameType {
            /// All types, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The type with this number, if there is one.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

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

            /// Whether frames of this type may have a compact header. Those that come before
            /// it is agreed on, and the last one, never do.
            #[must_use]
            pub const fn has_compact_form(self) -> bool {
                match self { $(Self::$name => $compact,)* }
            }
        }

        impl TypeNumber for FrameType {
            fn from_number(number: u8) -> Option<Self> {
                Self::from_number(number)
            }
            fn number(self) -> u8 {
                self as u8
            }
        }
    };
}

frame_types! {
    /// A message: published by a client, or delivered to it.
    Data = 0 "DATA" true true,
    /// A sign of life when there is nothing else to say.
    Heartbeat = 1 "HEARTBEAT" false true,
    /// Carries a newer `ack_seq` when no other frame does.
    Ack = 2 "ACK" false true,
    /// Carries a newer window when no other frame does.
    WindowUpdate = 3 "WINDOW_UPDATE" false true,
    /// A client's first frame.
    Hello = 4 "HELLO" false false,
    /// The node's answer to HELLO.
    Welcome = 5 "WELCOME" false false,
    /// A client wants a topic.
    Subscribe = 6 "SUBSCRIBE" true true,
    /// The node's answer to SUBSCRIBE.
    Subscribed = 7 "SUBSCRIBED" false true,
    /// A client is done with a topic.
    Unsubscribe = 8 "UNSUBSCRIBE" true true,
    /// Tells a subscriber which messages it will not get.
    Gap = 9 "GAP" true true,
    /// A request was refused; the session goes on.
    Error = 10 "ERROR" false true,
    /// The node wants this client to go elsewhere by a deadline; the session goes on till then.
    GoAway = 11 "GOAWAY" false true,
    /// The node's answer to HELLO when it won't have this client.
    Reject = 12 "REJECT" false false,
    /// Last frame of either side: why the connection ends.
    Bye = 13 "BYE" false false,
}

/// A set of frame types: those between client and node, or those of a link.
pub(crate) trait TypeNumber: Copy {
    fn from_number(number: u8) -> Option<Self>;
    fn number(self) -> u8;
}

/// The header's fields behind magic and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<T = FrameType> {
    /// What the frame is for.
    pub frame_type: T,
    /// Number of the last sequenced frame that this side sent, this one included.
    pub seq: Seq,
    /// Cumulative: every sequenced frame of the other side up to here is done.
    pub ack_seq: Seq,
    /// Permission: payload bytes of DATA frames above `ack_seq`, in negotiated units.
    pub window: u16,
    /// Bytes of payload behind the header.
    pub len: u16,
}

/// The header in fixed form.
pub(crate) fn fixed<T: TypeNumber>(header: &Header<T>) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[0..2].copy_from_slice(&MAGIC.to_be_bytes());
    bytes[2] = VERSION;
    bytes[3] = header.frame_type.number();
    bytes[4..8].copy_from_slice(&header.seq.0.to_be_bytes());
    bytes[8..12].copy_from_slice(&header.ack_seq.0.to_be_bytes());
    bytes[12..14].copy_from_slice(&header.window.to_be_bytes());
    bytes[14..16].copy_from_slice(&header.len.to_be_bytes());
    bytes
}

/// Reads the fixed header at the start of `input`; `None` while it is incomplete.
#[inline]
pub(crate) fn parse_fixed<T: TypeNumber>(input: &[u8]) -> Result<Option<Header<T>>, Rejection> {
    if let Some(&[m0, m1, VERSION, number, s0, s1, s2, s3, a0, a1, a2, a3, w0, w1, l0, l1]) =
        input.first_chunk::<HEADER_BYTES>()
        && u16::from_be_bytes([m0, m1]) == MAGIC
        && let Some(frame_type) = T::from_number(number)
    {
        return Ok(Some(Header {
            frame_type,
            seq: Seq(u32::from_be_bytes([s0, s1, s2, s3])),
            ack_seq: Seq(u32::from_be_bytes([a0, a1, a2, a3])),
            window: u16::from_be_bytes([w0, w1]),
            len: u16::from_be_bytes([l0, l1]),
        }));
    }
    judge_start::<T>(input)
}

/// Names what is wrong with a header that is incomplete or bad; `None` if nothing is yet.
#[cold]
fn judge_start<T: TypeNumber>(input: &[u8]) -> Result<Option<Header<T>>, Rejection> {
    let magic = MAGIC.to_be_bytes();
    let seen = input.len().min(magic.len());
    if input[..seen] != magic[..seen] {
        return Err(Malformed::Magic.into());
    }
    match input.get(2) {
        None | Some(&VERSION) => {}
        Some(&version) => return Err(Incompatible::Version(version).into()),
    }
    match input.get(3) {
        Some(&number) if T::from_number(number).is_none() => Err(Malformed::UnknownType(number).into()),
        None | Some(_) => Ok(None),
    }
}

impl Header {
    /// The header as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        fixed(self)
    }

    /// Reads the header at the start of `input`; `None` while it is incomplete.
    ///
    /// Magic, version and type are judged as soon as their bytes are there, so that a peer
    /// that speaks something else is told at its first byte.
    ///
    /// # Errors
    /// [`Malformed::Magic`], [`Incompatible::Version`], [`Malformed::UnknownType`].
    pub fn parse(input: &[u8]) -> Result<Option<Self>, Rejection> {
        parse_fixed(input)
    }
}
