use super::*;
use crate::history::End;
use crate::oracles::fixture::{self, PARTITION, at, delivered, gap, history, id, publishes, subscribe};
use crate::plan::OverflowPlan;

fn failure(plan: &Plan, what: impl IntoIterator<Item = What>) -> Option<Failure> {
    let what = subscribe(0).into_iter().chain(subscribe(1)).chain(publishes(3)).chain(what);
    judge(plan, &history(what)).pop()
}

fn fails(what: impl IntoIterator<Item = What>) -> bool {
    failure(&fixture::plan(), what).is_some()
}

fn all(subscription: usize) -> [What; 3] {
    [1, 2, 3].map(|number| delivered(subscription, number, number))
}

fn gap_for(reason: GapReason) -> What {
    let (from, to) = (at(1), at(2));
    What::Gap { subscription: 1, partition: PARTITION, from, to, reason: Some(reason) }
}

/// The second subscription misses the second message, for a reason.
fn missed(reason: GapReason) -> Vec<What> {
    let own = [delivered(1, 1, 1), gap_for(reason), delivered(1, 3, 3)];
    all(0).into_iter().chain(own).collect()
}

#[test]
fn all_or_told_is_fine() {
    assert!(!fails(all(0).into_iter().chain(all(1))));
    assert!(!fails(missed(GapReason::Overflow)));
}

#[test]
fn what_another_got_may_not_be_missing() {
    assert!(fails(all(0).into_iter().chain([delivered(1, 1, 1), delivered(1, 3, 3)])));
    assert!(fails(all(0).into_iter().chain([delivered(1, 2, 2), delivered(1, 3, 3)])));
}

#[test]
fn what_was_acknowledged_and_nobody_got_is_missing() {
    let two = |subscription| [delivered(subscription, 1, 1), delivered(subscription, 3, 3)];
    assert!(fails(two(0).into_iter().chain(two(1))));
}

#[test]
fn what_a_receipt_places_is_known() {
    let receipts = vec![(PARTITION, at(2))];
    let receipt = What::Ended { publish: id(2), end: End::Stored, receipts };
    let two = |subscription| [delivered(subscription, 1, 1), delivered(subscription, 3, 3)];
    let found = failure(&fixture::plan(), [receipt].into_iter().chain(two(0)).chain(two(1)));
    assert!(found.is_some_and(|found| found.detail.contains("not told that it misses")));
}

#[test]
fn a_gap_before_the_message_does_not_excuse() {
    assert!(fails(all(0).into_iter().chain([gap(1, 0, 1), delivered(1, 2, 2)])));
}

#[test]
fn a_gap_begins_where_the_last_message_was() {
    assert!(fails(all(0).into_iter().chain([delivered(1, 1, 1), gap(1, 2, 3)])));
}

#[test]
fn a_silent_gap_is_none() {
    let (from, to) = (at(0), at(3));
    let silent = What::Gap { subscription: 1, partition: PARTITION, from, to, reason: None };
    assert!(fails(all(0).into_iter().chain([silent])));
}

#[test]
fn a_new_generation_is_told() {
    let position = Position::new(2, 1);
    let fresh =
        What::Delivered { subscription: 1, topic: Some(0), partition: PARTITION, position, publish: None };
    assert!(fails(all(0).into_iter().chain(all(1)).chain([fresh])));
}

#[test]
fn a_resume_ahead_of_what_was_told_is_a_gap() {
    let resume = |offset| What::Subscribe {
        subscription: 1,
        target: Target::Topic(0),
        after: Some(Places::from([(PARTITION, at(offset))])),
        first: false,
    };
    assert!(!fails(all(0).into_iter().chain([
        delivered(1, 1, 1),
        resume(1),
        delivered(1, 2, 2),
        delivered(1, 3, 3)
    ])));
    assert!(fails(all(0).into_iter().chain([delivered(1, 1, 1), resume(2), delivered(1, 3, 3)])));
}

#[test]
fn only_a_class_that_conflates_conflates_and_never_the_newest() {
    assert!(fails(missed(GapReason::Conflated)));
    let mut plan = fixture::plan();
    plan.node.classes[0].overflow = OverflowPlan::Conflate;
    assert!(failure(&plan, missed(GapReason::Conflated)).is_none());
    let (from, to) = (at(1), at(3));
    let newest =
        What::Gap { subscription: 1, partition: PARTITION, from, to, reason: Some(GapReason::Conflated) };
    assert!(failure(&plan, all(0).into_iter().chain([delivered(1, 1, 1), newest])).is_some());
}

#[test]
fn only_what_has_an_end_expires() {
    assert!(fails(missed(GapReason::Expired)));
}

/// The clocks of two clients seem apart by two steps at the most (seed 107), and no more is forgiven.
#[test]
fn nothing_expires_before_its_time() {
    let told = |at_us| {
        let publishes = [1, 2, 3].map(|number| What::Invoke {
            publish: id(number),
            topics: vec![0],
            ttl_ms: Some(20),
            bytes: 1,
        });
        let all =
            subscribe(0).into_iter().chain(subscribe(1)).chain(publishes).chain(missed(GapReason::Expired));
        let mut history = history(all);
        for entry in &mut history {
            entry.time_us = if matches!(entry.what, What::Gap { .. }) { at_us } else { 0 };
        }
        judge(&fixture::plan(), &history).len()
    };
    assert_eq!((told(9_999), told(10_000)), (1, 0));
}

#[test]
fn what_a_class_keeps_is_not_evicted() {
    let mut plan = fixture::plan();
    plan.node.messages_bytes_max = 1 << 30;
    assert!(failure(&plan, missed(GapReason::Overflow)).is_none(), "it keeps one message");
    plan.node.classes[0].messages = 8;
    assert!(failure(&plan, missed(GapReason::Overflow)).is_some());
    plan.node.classes[0].bytes = 100;
    assert!(failure(&plan, missed(GapReason::Overflow)).is_none(), "it keeps 100 bytes");
}

#[test]
fn nothing_is_sent_after_its_time() {
    let publish = id(9);
    let judged = |after_us| {
        let asked = What::Invoke { publish, topics: vec![0], ttl_ms: Some(100), bytes: 1 };
        let ended = What::Ended { publish, end: End::Stored, receipts: Vec::new() };
        let mut history = history([asked, ended, What::Sent { publish, after_us }]);
        history[1].time_us = 50_000;
        judge(&fixture::plan(), &history).len()
    };
    assert_eq!(judged(150_000), 0);
    assert_eq!(judged(160_000), 1);
}
