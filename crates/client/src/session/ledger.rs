//! What outlives a connection. Each connection borrows it for the length of a call.

use super::Notice;
use super::publishes::Publishes;
use super::subscriptions::Subscriptions;
use crate::random::Random;
use crate::status::ClientStats;
use std::collections::VecDeque;

/// Everything that a client keeps over reconnects.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) publishes: Publishes,
    pub(super) subscriptions: Subscriptions,
    pub(super) stats: ClientStats,
    /// What the application is to be told; drained after each call into the session.
    pub(super) notices: VecDeque<Notice>,
    pub(super) random: Random,
}
