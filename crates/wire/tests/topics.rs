//! Filters and templates against what they mean, written down once more without regard to speed.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use multibeam_wire::limits::{KEY_BYTES_MAX, TOPIC_BYTES_MAX, TOPIC_SEGMENTS_MAX};
use multibeam_wire::{FilterError, TemplateError, TopicFilter, TopicName, fill_template};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// `*` takes any one segment; `>` takes one, and then ends or is there again.
fn takes(filter: &[&str], topic: &[&str]) -> bool {
    let (Some((first, filter_rest)), Some((segment, topic_rest))) =
        (filter.split_first(), topic.split_first())
    else {
        return filter.is_empty() && topic.is_empty();
    };
    match *first {
        ">" => takes(filter_rest, topic_rest) || takes(filter, topic_rest),
        "*" => takes(filter_rest, topic_rest),
        name => name == *segment && takes(filter_rest, topic_rest),
    }
}

fn is_name(text: &str) -> bool {
    let segments: Vec<&str> = text.split('.').collect();
    text.len() <= TOPIC_BYTES_MAX
        && segments.len() <= TOPIC_SEGMENTS_MAX
        && segments.iter().all(|segment| {
            !segment.is_empty()
                && segment.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '*' && c != '>')
        })
}

/// With a name in place of each wildcard it is a topic name.
fn is_filter(text: &str) -> bool {
    let mut segments: Vec<&str> = text.split('.').collect();
    if let Some(last) = segments.last_mut().filter(|last| **last == ">") {
        *last = "x";
    }
    for segment in segments.iter_mut().filter(|segment| **segment == "*") {
        *segment = "x";
    }
    is_name(&segments.join("."))
}

/// Few segments, so that many are alike.
fn segments(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop_oneof![9 => vec(select(of), 1..6), 1 => vec(select(of), TOPIC_SEGMENTS_MAX)]
}

/// Texts that are often names, filters or templates, and often just not.
fn text() -> impl Strategy<Value = String> {
    let odd = vec(select(&["a", "ß", ".", ".", "*", ">", " ", "\t", "\u{a0}"][..]), 0..9);
    prop_oneof![
        3 => odd.prop_map(|pieces| pieces.concat()),
        3 => segments(&["a", "bc", "*", "*x", ">", ""]).prop_map(|segments| segments.join(".")),
        3 => segments(&["a", "bc", "*"]).prop_map(|segments| segments.join(".")),
        1 => (0..20usize).prop_map(|count| vec!["a"; count].join(".")),
        1 => (TOPIC_BYTES_MAX - 2..TOPIC_BYTES_MAX + 2).prop_map(|len| "x".repeat(len)),
        1 => (TOPIC_BYTES_MAX - 2..TOPIC_BYTES_MAX + 2).prop_map(|len| "*.".to_owned() + &"x".repeat(len - 2)),
    ]
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z0-9]{1,4}",
        2 => select(&["", ".", "a.b", "*", ">", " ", "größe"][..]).prop_map(str::to_owned),
        1 => (KEY_BYTES_MAX - 1..KEY_BYTES_MAX + 2).prop_map(|len| "k".repeat(len)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_filter_matches_what_its_segments_take(
        mut filter in segments(&["a", "b", "*"]),
        to_the_end: bool,
        topic in segments(&["a", "b", "ab"]),
    ) {
        if to_the_end {
            *filter.last_mut().unwrap() = ">";
        }
        let (filter_text, topic_text) = (filter.join("."), topic.join("."));
        prop_assert_eq!(TopicFilter::check(&filter_text), Ok(()));
        prop_assert_eq!(
            TopicFilter::matches(&filter_text, &topic_text),
            takes(&filter, &topic),
            "{} {}", filter_text, topic_text
        );
    }

    /// Independent draws seldom match: here the filter is the topic with some segments blanked out.
    #[test]
    fn a_topic_is_matched_by_its_own_blanks(
        topic in segments(&["a", "b", "ab"]),
        blanks: u16,
        cut in 0usize..20,
    ) {
        let blank = |(at, segment)| if blanks >> at & 1 == 1 { "*" } else { segment };
        let mut filter: Vec<&str> = topic.iter().copied().enumerate().map(blank).collect();
        if cut < filter.len() {
            filter.truncate(cut);
            filter.push(">");
        }
        prop_assert!(TopicFilter::matches(&filter.join("."), &topic.join(".")), "{:?} {:?}", filter, topic);
        // One segment more is taken by nothing but a `>`.
        let longer = topic.join(".") + ".a";
        prop_assert_eq!(TopicFilter::matches(&filter.join("."), &longer), filter.ends_with(&[">"]));
    }

    #[test]
    fn texts_are_names_and_filters_by_the_same_rules(text in text()) {
        prop_assert_eq!(TopicName::check(&text).is_ok(), is_name(&text));
        prop_assert_eq!(TopicName::new(&text).is_ok(), is_name(&text));
        prop_assert_eq!(TopicFilter::check(&text).is_ok(), is_filter(&text));
        prop_assert_eq!(TopicFilter::new(&text).is_ok(), is_filter(&text));
        prop_assert_eq!(is_name(&text), is_filter(&text) && !TopicFilter::is_meant(&text));
        if is_name(&text) {
            prop_assert!(TopicFilter::matches(&text, &text));
        }
        if let Err(FilterError::Name(error)) = TopicFilter::check(&text) {
            prop_assert_eq!(TopicName::check(&text.replace(['*', '>'], "x")), Err(error));
        }
    }

    #[test]
    fn a_filled_template_has_the_key_where_the_wildcard_was(template in text(), key in key()) {
        let mut topic = "what was here before".to_owned();
        let filled = fill_template(&template, &key, &mut topic);
        let wildcards = template.split('.').filter(|segment| *segment == "*").count();
        let expected = format!(".{template}.").replacen(".*.", &format!(".{key}."), 1);
        let expected = &expected[1..expected.len() - 1];
        let is_key = !key.is_empty() && key.len() <= KEY_BYTES_MAX && !key.contains('.');
        prop_assert_eq!(filled.is_ok(), is_key && wildcards == 1 && is_name(expected));
        match filled {
            Ok(()) => {
                prop_assert_eq!(&topic, expected);
                prop_assert!(TopicFilter::matches(&template, &topic));
            }
            Err(TemplateError::Key) => prop_assert!(!is_key),
            Err(TemplateError::Wildcard) => prop_assert!(is_key && wildcards != 1),
            Err(TemplateError::Name(error)) => {
                prop_assert!(is_key);
                prop_assert_eq!(TopicName::check(expected), Err(error));
            }
        }
    }
}

/// The draws above reach what they are to tell apart.
#[test]
fn both_answers_are_drawn() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut names, mut filters, mut filled) = (0, 0, 0);
    for _ in 0..1000 {
        let (text, key) = (text(), key()).new_tree(&mut runner).unwrap().current();
        names += u32::from(is_name(&text));
        filters += u32::from(is_filter(&text) && !is_name(&text));
        filled += u32::from(fill_template(&text, &key, &mut String::new()).is_ok());
    }
    for (what, count) in [("names", names), ("filters", filters), ("templates", filled)] {
        assert!((30..970).contains(&count), "{count} of 1000 are {what}");
    }
}
