//! What is going on, on the standard error: a line that moves on a terminal, else one line a case.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// Where a bench says how far it is.
pub(super) struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(1), target);
        if let Ok(style) = ProgressStyle::with_template("{prefix}: {msg} {wide_bar} {elapsed}") {
            bar.set_style(style);
        }
        Self { bar, is_terminal }
    }

    /// A case begins, which takes about so long.
    pub(super) fn case(&self, name: &str, seconds: f64) {
        self.say(&format!("{name}: about {seconds:.0} s"));
        self.bar.set_prefix(name.to_owned());
        self.bar.set_message("starting");
        self.bar.reset();
    }

    /// Something that a reader of the figures should know.
    pub(super) fn say(&self, line: &str) {
        if self.is_terminal {
            self.bar.println(line);
        } else {
            eprintln!("{line}");
        }
    }

    pub(super) fn connecting(&self, name: &str, clients: usize, goal: usize) {
        self.step(format!("connecting to {name}"), clients, goal);
    }

    pub(super) fn pair(&self, pair: usize, pairs: usize) {
        self.step(format!("pair {} of {pairs}", pair + 1), pair, pairs);
    }

    pub(super) fn run(&self, run: usize, runs: usize) {
        self.step(format!("run {} of {runs}", run + 1), run, runs);
    }

    fn step(&self, message: String, at: usize, goal: usize) {
        self.bar.set_message(message);
        self.bar.set_length(goal as u64);
        self.bar.set_position(at as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
