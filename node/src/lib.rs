//! A node of a Multibeam push cluster: clocks, sockets, threads, files and tasks around the
//! decisions of `multibeam-proto`.
//!
//! [`run()`] is the whole node, written against [`platform::Platform`]: the binary runs it on
//! [`os::OsPlatform`], the simulator on its own. [`event_loop::Loop`] serves clients on any
//! [`kernel::Kernel`].

#![deny(unsafe_code)]

pub mod admin;
pub mod close;
pub mod commands;
pub mod config;
pub mod epoll;
pub mod event_loop;
pub mod kernel;
pub mod link_tls;
pub mod metrics;
pub mod os;
pub mod platform;
pub mod run;
pub mod runtime;

pub use run::{Ready, RunError, run};
