//! What a subscription follows.

use crate::cursor::Start;
use crate::error::SubscribeError;
use multibeam_wire::{Delivery, TopicFilter, TopicName};

/// A topic, a filter, or the node's own topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Topic(TopicName),
    Filter(TopicFilter),
    System,
}

impl Target {
    /// What `text` means. Whatever has a wildcard is a filter.
    pub(super) fn new(text: &str) -> Result<Self, SubscribeError> {
        Ok(if TopicFilter::is_meant(text) {
            Self::Filter(TopicFilter::new(text)?)
        } else {
            Self::Topic(TopicName::new(text)?)
        })
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Topic(topic) => topic.as_str(),
            Self::Filter(filter) => filter.as_str(),
            Self::System => "",
        }
    }

    /// Whether it can begin there.
    pub(super) fn fits(&self, start: &Start) -> bool {
        match start {
            Start::New | Start::Last | Start::First => true,
            Start::After(cursor) => self.has_one_part() == cursor.position().is_some(),
        }
    }

    /// Whether it lies in one partition.
    pub(super) const fn has_one_part(&self) -> bool {
        match self {
            Self::Topic(_) | Self::System => true,
            Self::Filter(_) => false,
        }
    }

    /// The topic of a delivery; `None` where it can't be one of this subscription.
    pub(super) fn topic_of(&self, delivery: &Delivery<'_>) -> Option<TopicName> {
        match (self, delivery.topic) {
            (Self::Topic(own), None) => Some(own.clone()),
            (Self::Topic(own), Some(told)) => Some(own.clone()).filter(|own| own.as_str() == told),
            (Self::Filter(filter), Some(told)) => {
                TopicName::new(told).ok().filter(|_| TopicFilter::matches(filter.as_str(), told))
            }
            (Self::System, Some(told)) => TopicName::new(told).ok(),
            (Self::Filter(_) | Self::System, None) => None,
        }
    }
}
