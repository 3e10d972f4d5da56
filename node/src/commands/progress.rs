//! How far long work has come, on stderr, if a person looks at it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::io::{IsTerminal, stderr};

/// Draws a second. More than a person reads is flicker.
const DRAWS_PER_SECOND: u8 = 5;

/// A line at the bottom of a terminal; nothing anywhere else.
#[derive(Debug)]
pub(super) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// For work of `len` steps, if that is known.
    pub(super) fn new(wanted: bool, len: Option<u64>) -> Self {
        // What is over at once needs none.
        let long = len.is_none_or(|len| len > 1);
        if !wanted || !long || !stderr().is_terminal() {
            return Self { bar: None };
        }
        let target = ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND);
        let bar = ProgressBar::with_draw_target(len, target);
        let template = match len {
            Some(_) => "{bar:30} {pos}/{len}, {rate}, {eta} left",
            None => "{spinner} {pos}, {rate}",
        };
        let rate = |state: &ProgressState, out: &mut dyn Write| {
            // A line that can't be written is not drawn.
            let _ = write!(out, "{:.0}/s", state.per_sec());
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.with_key("rate", rate));
        }
        Self { bar: Some(bar) }
    }

    pub(super) fn at(&self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }

    /// A line that stays, above the moving one.
    pub(super) fn above(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
