//! What an application asks to be published, and what it learns of it.

use crate::error::PublishError;
use multibeam_wire::limits::{BODY_BYTES_MAX, KEY_BYTES_MAX, KEYS_MAX};
use multibeam_wire::{Position, TopicName, fill_template};
use std::time::Duration;

/// A message for one topic, or for the topics of many keys.
///
/// ```
/// use multibeam_client::Publish;
/// use std::time::Duration;
///
/// let alarm = Publish::to("alarm.fire", "roof").ttl(Duration::from_secs(60));
/// let invitation = Publish::to_each("user.*.msg", ["42", "43"], "party at eight");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nothing is published before it is handed to a client"]
pub struct Publish {
    topic: String,
    /// `None` for one topic; else what stands for the `*` of `topic`.
    keys: Option<Vec<String>>,
    ttl: Option<Duration>,
    deadline: Option<Duration>,
    body: Vec<u8>,
}

impl Publish {
    /// A message for one topic.
    pub fn to(topic: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.into(), keys: None, ttl: None, deadline: None, body: body.into() }
    }

    /// A message for the topic of each key: `template` is a topic in which one segment is `*`, and each
    /// key, 1 to 64 of them, stands for it once. It is done when it is stored for all, and may be stored
    /// for some where it fails with an error that is not definite.
    pub fn to_each<K: Into<String>>(
        template: impl Into<String>,
        keys: impl IntoIterator<Item = K>,
        body: impl Into<Vec<u8>>,
    ) -> Self {
        let keys = Some(keys.into_iter().map(Into::into).collect());
        Self { keys, ..Self::to(template, body) }
    }

    /// The message is worth nothing after this time from the call of publish on: it is not delivered
    /// any more, and not even sent if it still waits in this client. Counted in milliseconds, at most 49
    /// days.
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..self }
    }

    /// How long the publish may take from the call on, over reconnects, instead of
    /// [`crate::Config::publish_deadline`].
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    /// The topic, or the template.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The keys; none for one topic.
    #[must_use]
    pub fn keys(&self) -> &[String] {
        self.keys.as_deref().unwrap_or_default()
    }

    /// The message.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    pub(crate) const fn ttl_asked(&self) -> Option<Duration> {
        self.ttl
    }

    pub(crate) const fn deadline_asked(&self) -> Option<Duration> {
        self.deadline
    }

    /// Bytes that it takes in the queue.
    pub(crate) fn bytes(&self) -> usize {
        self.topic.len() + self.body.len() + self.keys().iter().map(String::len).sum::<usize>()
    }

    /// Numbers of the producer that it takes.
    pub(crate) fn numbers(&self) -> u64 {
        self.keys().len().max(1) as u64
    }

    /// Whether a node could take it at all.
    pub(crate) fn check(&self) -> Result<(), PublishError> {
        let mut body_bytes_max = BODY_BYTES_MAX;
        match &self.keys {
            None => TopicName::check(&self.topic)?,
            Some(keys) => {
                if keys.is_empty() || keys.len() > KEYS_MAX {
                    return Err(PublishError::KeyCount { count: keys.len() });
                }
                let mut topic = String::new();
                for key in keys {
                    if key.len() > KEY_BYTES_MAX {
                        return Err(PublishError::KeyTooLong { len: key.len() });
                    }
                    fill_template(&self.topic, key, &mut topic)?;
                    // Each with its length; the list's own length is the one byte more below.
                    body_bytes_max -= key.len() + 2;
                }
                body_bytes_max -= 1;
            }
        }
        let len = self.body.len();
        if len > body_bytes_max {
            Err(PublishError::BodyTooLong { len, len_max: body_bytes_max })
        } else {
            Ok(())
        }
    }
}

const _: () = assert!(KEYS_MAX * (KEY_BYTES_MAX + 2) < BODY_BYTES_MAX && KEYS_MAX < 128);

/// A publish that is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// Where it is stored: one for a topic, one a key for many. Empty where the node does not tell
    /// ([`crate::Config::receipts`]).
    pub receipts: Vec<Receipt>,
}

impl Published {
    /// The receipt of a publish to one topic, where the node told it.
    #[must_use]
    pub fn receipt(&self) -> Option<Receipt> {
        self.receipts.first().copied()
    }
}

/// Where a message is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Number of the partition within the topic's class.
    pub partition: u32,
    /// The place in its history.
    pub position: Position,
    /// How many in-sync replicas hold it.
    pub copies: u32,
}

/// The queue of publishes has no room. Nothing was sent; here is the message back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue of publishes is full: {messages} messages with {bytes} bytes wait for their end")]
pub struct QueueFull {
    /// What was to be published.
    pub publish: Publish,
    /// Messages in the queue.
    pub messages: usize,
    /// Bytes of them.
    pub bytes: usize,
}

impl QueueFull {
    /// Whether the message is certainly not stored: yes.
    #[must_use]
    pub const fn is_definite(&self) -> bool {
        true
    }

    /// Whether the same call may succeed later: yes, when publishes have ended.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        true
    }
}
