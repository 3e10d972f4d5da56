//! Watches a client that keeps the rules: nobody may blame it for breaking one, nor may it find the
//! node at fault.

use crate::history::What;
use crate::world::World;
use multibeam_client::{Client, CloseClass, ConnectionError, State};
use multibeam_wire::CloseCode;
use std::rc::Rc;

/// Writes down each blame, until the client is closed.
pub(super) async fn watch(world: Rc<World>, client: Client, index: usize) {
    let mut seen = client.status();
    loop {
        seen = client.status_after(seen.version).await;
        if seen.state == State::Closed {
            return;
        }
        if let (State::Waiting, Some(error)) = (seen.state, &seen.last_error)
            && is_blame(error)
        {
            world.record(What::Blamed { client: index, error: error.to_string() });
        }
    }
}

fn is_blame(error: &ConnectionError) -> bool {
    if let ConnectionError::Protocol { .. } = error {
        return true;
    }
    let ConnectionError::Bye { number, .. } = error else { return false };
    // Who was late is not to blame here: the network is slow, and clients are.
    let late = [
        CloseCode::HelloTimeout,
        CloseCode::HeartbeatTimeout,
        CloseCode::AckTimeout,
        // Only a class says so, and the plan has such classes.
        CloseCode::TooSlow,
    ];
    !late.iter().any(|code| *code as u16 == *number)
        && match error.close_class() {
            None | Some(CloseClass::Malformed | CloseClass::Incompatible | CloseClass::Misbehaved) => true,
            Some(CloseClass::Normal | CloseClass::Overloaded | CloseClass::Ours) => false,
        }
}
