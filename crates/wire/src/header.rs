//! The 16-byte header of each frame. Big-endian.

use crate::decoder::DecodeError;
use crate::ids::Seq;

/// First two bytes of each frame: "MB".
pub const MAGIC: u16 = 0x4D42;
/// Version of the protocol spoken here.
pub const VERSION: u8 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 16;

macro_rules! frame_types {
    ($($(#[$doc:meta])* $name:ident = $number:literal $label:literal $sequenced:literal,)*) => {
        /// What a frame is for. The numbers are the header's `type` byte.
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
        }
    };
}

frame_types! {
    /// A message: published by a client, or delivered to it.
    Data = 0 "DATA" true,
    /// A sign of life when there is nothing else to say.
    Heartbeat = 1 "HEARTBEAT" false,
    /// Carries a newer `ack_seq` when no other frame does.
    Ack = 2 "ACK" false,
    /// Carries a newer window when no other frame does.
    WindowUpdate = 3 "WINDOW_UPDATE" false,
    /// A client's first frame.
    Hello = 4 "HELLO" false,
    /// The node's answer to HELLO.
    Welcome = 5 "WELCOME" false,
    /// A client wants a topic.
    Subscribe = 6 "SUBSCRIBE" true,
    /// The node's answer to SUBSCRIBE.
    Subscribed = 7 "SUBSCRIBED" false,
    /// A client is done with a topic.
    Unsubscribe = 8 "UNSUBSCRIBE" true,
    /// Tells a subscriber which messages it will not get.
    Gap = 9 "GAP" true,
    /// A request was refused; the session goes on.
    Error = 10 "ERROR" false,
    /// Last frame of either side: why the connection ends.
    Bye = 13 "BYE" false,
}

/// Numbers set aside for frames that later versions of this protocol define.
pub const RESERVED_TYPES: &[(u8, &str)] = &[(11, "GOAWAY"), (12, "REJECT")];

/// The header's fields behind magic and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is for.
    pub frame_type: FrameType,
    /// Number of the last sequenced frame that this side sent, this one included.
    pub seq: Seq,
    /// Cumulative: every sequenced frame of the other side up to here is done.
    pub ack_seq: Seq,
    /// Permission: payload bytes of DATA frames above `ack_seq`, in negotiated units.
    pub window: u16,
    /// Bytes of payload behind the header.
    pub len: u16,
}

impl Header {
    /// The header as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..2].copy_from_slice(&MAGIC.to_be_bytes());
        bytes[2] = VERSION;
        bytes[3] = self.frame_type as u8;
        bytes[4..8].copy_from_slice(&self.seq.0.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.ack_seq.0.to_be_bytes());
        bytes[12..14].copy_from_slice(&self.window.to_be_bytes());
        bytes[14..16].copy_from_slice(&self.len.to_be_bytes());
        bytes
    }

    /// Reads the header at the start of `input`; `None` while it is incomplete.
    ///
    /// Magic, version and type are judged as soon as their bytes are there, so that a peer
    /// that speaks something else is told at its first byte.
    ///
    /// # Errors
    /// [`DecodeError::BadMagic`], [`DecodeError::BadVersion`], [`DecodeError::UnknownType`].
    pub fn parse(input: &[u8]) -> Result<Option<Self>, DecodeError> {
        let magic = MAGIC.to_be_bytes();
        let seen = input.len().min(magic.len());
        if input[..seen] != magic[..seen] {
            return Err(DecodeError::BadMagic);
        }
        match input.get(2) {
            None => return Ok(None),
            Some(&VERSION) => {}
            Some(&version) => return Err(DecodeError::BadVersion(version)),
        }
        let frame_type = match input.get(3) {
            None => return Ok(None),
            Some(&number) => FrameType::from_number(number).ok_or(DecodeError::UnknownType(number))?,
        };
        let Some(rest) = input.get(4..HEADER_BYTES) else { return Ok(None) };
        let u32_at = |at: usize| u32::from_be_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
        let u16_at = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
        Ok(Some(Self {
            frame_type,
            seq: Seq(u32_at(0)),
            ack_seq: Seq(u32_at(4)),
            window: u16_at(8),
            len: u16_at(10),
        }))
    }
}
