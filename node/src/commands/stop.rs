//! What ends a command of a client early: a signal, or its own time-out.

use super::Failure;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Sleep;

/// Why a command ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// SIGINT or SIGTERM.
    Interrupted,
    /// `--timeout` was over.
    TimedOut(Duration),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => f.write_str("interrupted"),
            Self::TimedOut(timeout) => write!(f, "timed out after {} s", timeout.as_secs_f64()),
        }
    }
}

/// Catches signals from when it is made; without it they end the process.
#[derive(Debug)]
pub(super) struct Stopper {
    interrupt: Signal,
    terminate: Signal,
    timeout: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl Stopper {
    /// Begins to count the time-out.
    pub(super) fn new(timeout: Option<Duration>) -> Result<Self, Failure> {
        let catch =
            |kind| signal(kind).map_err(|error| Failure::Failed(format!("can't catch signals: {error}")));
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            timeout: timeout.map(|timeout| (timeout, Box::pin(tokio::time::sleep(timeout)))),
        })
    }

    /// Waits for the next reason to stop. A time-out is one only once.
    pub(super) async fn stopped(&mut self) -> Stop {
        let Self { interrupt, terminate, timeout } = self;
        let timed_out = async {
            match timeout {
                Some((after, sleep)) => {
                    sleep.as_mut().await;
                    *after
                }
                None => std::future::pending().await,
            }
        };
        let stop = tokio::select! {
            biased;
            _ = interrupt.recv() => Stop::Interrupted,
            _ = terminate.recv() => Stop::Interrupted,
            after = timed_out => Stop::TimedOut(after),
        };
        if matches!(stop, Stop::TimedOut(_)) {
            self.timeout = None;
        }
        stop
    }
}
