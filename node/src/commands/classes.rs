//! `multibeam classes`: which classes of topics are in force, and where a topic goes.

use super::Failure;
use super::table::table;
use super::values::topic;
use crate::config::{NodeConfig, Overrides, overflow_word, route_word};
use clap::Args;
use multibeam_proto::{Class, ClassSet, built_in};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  multibeam classes                          the built-in classes
  multibeam classes --config multibeam.toml  those of a configuration file
  multibeam classes user.42.msg alarm.fire   class, key and partition of two topics";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ClassesArgs {
    /// Tells where these topics go, instead of the classes.
    #[arg(value_parser = topic)]
    topics: Vec<String>,
    /// Configuration file (TOML) [default: none, which leaves the built-in classes].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Prints JSON, one object a line.
    #[arg(long)]
    json: bool,
}

pub(super) fn classes(args: &ClassesArgs) -> Result<(), Failure> {
    let config =
        NodeConfig::load(args.config.as_deref(), Overrides::default(), |name| std::env::var_os(name))
            .map_err(|error| error.to_string())?;
    let classes = &config.shard.classes;
    let text = match (args.topics.is_empty(), args.json) {
        (true, false) => class_table(classes),
        (true, true) => lines(classes.iter().map(|(_, class)| ClassLine::from(class))),
        (false, false) => place_table(classes, &args.topics),
        (false, true) => lines(args.topics.iter().map(|topic| Place::of(classes, topic))),
    };
    // Who closed our output does not want to read this.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

fn class_table(classes: &ClassSet) -> String {
    let head = ["class", "partitions", "route", "overflow", "messages", "bytes", "age", "on connect", "from"];
    let mut rows = vec![head.map(str::to_owned)];
    for (_, class) in classes.iter() {
        rows.push([
            class.pattern.to_string(),
            class.partitions.to_string(),
            route_word(class.route).to_owned(),
            overflow_word(class.overflow).to_owned(),
            class.retain.messages.to_string(),
            class.retain.bytes.to_string(),
            class.retain.age.map_or("any".to_owned(), age),
            if class.on_connect { "yes" } else { "no" }.to_owned(),
            if built_in().contains(class) { "built-in" } else { "the file" }.to_owned(),
        ]);
    }
    table(&rows)
}

/// In the order in which people read it.
#[derive(Serialize)]
struct ClassLine<'a> {
    pattern: &'a str,
    partitions: u16,
    route: &'static str,
    overflow: &'static str,
    retain_messages: u32,
    retain_bytes: u32,
    retain_seconds: Option<u64>,
    on_connect: bool,
}

impl<'a> From<&'a Class> for ClassLine<'a> {
    fn from(class: &'a Class) -> Self {
        Self {
            pattern: class.pattern.as_str(),
            partitions: class.partitions,
            route: route_word(class.route),
            overflow: overflow_word(class.overflow),
            retain_messages: class.retain.messages,
            retain_bytes: class.retain.bytes,
            retain_seconds: class.retain.age.map(|age| age.as_secs()),
            on_connect: class.on_connect,
        }
    }
}

/// Where a topic goes.
#[derive(Serialize)]
struct Place<'a> {
    topic: &'a str,
    class: &'a str,
    key: &'a str,
    /// Class and number within it, as messages, receipts and cursors have it.
    partition: String,
    /// Partitions of the class.
    of: u16,
}

impl<'a> Place<'a> {
    fn of(classes: &'a ClassSet, topic: &'a str) -> Self {
        let (class, key) = classes.class_of(topic);
        let (class, partition) = (classes.class(class), classes.partition_of(topic));
        Self {
            topic,
            class: class.pattern.as_str(),
            key,
            partition: multibeam_client::PartitionId(partition.number()).to_string(),
            of: class.partitions,
        }
    }
}

fn place_table(classes: &ClassSet, topics: &[String]) -> String {
    let mut rows = vec![["topic", "class", "key", "partition", "of"].map(str::to_owned)];
    rows.extend(topics.iter().map(|topic| {
        let Place { topic, class, key, partition, of } = Place::of(classes, topic);
        [topic.into(), class.into(), key.into(), partition, of.to_string()]
    }));
    table(&rows)
}

fn lines<T: Serialize>(values: impl Iterator<Item = T>) -> String {
    // Strings and numbers always have a form in JSON.
    values.map(|value| serde_json::to_string(&value).unwrap_or_default() + "\n").collect()
}

/// In the largest unit that leaves it whole.
fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let units = [(86_400, "d"), (3_600, "h"), (60, "min")];
    let unit = units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
    let (unit, name) = unit.unwrap_or((1, "s"));
    format!("{} {name}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        for (seconds, text) in [(1, "1 s"), (90, "90 s"), (600, "10 min"), (7200, "2 h"), (172_800, "2 d")] {
            assert_eq!(age(Duration::from_secs(seconds)), text);
        }
    }
}
