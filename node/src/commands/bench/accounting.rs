//! What the system says that a process has used: CPU time and memory.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Ticks a second in `/proc/PID/stat`; the same on every Linux that Rust runs on.
const NS_PER_TICK: u64 = 10_000_000;

/// A process counts as settled when it has used no CPU for so long.
const QUIET: Duration = Duration::from_millis(2);

/// Looks for quiet, at the most. A node has timers of its own, but none that is due so often.
const QUIET_TRIES: u32 = 100;

/// The accounts of one process.
#[derive(Clone, Debug)]
pub(super) struct Accounts {
    proc: PathBuf,
}

impl Accounts {
    pub(super) fn of(pid: u32) -> Self {
        Self { proc: PathBuf::from(format!("/proc/{pid}")) }
    }

    /// Nanoseconds of CPU so far, all threads, user and system. Exact while the process sleeps:
    /// the scheduler books a running thread at its ticks.
    ///
    /// # Errors
    /// The process is gone.
    pub(super) fn cpu_ns(&self) -> Result<u64, String> {
        let gone = |error: std::io::Error| format!("can't read the CPU time of the server: {error}");
        let tasks = std::fs::read_dir(self.proc.join("task")).map_err(gone)?;
        // A thread may end while we look; what it used is lost, and none of a node's does.
        let times = tasks.filter_map(Result::ok).map(|task| thread_ns(&task.path()));
        times.sum::<Option<u64>>().map_or_else(|| self.ticks_ns().map_err(gone), Ok)
    }

    /// [`Self::cpu_ns`] as soon as the process has stopped working.
    ///
    /// # Errors
    /// As there.
    pub(super) fn settled_cpu_ns(&self) -> Result<u64, String> {
        let mut last = self.cpu_ns()?;
        for _ in 0..QUIET_TRIES {
            std::thread::sleep(QUIET);
            let now = self.cpu_ns()?;
            if now == last {
                break;
            }
            last = now;
        }
        Ok(last)
    }

    /// For a kernel without the scheduler's statistics.
    fn ticks_ns(&self) -> std::io::Result<u64> {
        let text = std::fs::read_to_string(self.proc.join("stat"))?;
        // The name in parentheses may hold spaces; utime and stime are the 12th and 13th behind it.
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0);
        Ok((ticks(11) + ticks(12)) * NS_PER_TICK)
    }

    /// Descriptors that are open.
    ///
    /// # Errors
    /// The process is gone.
    pub(super) fn descriptors(&self) -> Result<usize, String> {
        let entries = std::fs::read_dir(self.proc.join("fd"))
            .map_err(|error| format!("can't count the descriptors of the server: {error}"))?;
        Ok(entries.count())
    }

    /// Resident bytes that belong to the process alone or to memory it shares by itself: RssAnon
    /// and RssShmem. Pages of files, such as the program's own code, are not among them.
    ///
    /// # Errors
    /// The process is gone.
    pub(super) fn resident_bytes(&self) -> Result<u64, String> {
        let text = std::fs::read_to_string(self.proc.join("status"))
            .map_err(|error| format!("can't read the memory of the server: {error}"))?;
        Ok(kibibytes(&text, "RssAnon:") + kibibytes(&text, "RssShmem:"))
    }
}

/// Run time of one thread; `None` if the kernel does not say.
fn thread_ns(task: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(task.join("schedstat")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

fn kibibytes(status: &str, label: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(label)).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_memory_of_this_process_are_seen() {
        let accounts = Accounts::of(std::process::id());
        let cpu_ns = accounts.cpu_ns().unwrap();
        let mut block = Vec::new();
        // Other tests of this process give memory back meanwhile.
        let grows = |block: &mut Vec<u8>| {
            let bytes = accounts.resident_bytes().unwrap();
            *block = vec![1_u8; 32 << 20];
            let grown = accounts.resident_bytes().unwrap();
            grown > bytes + (16 << 20)
        };
        assert!((0..20).any(|_| {
            block = Vec::new();
            grows(&mut block)
        }));
        while accounts.cpu_ns().unwrap() < cpu_ns + 20_000_000 {
            std::hint::black_box(&block);
        }
        assert!(accounts.ticks_ns().is_ok());
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        let accounts = Accounts::of(0);
        assert!(accounts.cpu_ns().is_err() && accounts.resident_bytes().is_err());
    }
}
