//! Names of topics: dotted segments.

use crate::limits::{TOPIC_BYTES_MAX, TOPIC_SEGMENTS_MAX};
use std::fmt;
use std::sync::Arc;

/// Why a string is no topic name. The sentence is meant for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Nothing at all.
    #[error("a topic name can't be empty")]
    Empty,
    /// Longer than [`TOPIC_BYTES_MAX`].
    #[error("a topic name has at most {TOPIC_BYTES_MAX} bytes")]
    TooLong,
    /// More than [`TOPIC_SEGMENTS_MAX`] segments.
    #[error("a topic name has at most {TOPIC_SEGMENTS_MAX} segments")]
    TooManySegments,
    /// Two dots in a row, or a dot at an end.
    #[error("a topic name has no empty segment: no dot at either end, no two dots in a row")]
    EmptySegment,
    /// White space, a control character, or one that only filters have.
    #[error("a topic name has no white space, no control characters, no '*' and no '>'")]
    BadCharacter,
}

/// A valid topic name, cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Checks `name`.
    ///
    /// # Errors
    /// The first rule that `name` breaks.
    pub fn new(name: &str) -> Result<Self, TopicError> {
        Self::check(name)?;
        Ok(Self(Arc::from(name)))
    }

    /// Checks `name` without keeping it.
    ///
    /// # Errors
    /// The first rule that `name` breaks.
    pub fn check(name: &str) -> Result<(), TopicError> {
        if name.is_empty() {
            return Err(TopicError::Empty);
        }
        if name.len() > TOPIC_BYTES_MAX {
            return Err(TopicError::TooLong);
        }
        if name.split('.').any(str::is_empty) {
            return Err(TopicError::EmptySegment);
        }
        if name.split('.').count() > TOPIC_SEGMENTS_MAX {
            return Err(TopicError::TooManySegments);
        }
        if name.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '*' | '>')) {
            return Err(TopicError::BadCharacter);
        }
        Ok(())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_by_their_first_broken_rule() {
        for good in ["a", "alarm.fire", "user.42.msg", "a.b-c_d:e@f", "größe.x"] {
            assert_eq!(TopicName::check(good), Ok(()), "{good}");
        }
        let long = "x".repeat(TOPIC_BYTES_MAX + 1);
        let deep = ["a"; TOPIC_SEGMENTS_MAX + 1].join(".");
        for (bad, error) in [
            ("", TopicError::Empty),
            (long.as_str(), TopicError::TooLong),
            (deep.as_str(), TopicError::TooManySegments),
            (".a", TopicError::EmptySegment),
            ("a.", TopicError::EmptySegment),
            ("a..b", TopicError::EmptySegment),
            ("a b", TopicError::BadCharacter),
            ("a.*", TopicError::BadCharacter),
            ("a.>", TopicError::BadCharacter),
            ("a\u{7}", TopicError::BadCharacter),
        ] {
            assert_eq!(TopicName::check(bad), Err(error), "{bad:?}");
        }
    }
}
