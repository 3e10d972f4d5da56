//! Each ordering, fence and swap of the ring sources, weakened: a model must fail.
//!
//! A mutant runs in a process of its own: what a broken ring does inside a model is real undefined
//! behaviour.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::{self, Acquire, Relaxed, Release};

use multibeam_loom_tests::models::MODELS;
use multibeam_loom_tests::sync::{Mutant, mutate};

const CHILD: &str = "MULTIBEAM_LOOM_CHILD";

/// A weakened site and the model that fails by it.
struct Caught(&'static str, Ordering, &'static str);

/// `Relaxed` at a fence removes it, at a swap makes a load and a store of it.
const CAUGHT: &[Caught] = &[
    Caught("mpsc.word.store", Relaxed, "ring_batches"),
    Caught("mpsc.word.load", Relaxed, "ring_batches"),
    Caught("mpsc.word.store", Relaxed, "ring_singles"),
    Caught("mpsc.word.load", Relaxed, "ring_singles"),
    Caught("mpsc.word.store", Relaxed, "ring_lanes"),
    Caught("mpsc.word.load", Relaxed, "ring_lanes"),
    Caught("mpsc.released.store", Relaxed, "ring_range_in_parts"),
    Caught("mpsc.released.load", Relaxed, "ring_range_in_parts"),
    Caught("mpsc.released.store", Relaxed, "ring_wrap"),
    Caught("mpsc.released.load", Relaxed, "ring_wrap"),
    Caught("mpsc.tail.claim", Relaxed, "ring_claims_of_others"),
    Caught("mpsc.tail.claim", Acquire, "ring_claims_of_others"),
    Caught("mpsc.tail.claim", Release, "ring_claims_of_others"),
    Caught("mpsc.want.fence", Relaxed, "ring_want_room"),
    Caught("mpsc.release.fence", Relaxed, "ring_want_room"),
    Caught("mpsc.waiting.load", Relaxed, "ring_want_room"),
    Caught("mpsc.word.store", Relaxed, "mailbox_reply"),
    Caught("mpsc.word.load", Relaxed, "mailbox_reply"),
    Caught("bell.arm.fence", Relaxed, "mailbox_wake"),
    Caught("bell.ring.fence", Relaxed, "mailbox_wake"),
    Caught("bell.arm.fence", Relaxed, "mailbox_grant"),
    Caught("bell.ring.fence", Relaxed, "mailbox_grant"),
    Caught("spsc.tail.store", Relaxed, "spsc_singles"),
    Caught("spsc.tail.load", Relaxed, "spsc_singles"),
    Caught("spsc.head.store", Relaxed, "spsc_singles"),
    Caught("spsc.head.load", Relaxed, "spsc_singles"),
    Caught("spsc.tail.store", Relaxed, "spsc_batches"),
    Caught("spsc.tail.load", Relaxed, "spsc_batches"),
    Caught("spsc.head.store", Relaxed, "spsc_batches"),
    Caught("spsc.head.load", Relaxed, "spsc_batches"),
    Caught("spsc.head.store", Relaxed, "spsc_batches_full"),
    Caught("spsc.head.load", Relaxed, "spsc_batches_full"),
    Caught("bell.arm.fence", Relaxed, "spsc_wake"),
    Caught("bell.ring.fence", Relaxed, "spsc_wake"),
    Caught("bell.arm.swap", Relaxed, "mailbox_wake"),
    Caught("bell.arm.swap", Relaxed, "mailbox_two_senders"),
    Caught("bell.arm.swap", Relaxed, "spsc_wake"),
    Caught("bell.ring.swap", Relaxed, "mailbox_wake"),
    Caught("bell.ring.swap", Relaxed, "mailbox_two_senders"),
    Caught("bell.ring.swap", Relaxed, "mailbox_grant_late"),
    Caught("mpsc.want.swap", Relaxed, "mailbox_grant_late"),
    Caught("mpsc.want.swap", Relaxed, "ring_want_room_again"),
    Caught("mpsc.grant.swap", Relaxed, "mailbox_grant_late"),
    Caught("mpsc.grant.swap", Relaxed, "ring_want_room_again"),
];

#[test]
fn every_weakened_ordering_is_caught() {
    println!("{:<22}{:<14}{:<22}", "site", "weakened to", "caught by");
    let mut survivors = Vec::new();
    for Caught(site, ordering, model) in CAUGHT {
        let has_survived = passes(site, *ordering, model);
        let verdict = if has_survived { "SURVIVED" } else { "" };
        println!("{site:<22}{:<14}{model:<22}{verdict}", weakened(site, *ordering));
        survivors.extend(has_survived.then_some((site, ordering, model)));
    }
    assert!(survivors.is_empty(), "{survivors:?}");
}

#[test]
fn models_of_the_table_pass_without_a_mutant() {
    for model in CAUGHT.iter().map(|Caught(.., model)| model).collect::<BTreeSet<_>>() {
        assert!(passes("no such site", Relaxed, model), "{model} fails by itself");
    }
}

#[test]
fn every_site_of_the_sources_is_in_the_table() {
    let listed: BTreeSet<_> = CAUGHT.iter().map(|Caught(site, ..)| *site).collect();
    let named = SOURCES.iter().flat_map(|source| source.split('"').skip(1).step_by(2));
    let is_site = |name: &&str| ["bell.", "mpsc.", "spsc."].iter().any(|ring| name.starts_with(ring));
    let named: BTreeSet<_> = named.filter(is_site).collect();
    assert_eq!(named, listed);
}

/// An atomic that does not come through `sync` is one that the models do not see; an ordering without
/// a site is one that no mutant weakens.
#[test]
fn sources_go_through_the_facade() {
    for source in SOURCES {
        assert!(!source.contains("std::sync") && !source.contains("std::cell"));
        for line in source.lines().filter(|line| !line.trim_start().starts_with("//")) {
            let is_strong =
                ["Acquire", "Release", "AcqRel", "SeqCst"].iter().any(|strong| line.contains(strong));
            assert!(!is_strong || line.contains("ord(\"") || line.contains("fence(\""), "{line}");
        }
    }
}

const SOURCES: &[&str] = &[
    include_str!("../../crates/rings/src/counter.rs"),
    include_str!("../../crates/rings/src/doorbell.rs"),
    include_str!("../../crates/rings/src/mailbox.rs"),
    include_str!("../../crates/rings/src/mpsc.rs"),
    include_str!("../../crates/rings/src/slots.rs"),
    include_str!("../../crates/rings/src/spsc.rs"),
];

/// What a site is weakened to, in words.
fn weakened(site: &str, ordering: Ordering) -> String {
    match site.rsplit('.').next() {
        Some("fence") => "no fence".to_owned(),
        Some("swap") => "two steps".to_owned(),
        Some(_) | None => format!("{ordering:?}"),
    }
}

/// Whether the model passes with the site weakened.
fn passes(site: &str, ordering: Ordering, model: &str) -> bool {
    let exe = std::env::current_exe().expect("the test binary");
    let status = Command::new(exe)
        .args(["--exact", "child_with_a_mutant", "--ignored"])
        .env(CHILD, format!("{site}={ordering:?}={model}"))
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.expect("the child starts").success()
}

#[test]
#[ignore = "started by the other tests, with a mutant in its environment"]
fn child_with_a_mutant() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let [site, ordering, model] = task.split('=').collect::<Vec<_>>()[..] else { panic!("{task}") };
    let ordering = match ordering {
        "Relaxed" => Relaxed,
        "Acquire" => Acquire,
        "Release" => Release,
        other => panic!("{other}"),
    };
    let model = MODELS.iter().find(|known| known.name == model).expect("a known model");
    mutate(Mutant { site: site.to_owned().leak(), ordering });
    let _executions = model.check();
}
