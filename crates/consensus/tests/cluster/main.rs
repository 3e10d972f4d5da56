//! Nodes of a consensus, in one process: a network of channels that can be cut, disks that lose what was not
//! synced, tokio's paused time. Each run has a thread of its own, and the same seed makes the same run.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod answers;
mod cluster;
mod disk;
mod elections;
mod failures;
mod network;
mod power;
mod proposals;
mod replay;
mod snapshots;
mod voters;
