//! A subscriber's application that begins anew while its host lives on.

use super::connector::Kill;
use multibeam_client::Client;
use std::cell::Cell;
use tokio::sync::Notify;

/// Asks one subscriber to begin anew.
#[derive(Debug, Default)]
pub struct Restart {
    bell: Notify,
    politely: Cell<bool>,
    runs: Cell<bool>,
}

impl Restart {
    /// Asks; true if there is somebody to hear it.
    pub fn ask(&self, politely: bool) -> bool {
        self.politely.set(politely);
        if self.runs.get() {
            self.bell.notify_one();
        }
        self.runs.get()
    }

    /// Waits until somebody asks.
    pub(super) async fn asked(&self) {
        self.runs.set(true);
        self.bell.notified().await;
        self.runs.set(false);
    }

    /// The old application's client ends, with or without a word to the node.
    pub(super) async fn leave(&self, client: &Client, kill: &Kill) {
        if !self.politely.get() {
            kill.cut();
        }
        client.close().await;
    }
}
