//! Patterns of topic names, one a class.

use multibeam_wire::{FilterError, TopicFilter};
use std::fmt;

/// A filter in which one segment may be `{name}`: like `*`, and what stands there is the key that chooses
/// the partition. Without one, the whole topic is the key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    text: String,
    /// The same with `*` for the key.
    filter: String,
    /// Which segment the key is.
    key: Option<usize>,
}

/// Why a string is no pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// More than one segment in braces.
    #[error("a pattern has at most one key, such as {{id}}")]
    Keys,
    /// Braces beside other characters, or nothing in them.
    #[error("a key is a whole segment, such as {{id}}")]
    Braces,
    /// It is no filter.
    #[error("{0}")]
    Filter(#[from] FilterError),
}

impl Pattern {
    /// Checks `text`.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let mut key = None;
        let mut segments = Vec::new();
        for (at, segment) in text.split('.').enumerate() {
            let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            match name {
                Some(name) if name.is_empty() || name.contains(['{', '}']) => {
                    return Err(PatternError::Braces);
                }
                Some(_) if key.is_some() => return Err(PatternError::Keys),
                Some(_) => {
                    key = Some(at);
                    segments.push("*");
                }
                None if segment.contains(['{', '}']) => return Err(PatternError::Braces),
                None => segments.push(segment),
            }
        }
        let filter = segments.join(".");
        TopicFilter::check(&filter)?;
        Ok(Self { text: text.to_owned(), filter, key })
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its topics as a filter.
    #[must_use]
    pub fn as_filter(&self) -> &str {
        &self.filter
    }

    /// Whether it matches each topic there is.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.filter == ">"
    }

    /// The key of `topic`, if it matches.
    #[must_use]
    pub fn key<'t>(&self, topic: &'t str) -> Option<&'t str> {
        if !TopicFilter::matches(&self.filter, topic) {
            return None;
        }
        match self.key {
            Some(at) => topic.split('.').nth(at),
            None => Some(topic),
        }
    }

    /// Whether every topic that matches `filter`, a valid filter, matches this too.
    #[must_use]
    pub fn covers(&self, filter: &str) -> bool {
        let (mut own, mut others) = (self.filter.split('.'), filter.split('.'));
        loop {
            match (own.next(), others.next()) {
                (None, None) | (Some(">"), Some(_)) => return true,
                (Some("*"), Some(b)) if b != ">" => {}
                (Some(a), Some(b)) if a == b => {}
                _ => return false,
            }
        }
    }

    /// Whether there can be a topic that matches both this and `filter`, a valid filter.
    #[must_use]
    pub fn meets(&self, filter: &str) -> bool {
        let (mut own, mut others) = (self.filter.split('.'), filter.split('.'));
        loop {
            match (own.next(), others.next()) {
                (None, None) => return true,
                (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
                (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
                _ => return false,
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_whole_segment() {
        for (bad, error) in [
            ("a.{}", PatternError::Braces),
            ("a.x{id}", PatternError::Braces),
            ("a.{id", PatternError::Braces),
            ("{a}.{b}", PatternError::Keys),
            ("a.>.b", PatternError::Filter(FilterError::Wildcard)),
        ] {
            assert_eq!(Pattern::new(bad), Err(error), "{bad}");
        }
        let pattern = Pattern::new("user.{id}.msg").unwrap();
        assert_eq!((pattern.as_filter(), pattern.key("user.7.msg")), ("user.*.msg", Some("7")));
        assert_eq!(pattern.key("user.7"), None);
    }

    #[test]
    fn a_pattern_covers_narrower_filters() {
        for (pattern, filter, covers) in [
            ("alarm.*", "alarm.*", true),
            ("alarm.*", "alarm.fire", true),
            ("alarm.*", "alarm.>", false),
            ("alarm.>", "alarm.*", true),
            ("alarm.fire", "alarm.*", false),
            (">", "a.b", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().covers(filter), covers, "{pattern} {filter}");
        }
    }

    #[test]
    fn patterns_meet_filters_that_share_a_topic() {
        for (pattern, filter, meets) in [
            ("alarm.*", "alarm.>", true),
            ("alarm.*", "alarm.*.x", false),
            ("alarm.*", "*.fire", true),
            ("alarm.*", "sys.*", false),
            ("alarm.*", "alarm", false),
            ("a.>", "*.b.c", true),
            ("a.>", "a", false),
            (">", "x", true),
        ] {
            assert_eq!(Pattern::new(pattern).unwrap().meets(filter), meets, "{pattern} {filter}");
        }
    }
}
