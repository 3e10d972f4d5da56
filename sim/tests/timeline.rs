//! A run of a cluster as a picture: it names what went wrong, when, and everybody; and drawing changes nothing.

use multibeam_model::core::planted::Bug;
use multibeam_sim::cluster::timeline::{SPANS_MAX, Span, State, Timeline, Track};
use multibeam_sim::commands::{seeds_for, sweep_with};
use multibeam_sim::history::Failure;
use multibeam_sim::report::Outcome;
use multibeam_sim::run::{Options, run_seed};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

/// A bug of clusters that a P5 or so catches early in a run.
const BUG: Bug = Bug::PromiseCountsAtOnce;

fn program(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_multibeam-sim");
    Command::new(program).args(arguments).output().expect("it runs")
}

/// An element: its name, its attributes, and the text right inside of it.
type Element<'a> = (&'a str, BTreeMap<&'a str, &'a str>, String);

/// All elements of a document, in the order of their beginnings.
///
/// # Panics
/// When it is not well-formed, or has what a picture of ours does not need.
fn elements(mut xml: &str) -> Vec<Element<'_>> {
    let (mut all, mut open): (Vec<Element<'_>>, Vec<usize>) = (Vec::new(), Vec::new());
    while let Some((text, rest)) = xml.split_once('<') {
        let (tag, rest) = rest.split_once('>').expect("a tag ends");
        match open.last() {
            Some(&at) => all[at].2 += &unescaped(text),
            None => assert_eq!((text.trim(), all.len()), ("", 0), "one root, and nothing around it"),
        }
        if let Some(name) = tag.strip_prefix('/') {
            let at = open.pop().expect("it is open");
            assert_eq!(all[at].0, name);
        } else {
            let (inner, empty) = tag.strip_suffix('/').map_or((tag, false), |inner| (inner, true));
            let (name, mut rest) = inner.split_once(' ').unwrap_or((inner, ""));
            assert!(name.chars().all(char::is_alphanumeric), "{name:?}");
            let mut attributes = BTreeMap::new();
            while let Some((attribute, behind)) = rest.split_once("=\"") {
                let (value, behind) = behind.split_once('"').expect("a value ends");
                unescaped(value);
                assert_eq!(attributes.insert(attribute.trim(), value), None, "{attribute} twice");
                rest = behind;
            }
            assert_eq!(rest, "", "attributes of {name}");
            all.push((name, attributes, String::new()));
            if !empty {
                open.push(all.len() - 1);
            }
        }
        xml = rest;
    }
    assert_eq!((xml.trim(), open.len()), ("", 0), "all is ended");
    all
}

fn unescaped(text: &str) -> String {
    assert!(!text.contains(|letter: char| letter.is_control() && letter != '\n'), "{text:?}");
    let mut parts = text.split('&');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (entity, rest) = part.split_once(';').expect("an entity ends");
        let entities = [("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"'), ("#39", '\'')];
        let known = entities.iter().find(|(name, _)| *name == entity);
        out.push(known.unwrap_or_else(|| panic!("{entity} is no entity")).1);
        out.push_str(rest);
    }
    out
}

fn texts<'a>(elements: &'a [Element<'_>], name: &str) -> Vec<&'a str> {
    elements.iter().filter(|element| element.0 == name).map(|element| element.2.trim()).collect()
}

/// The first run that catches the bug.
fn failing() -> Outcome {
    let mut failing = None;
    sweep_with(
        seeds_for(BUG, &(0..200)),
        2,
        Options { planted: Some(BUG), keep_timeline: true, ..Options::default() },
        |outcome| {
            if !outcome.failures.is_empty() {
                failing.get_or_insert(outcome);
            }
            failing.is_none()
        },
    );
    failing.expect("tests/planted.rs says so")
}

#[test]
fn a_failing_run_is_drawn_with_its_oracle_its_time_and_all_nodes() {
    let outcome = failing();
    let timeline = outcome.timeline.as_ref().expect("it was kept");
    let svg = timeline.svg();
    let elements = elements(&svg);
    let (failure, at_ms) = (&outcome.failures[0], outcome.simulated_ms);
    let at = format!("{} at {}.{:03} s", failure.oracle, at_ms / 1000, at_ms % 1000);
    let words = texts(&elements, "text");
    assert!(words.contains(&&*format!("seed {}: {at}", outcome.seed)), "{words:?}");
    assert!(words.contains(&&*format!("{}: {}", failure.oracle, failure.detail)), "{words:?}");
    // The line across all rows, with its words as a title.
    assert!(words.contains(&&*at), "{words:?}");
    assert!(texts(&elements, "title").contains(&&*format!("{at}: {}", failure.detail)));
    let plan = multibeam_sim::plan::Plan::of(outcome.seed).cluster.expect("it is a cluster's");
    assert_eq!(timeline.tracks.len(), plan.hosts() + plan.clients.len());
    for track in &timeline.tracks {
        assert!(words.contains(&&*track.name), "{} is not in {words:?}", track.name);
    }
    // What a P5 is about: each node was up for a while, and two hold their leases at the end.
    let (nodes, _) = timeline.tracks.split_at(plan.hosts());
    assert!(nodes.iter().all(|track| track.spans.iter().any(|span| span.state == State::Up)));
    let leased = nodes.iter().filter(|track| track.last.contains(&State::Leased)).count();
    assert!(failure.oracle != "P5" || leased >= 2, "{nodes:?}");

    let (seed, next) = (outcome.seed.to_string(), outcome.seed + 1);
    let swept = program(&["sweep", "--seeds", &format!("{seed}..{next}"), "--planted", BUG.name()]);
    let swept = String::from_utf8_lossy(&swept.stdout).into_owned();
    let draw = format!("run --seed {seed} --planted {} --svg seed-{seed}.svg", BUG.name());
    assert!(swept.lines().any(|line| line.trim().starts_with("draw:") && line.ends_with(&draw)), "{swept}");
}

#[test]
fn a_recording_does_not_change_the_run() {
    for seed in [1, 9] {
        let plain = run_seed(seed, Options::default());
        let options = Options { keep_timeline: true, ..Options::default() };
        let recorded = run_seed(seed, options);
        let svg = recorded.timeline.as_ref().expect("it was kept").svg();
        elements(&svg);
        let again = run_seed(seed, options).timeline.expect("it was kept").svg();
        assert!(svg == again, "seed {seed} has two pictures");
        assert_eq!(plain, Outcome { timeline: None, ..recorded }, "seed {seed}");
    }
}

#[test]
fn whatever_is_said_the_picture_is_well_formed() {
    let said = "</title><script>\"it's\" & \u{1b}[1m\u{0}\u{ffff} ]]> é";
    let failures = vec![Failure::new("P&<5>", format!("{said} ").repeat(200)); 9];
    let span = Span { state: State::Member(7), from_ms: 0, until_ms: 0 };
    let track = Track { name: said.to_owned(), spans: vec![span], ..Track::default() };
    let timeline = Timeline { failures, tracks: vec![track], ..Timeline::default() };
    let svg = timeline.svg();
    let elements = elements(&svg);
    let expected = said.replace(['\u{1b}', '\u{0}', '\u{ffff}'], "\u{fffd}");
    assert!(texts(&elements, "text").contains(&&*expected));
    assert!(elements.iter().all(|element| element.0 != "script"));
    assert!(svg.len() < 30_000, "a failure of any length is told shortly: {} bytes", svg.len());
}

#[test]
fn a_picture_says_where_its_recording_was_full() {
    let track = |full_ms| Track { name: "node-a".to_owned(), full_ms, ..Track::default() };
    let says = |full_ms| {
        let timeline = Timeline { end_ms: 9_000, tracks: vec![track(full_ms)], ..Timeline::default() };
        let svg = timeline.svg();
        let words = texts(&elements(&svg), "text").join("\n");
        words.contains(&format!("{SPANS_MAX} spans are kept: nothing that began after 2.500 s"))
    };
    assert!(says(Some(2_500)) && !says(None));
}

#[test]
fn the_command_draws_a_cluster_and_refuses_a_single_node() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("timeline.svg");
    let _ = std::fs::remove_file(&path);
    let file = path.to_str().expect("a name");
    let refused = program(&["run", "--seed", "4", "--svg", file]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        refused.status.code() == Some(2) && words.contains("seed 4 is a plan of a single node"),
        "{words}"
    );
    assert!(!path.exists());
    assert!(program(&["run", "--seed", "1", "--svg", file]).status.success());
    let drawn = std::fs::read_to_string(&path).expect("it was written");
    let here = run_seed(1, Options { keep_timeline: true, ..Options::default() });
    assert!(drawn == here.timeline.expect("it was kept").svg());
    assert!(!program(&["run", "--seed", "1", "--svg", "/no/such/folder/a.svg"]).status.success());
}
