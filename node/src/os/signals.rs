//! SIGTERM and SIGINT.

use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a process killed by SIGINT returns in a shell.
const EXIT_CODE_SECOND_SIGNAL: i32 = 130;

/// Both signals, caught from [`Signals::install`] on.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches the signals. One that comes before [`Signals::first`] is awaited is kept.
    ///
    /// # Errors
    /// The system refuses the handlers.
    pub fn install() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the first signal. The second one ends the process at once.
    pub async fn first(mut self) {
        self.next().await;
        tokio::task::spawn_local(async move {
            self.next().await;
            std::process::exit(EXIT_CODE_SECOND_SIGNAL);
        });
    }

    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
