//! Client of a Multibeam cluster: connect, publish, subscribe, resume.
//!
//! ```text
//!  Client, Publishing, Subscription        handles of the application
//!        │ lock, call, wake
//!        ▼
//!     Session                              every decision; no I/O, no clock, no tokio
//!        ▲
//!        │ bytes in, bytes out, deadlines
//!     driver                               one task: dial, read, write, sleep
//! ```
//!
//! [`Client::connect`] returns at once and connects in the background; it reconnects for as
//! long as it lives. A publish resolves when the cluster has stored the message. A
//! subscription is resumed behind the last message it has seen, so that a reconnect neither
//! loses nor repeats one; what is missing all the same comes as [`Event::Gap`].
//!
//! ```no_run
//! use multibeam_client::{Client, Config, Event, Start, TcpConnector};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(Config::new("127.0.0.1:7400", 42), TcpConnector);
//! client.wait_connected().await?;
//! let mut alarms = client.subscribe("alarm.fire", Start::New)?;
//! client.publish("alarm.fire", "roof").await?;
//! while let Some(event) = alarms.next().await {
//!     if let Event::Message { position, body, .. } = event {
//!         println!("{position}: {} bytes", body.len());
//!     }
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod client;
mod config;
mod connector;
mod driver;
mod error;
mod event;
mod publishing;
mod random;
pub mod session;
mod shared;
mod status;
mod subscription;

pub use client::Client;
pub use config::Config;
pub use connector::{Connector, TcpConnector};
pub use error::{ConnectionError, PublishError, RefusalError, SubscribeError};
pub use event::{Event, GapReason};
pub use multibeam_wire::{
    CloseClass, CloseCode, ErrorCode, Generation, Offset, Outcome, Position, ProducerId, Start, TopicError,
    TopicName, WindowUnit,
};
pub use publishing::Publishing;
pub use session::Session;
pub use status::{ClientStats, State, Status};
pub use subscription::Subscription;
