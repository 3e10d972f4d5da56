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
//! long as it lives. A publish resolves when the cluster has stored the message; without a connection it
//! waits in a queue of bounded size, and each ends, with an error that says whether the message is certainly
//! not stored. A subscription, to a topic or to a filter, is resumed behind the last message it has seen, so
//! that a reconnect neither loses nor repeats one; what is missing all the same comes as [`Event::Gap`].
//!
//! A client that its node sends elsewhere makes the next connection before it breaks the present one. Cut off
//! from the majority of its cluster a node serves nobody, and its clients are [`State::Stale`]: they stay unless
//! they find one that serves.
//!
//! Over a restart of the process, a subscription goes on behind a [`Cursor`]: one that a [`CursorStore`]
//! keeps ([`Client::subscribe_stored`], at least once), or one that the application keeps together with
//! its own data ([`Subscription::cursor`], exactly once).
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
//!     if let Event::Message(message) = event {
//!         println!("{}: {} bytes", message.position, message.body.len());
//!     }
//! }
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod ack;
mod client;
mod config;
mod connector;
mod cursor;
mod driver;
mod error;
mod event;
mod publish;
mod publishing;
mod random;
pub mod session;
mod shared;
mod status;
mod store;
mod stored;
mod subscription;

pub use client::Client;
pub use config::Config;
pub use connector::{Connector, TcpConnector};
pub use cursor::{Cursor, CursorError, PartitionId, Start};
pub use error::{ConnectionError, CursorStoreError, PublishError, RefusalError, SubscribeError};
pub use event::{Event, GapReason, Message, Part};
pub use multibeam_wire::{
    CloseClass, CloseCode, ErrorCode, FilterError, Generation, Offset, Outcome, Position, ProducerId,
    TemplateError, TopicError, TopicName, WindowUnit,
};
pub use publish::{Publish, Published, QueueFull, Receipt};
pub use publishing::Publishing;
pub use session::Session;
pub use status::{ClientStats, State, Status};
pub use store::{CursorStore, FileCursorStore, MemoryCursorStore, SavedCursor};
pub use stored::StoredSubscription;
pub use subscription::Subscription;
