//! Several nodes in one simulation: they agree, know who is alive, and know what they may do.
//!
//! Each node is the binary's own `run` on a [`SimPlatform`](crate::platform::SimPlatform) with a world of its own
//! (disk, clock, kernel); [`run::run`] steps them together, lets the plan's faults happen, and has [`oracles`]
//! look at all of them at each step: at what each node *would* let out, not at what it says. [`clients`] are connected
//! to them, and [`promises`] judges what these are told and given. For people a run is told by [`story`] and drawn
//! by [`timeline`].

pub mod clients;
pub mod faults;
pub mod nodes;
pub mod oracles;
pub mod plan;
pub mod promises;
pub mod run;
pub mod story;
pub mod timeline;
