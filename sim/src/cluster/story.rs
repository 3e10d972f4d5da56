//! A run of a cluster, told shortly: what happened to it, and what it did.

use super::nodes::Nodes;

/// One line an event, with the time.
#[must_use]
pub fn lines(nodes: &Nodes) -> Vec<String> {
    let story = nodes.story.borrow();
    story.iter().map(|(at_ms, line)| format!("{:>3}.{:03} s  {line}", at_ms / 1000, at_ms % 1000)).collect()
}
