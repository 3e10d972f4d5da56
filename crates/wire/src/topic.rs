//! Names of topics, filters of them, and templates that make them: dotted segments.

use crate::limits::{KEY_BYTES_MAX, TOPIC_BYTES_MAX, TOPIC_SEGMENTS_MAX};
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
        check_with(name, |c| matches!(c, '*' | '>'))
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

fn check_with(name: &str, is_bad: impl Fn(char) -> bool) -> Result<(), TopicError> {
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
    if name.chars().any(|c| c.is_whitespace() || c.is_control() || is_bad(c)) {
        return Err(TopicError::BadCharacter);
    }
    Ok(())
}

/// Why a string is no filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// `*` or `>` stands beside other characters, or `>` not at the end.
    #[error("in a filter, '*' is a whole segment, and '>' the last one")]
    Wildcard,
    /// What is left after its wildcards is no topic name.
    #[error("{0}")]
    Name(TopicError),
}

/// A valid filter: a topic name in which `*` stands for any one segment and a last `>` for one or more.
/// A plain topic name is a filter that matches itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(Arc<str>);

impl TopicFilter {
    /// Checks `filter`.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn new(filter: &str) -> Result<Self, FilterError> {
        Self::check(filter)?;
        Ok(Self(Arc::from(filter)))
    }

    /// Checks `filter` without keeping it.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(filter: &str) -> Result<(), FilterError> {
        let segments = filter.split('.').count();
        for (at, segment) in filter.split('.').enumerate() {
            let wildcard = segment == "*" || (segment == ">" && at + 1 == segments);
            if !wildcard && segment.contains(['*', '>']) {
                return Err(FilterError::Wildcard);
            }
        }
        check_with(filter, |_| false).map_err(FilterError::Name)
    }

    /// Whether `text` has a wildcard, so that it can only be meant as a filter.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.contains(['*', '>'])
    }

    /// Whether `topic`, a valid name, is one of those meant by `filter`, a valid filter.
    #[must_use]
    pub fn matches(filter: &str, topic: &str) -> bool {
        let mut names = topic.split('.');
        for segment in filter.split('.') {
            match (segment, names.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (_, Some(name)) if name == segment => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    /// The filter as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Why a template and a key make no topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Not exactly one segment is `*`.
    #[error("a template has exactly one segment '*'")]
    Wildcard,
    /// A key is empty or has a dot, so that it would not be one segment, or is longer than
    /// [`KEY_BYTES_MAX`].
    #[error("a key is one segment of a topic name, of at most {KEY_BYTES_MAX} bytes")]
    Key,
    /// With the key in its place it is no topic name.
    #[error("{0}")]
    Name(TopicError),
}

/// Puts the topic that `template` makes with `key` into `topic`, in place of what it holds.
///
/// # Errors
/// The first rule that either breaks; `topic` is of no use then.
pub fn fill_template(template: &str, key: &str, topic: &mut String) -> Result<(), TemplateError> {
    if key.is_empty() || key.len() > KEY_BYTES_MAX || key.contains('.') {
        return Err(TemplateError::Key);
    }
    topic.clear();
    let mut filled = 0;
    for (at, segment) in template.split('.').enumerate() {
        if at > 0 {
            topic.push('.');
        }
        let wildcard = segment == "*";
        filled += usize::from(wildcard);
        topic.push_str(if wildcard { key } else { segment });
    }
    if filled != 1 {
        return Err(TemplateError::Wildcard);
    }
    TopicName::check(topic).map_err(TemplateError::Name)
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

    #[test]
    fn filters_match_whole_segments() {
        for (filter, topic, matches) in [
            ("alarm.*", "alarm.fire", true),
            ("alarm.*", "alarm.fire.north", false),
            ("alarm.*", "alarm", false),
            ("alarm.>", "alarm.fire.north", true),
            ("alarm.>", "alarm", false),
            ("*.fire", "alarm.fire", true),
            ("*.fire", "alarm.water", false),
            (">", "a.b.c", true),
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
        ] {
            assert_eq!(TopicFilter::check(filter), Ok(()), "{filter}");
            assert_eq!(TopicFilter::matches(filter, topic), matches, "{filter} {topic}");
        }
        for bad in ["a.>.b", "a*", "a.b>", "*a.b"] {
            assert_eq!(TopicFilter::check(bad), Err(FilterError::Wildcard), "{bad}");
        }
        assert_eq!(TopicFilter::check("a..*"), Err(FilterError::Name(TopicError::EmptySegment)));
    }

    #[test]
    fn a_template_and_a_key_make_one_topic() {
        let mut topic = String::new();
        assert_eq!(fill_template("user.*.msg", "42", &mut topic), Ok(()));
        assert_eq!(topic, "user.42.msg");
        for (template, key, error) in [
            ("user.42.msg", "1", TemplateError::Wildcard),
            ("*.*", "1", TemplateError::Wildcard),
            ("user.*.msg", "", TemplateError::Key),
            ("user.*.msg", "1.2", TemplateError::Key),
            ("user.*.msg", "1 2", TemplateError::Name(TopicError::BadCharacter)),
            (".user.*", "1", TemplateError::Name(TopicError::EmptySegment)),
            ("user.*.>", "1", TemplateError::Name(TopicError::BadCharacter)),
        ] {
            assert_eq!(fill_template(template, key, &mut topic), Err(error), "{template} {key}");
        }
    }
}
