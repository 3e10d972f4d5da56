//! R7 as a client sees it: what a node says that holds no lease.

use multibeam_wire::{Outcome, Payload};

/// Whether a frame promises nothing by itself, so that a node may say it without a lease; as long as the
/// acknowledgement in its header is no new one.
#[must_use]
pub const fn needs_none(payload: &Payload<'_>) -> bool {
    match payload {
        Payload::Welcome(welcome) => !welcome.leads,
        Payload::Heartbeat | Payload::GoAway(_) | Payload::Reject(_) | Payload::Bye(_) => true,
        Payload::Error(refusal) => matches!(refusal.outcome, Outcome::Unknown),
        Payload::Ack(_)
        | Payload::WindowUpdate
        | Payload::Publish(_)
        | Payload::Delivery(_)
        | Payload::Hello(_)
        | Payload::Subscribe(_)
        | Payload::Subscribed(_)
        | Payload::Unsubscribe(_)
        | Payload::Gap(_) => false,
    }
}
