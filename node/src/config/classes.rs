//! The `[[class]]` tables: what the file says of a class, and what it leaves to the built-in ones.
//!
//! A key that is not given has the value of the built-in class of the same pattern; without one, that of
//! the catch-all `>`, be it the file's or the built-in one. Two keys are not handed down to other patterns:
//! an age, so that a class without one can be said, and `on_connect`, which one class at most has.

use super::ConfigError;
use super::file::Source;
use super::limits::Setting;
use multibeam_proto::{
    Class, ClassError, ClassSet, Overflow, PARTITIONS_MAX, Pattern, RETAIN_BYTES_MAX, RETAIN_MESSAGES_MAX,
    Retention, Route, built_in,
};
use serde::Deserialize;
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::Spanned;

/// Ages that a class may give: up to a year. Messages live in memory, which nobody keeps running longer.
const RETAIN_SECONDS: RangeInclusive<u64> = 1..=365 * 24 * 60 * 60;

/// A key of a `[[class]]` table, for the documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassSetting {
    /// The key.
    pub key: &'static str,
    /// What a class of a new pattern has without it.
    pub default: String,
    /// The values it may have.
    pub values: String,
    /// What it says, as sentences.
    pub help: &'static str,
}

/// One table of the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClassTable {
    pattern: Spanned<String>,
    partitions: Option<Spanned<u64>>,
    route: Option<RouteWord>,
    overflow: Option<OverflowWord>,
    retain_messages: Option<Spanned<u64>>,
    retain_bytes: Option<Spanned<u64>>,
    retain_seconds: Option<Spanned<u64>>,
    on_connect: Option<Spanned<bool>>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RouteWord {
    Broadcast,
    Unicast,
}

impl From<RouteWord> for Route {
    fn from(word: RouteWord) -> Self {
        match word {
            RouteWord::Broadcast => Self::Broadcast,
            RouteWord::Unicast => Self::Unicast,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OverflowWord {
    Gap,
    Conflate,
    Disconnect,
}

impl From<OverflowWord> for Overflow {
    fn from(word: OverflowWord) -> Self {
        match word {
            OverflowWord::Gap => Self::Gap,
            OverflowWord::Conflate => Self::Conflate,
            OverflowWord::Disconnect => Self::Disconnect,
        }
    }
}

/// The word of a route in the file and in tables.
#[must_use]
pub const fn route_word(route: Route) -> &'static str {
    match route {
        Route::Broadcast => "broadcast",
        Route::Unicast => "unicast",
    }
}

/// The word of an overflow policy in the file and in tables.
#[must_use]
pub const fn overflow_word(overflow: Overflow) -> &'static str {
    match overflow {
        Overflow::Gap => "gap",
        Overflow::Conflate => "conflate",
        Overflow::Disconnect => "disconnect",
    }
}

/// The classes that the file and the built-in ones make together.
pub(super) fn class_set(tables: &[ClassTable], source: Source<'_>) -> Result<ClassSet, ConfigError> {
    let patterns = patterns(tables, source)?;
    let mut everything = built_in().pop().unwrap_or_else(|| unreachable!("the catch-all is built in"));
    debug_assert!(everything.pattern.is_everything());
    if let Some(at) = patterns.iter().position(Pattern::is_everything) {
        everything = tables[at].class(&patterns[at], &everything, source)?;
    }
    let classes =
        tables.iter().zip(&patterns).map(|(table, pattern)| table.class(pattern, &everything, source));
    let classes: Vec<Class> = classes.collect::<Result<_, _>>()?;
    ClassSet::new(classes).map_err(|error| place(tables, &error, source))
}

/// The pattern of each table, none of which is hidden by one before it.
fn patterns(tables: &[ClassTable], source: Source<'_>) -> Result<Vec<Pattern>, ConfigError> {
    let mut patterns: Vec<Pattern> = Vec::with_capacity(tables.len());
    for (at, table) in tables.iter().enumerate() {
        let text = table.pattern.get_ref();
        let wrong = |detail| source.error(table.pattern.span().start, detail);
        let pattern = Pattern::new(text)
            .map_err(|error| wrong(format!("{text:?} is no pattern of topics: {error}")))?;
        for (other, before) in patterns.iter().zip(&tables[..at]) {
            let line = source.line(before.pattern.span().start);
            if *other == pattern {
                return Err(wrong(format!(
                    "the pattern {pattern} has a class in line {line} already: leave one of them out"
                )));
            }
            // The catch-all is asked last, wherever it stands.
            if !other.is_everything() && other.covers(pattern.as_filter()) {
                return Err(wrong(format!(
                    "no topic would ever be of the class {pattern}, because {other} in line {line} has them \
                     all: put {pattern} before it"
                )));
            }
        }
        patterns.push(pattern);
    }
    Ok(patterns)
}

impl ClassTable {
    fn class(&self, pattern: &Pattern, everything: &Class, source: Source<'_>) -> Result<Class, ConfigError> {
        let built_in = built_in().into_iter().find(|class| class.pattern == *pattern);
        let base = built_in.unwrap_or_else(|| Class {
            pattern: pattern.clone(),
            on_connect: false,
            ..everything.clone()
        });
        Ok(Class {
            pattern: base.pattern,
            partitions: number(self.partitions.as_ref(), base.partitions),
            route: self.route.map_or(base.route, Route::from),
            overflow: self.overflow.map_or(base.overflow, Overflow::from),
            retain: Retention {
                messages: number(self.retain_messages.as_ref(), base.retain.messages),
                bytes: number(self.retain_bytes.as_ref(), base.retain.bytes),
                age: self.age(source)?,
            },
            on_connect: self.on_connect.as_ref().map_or(base.on_connect, |word| *word.get_ref()),
        })
    }

    fn age(&self, source: Source<'_>) -> Result<Option<Duration>, ConfigError> {
        let Some(seconds) = &self.retain_seconds else { return Ok(None) };
        if RETAIN_SECONDS.contains(seconds.get_ref()) {
            return Ok(Some(Duration::from_secs(*seconds.get_ref())));
        }
        let (pattern, low, high) = (self.pattern.get_ref(), RETAIN_SECONDS.start(), RETAIN_SECONDS.end());
        let detail = format!(
            "{pattern}: retain_seconds must be from {low} to {high}; leave it out to keep messages of any age"
        );
        Err(source.error(seconds.span().start, detail))
    }

    /// Where a key stands, or the pattern if it does not.
    fn key_at(&self, key: &str) -> usize {
        let number = |number: &Option<Spanned<u64>>| number.as_ref().map(|number| number.span().start);
        let at = match key {
            "partitions" => number(&self.partitions),
            "retain_messages" => number(&self.retain_messages),
            "retain_bytes" => number(&self.retain_bytes),
            "on_connect" => self.on_connect.as_ref().map(|word| word.span().start),
            _ => None,
        };
        at.unwrap_or_else(|| self.pattern.span().start)
    }
}

/// The file's number, else the base's. What its type can't hold is out of every range as well.
fn number<T: Setting>(given: Option<&Spanned<u64>>, base: T) -> T {
    given.map_or(base, |given| T::from_number(*given.get_ref()))
}

/// An error of the set, with the line that it is about.
fn place(tables: &[ClassTable], error: &ClassError, source: Source<'_>) -> ConfigError {
    let (pattern, key) = match error {
        ClassError::TooMany => ("", "pattern"),
        ClassError::Twice(pattern) => (pattern.as_str(), "pattern"),
        ClassError::Range { pattern, what, .. } => (pattern.as_str(), *what),
        ClassError::OnConnect(pattern) => (pattern.as_str(), "on_connect"),
    };
    let advice = match error {
        ClassError::TooMany => " (built-in ones included): leave some out",
        ClassError::Twice(_) => ": leave one of them out",
        ClassError::Range { .. } => "",
        ClassError::OnConnect(_) => {
            "; give it partitions = 1 and route = \"broadcast\", or set on_connect = false"
        }
    };
    let table = tables.iter().rfind(|table| table.pattern.get_ref() == pattern).or(tables.last());
    source.error(table.map_or(0, |table| table.key_at(key)), format!("{error}{advice}"))
}

/// The keys of a table, in the order of the documents.
#[must_use]
pub fn class_settings() -> Vec<ClassSetting> {
    let everything = built_in().pop().unwrap_or_else(|| unreachable!("the catch-all is built in"));
    let setting = |key, default: &str, values: String, help| ClassSetting {
        key,
        default: default.to_owned(),
        values,
        help,
    };
    let range = |max: u64| format!("1 to {max}");
    let (low, high) = (RETAIN_SECONDS.start(), RETAIN_SECONDS.end());
    vec![
        setting("pattern", "none, it must be given", "a pattern".to_owned(), "Which topics."),
        setting(
            "partitions",
            &everything.partitions.to_string(),
            range(PARTITIONS_MAX.into()),
            "Ordered logs that its topics are spread over, by key. Another number moves topics to other logs, \
             without their messages.",
        ),
        setting(
            "route",
            route_word(everything.route),
            "`broadcast`, `unicast`".to_owned(),
            "Who may follow it: whoever names a topic or a filter, or only whoever names the topic.",
        ),
        setting(
            "overflow",
            overflow_word(everything.overflow),
            "`gap`, `conflate`, `disconnect`".to_owned(),
            "What becomes of a subscriber that is slower than its topic: it is told what it missed, it gets the \
             newest message with a flag, or its connection is closed.",
        ),
        setting(
            "retain_messages",
            &everything.retain.messages.to_string(),
            range(RETAIN_MESSAGES_MAX.into()),
            "Messages kept of a topic.",
        ),
        setting(
            "retain_bytes",
            &everything.retain.bytes.to_string(),
            range(RETAIN_BYTES_MAX.into()),
            "Bytes kept of a topic.",
        ),
        setting(
            "retain_seconds",
            "no limit",
            format!("{low} to {high}"),
            "Age of the oldest message kept. A class without this key, a built-in one that the file changes \
             included, keeps messages of any age.",
        ),
        setting(
            "on_connect",
            "false",
            "`true`, `false`".to_owned(),
            "Whether each client is subscribed to it when it connects. One class at most, with one partition.",
        ),
    ]
}

#[cfg(test)]
mod tests;
