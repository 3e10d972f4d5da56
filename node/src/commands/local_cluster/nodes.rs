//! The node processes of a cluster on this machine: started, watched, stopped.

use super::super::serve::command_name;
use super::super::stop::Stopper;
use super::LOOK_EACH;
use super::layout::{Layout, Place};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// With `--restart`, a node that ended is away for so long: others are to notice.
const AWAY: Duration = Duration::from_secs(3);

/// Nodes end within their stop_deadline_ms and a grace of 5 s; one that does not is killed.
const STOP_MAX: Duration = Duration::from_secs(15);

/// As often as it is looked.
const fn looks(span: Duration) -> u128 {
    span.as_millis() / LOOK_EACH.as_millis()
}

/// All that were started; what still runs is killed when this is dropped.
pub(in crate::commands) struct Nodes<'a> {
    all: Vec<Node<'a>>,
    restarts: bool,
}

struct Node<'a> {
    place: &'a Place,
    child: Option<Child>,
    /// Looks since it ended.
    away: u128,
}

impl<'a> Nodes<'a> {
    /// Starts one process for each place.
    ///
    /// # Errors
    /// The first that can't be started; those before it are killed.
    pub(in crate::commands) fn start(layout: &'a Layout, restarts: bool) -> Result<Self, String> {
        let mut nodes = Self { all: Vec::new(), restarts };
        for place in &layout.places {
            let child = Some(start(place)?);
            nodes.all.push(Node { place, child, away: 0 });
        }
        Ok(nodes)
    }

    /// The process of each place, if it runs.
    pub(in crate::commands) fn processes(&self) -> impl Iterator<Item = (&Place, Option<u32>)> {
        self.all.iter().map(|node| (node.place, node.child.as_ref().map(Child::id)))
    }

    /// Whether none runs, and none will.
    pub(in crate::commands) fn all_ended(&self) -> bool {
        !self.restarts && self.all.iter().all(|node| node.child.is_none())
    }

    /// Looks once: what happened since the last time, a sentence each.
    pub(in crate::commands) fn look(&mut self) -> Vec<String> {
        self.all.iter_mut().filter_map(|node| node.look(self.restarts)).collect()
    }

    /// Looks once: how one ended since the last time.
    pub(in crate::commands) fn ended(&mut self) -> Option<String> {
        self.all.iter_mut().find_map(Node::ended)
    }

    /// SIGKILL to the node of that place, which is gone when this returns.
    pub(in crate::commands) fn kill(&mut self, index: usize) {
        let Some(node) = self.all.get_mut(index) else { return };
        if let Some(mut child) = node.child.take() {
            kill(&mut child);
        }
    }

    /// Starts the node of that place once more.
    ///
    /// # Errors
    /// It can't be started.
    pub(in crate::commands) fn start_again(&mut self, index: usize) -> Result<(), String> {
        if let Some(node) = self.all.get_mut(index) {
            node.child = Some(start(node.place)?);
        }
        Ok(())
    }

    /// Asks all to stop and waits until they have; each further signal is passed on, and a second one ends a node
    /// at once.
    pub(in crate::commands) async fn stop(&mut self, stopper: &mut Stopper) {
        self.signal(Signal::TERM);
        for _ in 0..looks(STOP_MAX) {
            if self.all.iter_mut().all(Node::has_ended) {
                return;
            }
            tokio::select! {
                biased;
                _ = stopper.stopped() => self.signal(Signal::TERM),
                () = tokio::time::sleep(LOOK_EACH) => {}
            }
        }
        eprintln!("not all nodes stopped within {} s; they are killed", STOP_MAX.as_secs());
    }

    fn signal(&self, signal: Signal) {
        for child in self.all.iter().filter_map(|node| node.child.as_ref()) {
            // One that has ended meanwhile is still ours until it is waited for.
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }
}

impl Drop for Nodes<'_> {
    fn drop(&mut self) {
        self.all.iter_mut().filter_map(|node| node.child.as_mut()).for_each(kill);
    }
}

/// One that has ended already only has to be waited for.
fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

impl Node<'_> {
    fn look(&mut self, restarts: bool) -> Option<String> {
        if self.child.is_none() {
            self.away += 1;
            return (restarts && self.away == looks(AWAY)).then(|| self.again());
        }
        let ended = self.ended()?;
        let again = if restarts {
            format!("it is started again after {} s", AWAY.as_secs())
        } else {
            format!("'{} serve --config {}' starts it again", command_name(), self.place.config.display())
        };
        Some(format!("{ended}; {again}"))
    }

    fn ended(&mut self) -> Option<String> {
        let child = self.child.as_mut()?;
        let (process, status) = (child.id(), child.try_wait().ok()??);
        (self.child, self.away) = (None, 0);
        Some(format!("{} (process {process}) ended, {}", self.place.name, why(self.place, status)))
    }

    fn again(&mut self) -> String {
        let name = &self.place.name;
        match start(self.place) {
            Ok(child) => {
                let text = format!("{name} is started again, as process {}", child.id());
                self.child = Some(child);
                text
            }
            Err(error) => error,
        }
    }

    fn has_ended(&mut self) -> bool {
        let ended = self.child.as_mut().is_none_or(|child| child.try_wait().is_ok_and(|end| end.is_some()));
        if ended {
            self.child = None;
        }
        ended
    }
}

/// How it ended; what it said, if it failed by itself.
fn why(place: &Place, status: ExitStatus) -> String {
    let log = std::fs::read_to_string(&place.log).unwrap_or_default();
    match log.lines().last() {
        Some(last) if status.code().is_some_and(|code| code != 0) => format!("{status}: {last}"),
        Some(_) | None => status.to_string(),
    }
}

fn start(place: &Place) -> Result<Child, String> {
    let failed = |error: io::Error| format!("can't start {}: {error}", place.name);
    let log = log(place).map_err(|error| format!("can't write {}: {error}", place.log.display()))?;
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(["serve", "--with-parent", "--config"]).arg(&place.config);
    command.stdin(Stdio::null()).stdout(log.try_clone().map_err(failed)?).stderr(log);
    // Ctrl-C in a terminal goes to a whole group, and the nodes are to hear it once, from here.
    command.process_group(0);
    command.spawn().map_err(failed)
}

fn log(place: &Place) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(&place.log)
}
