//! The models, by name, and how they are run.

mod mailboxes;
mod rings;
mod spscs;

use std::sync::atomic::{AtomicUsize, Ordering};

use loom::sync::{Condvar, Mutex};

use crate::doorbell::Wake;

/// A model: a name, how many preemptions of its threads are explored (`None`: all), its body.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    /// What it is called in the table of mutants.
    pub name: &'static str,
    /// A bound that is too small hides real bugs: these are the largest that end within seconds.
    pub preemptions_max: Option<usize>,
    /// Run once for each execution that loom explores.
    pub body: fn(),
}

impl Model {
    /// Explores the model and returns the number of executions.
    ///
    /// # Panics
    /// If an execution fails, deadlocks, or races.
    #[must_use]
    pub fn check(self) -> usize {
        static EXECUTIONS: AtomicUsize = AtomicUsize::new(0);
        let before = EXECUTIONS.load(Ordering::Relaxed);
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = self.preemptions_max;
        builder.check(move || {
            EXECUTIONS.fetch_add(1, Ordering::Relaxed);
            (self.body)();
        });
        EXECUTIONS.load(Ordering::Relaxed) - before
    }
}

/// All models.
pub const MODELS: &[Model] = &[
    Model { name: "ring_wrap", preemptions_max: None, body: rings::wrap },
    Model { name: "ring_batches", preemptions_max: None, body: rings::batches },
    Model { name: "ring_singles", preemptions_max: None, body: rings::singles },
    Model { name: "ring_range_in_parts", preemptions_max: None, body: rings::range_in_parts },
    Model { name: "ring_lanes", preemptions_max: None, body: rings::lanes_of_a_batch },
    Model { name: "ring_claims_of_others", preemptions_max: None, body: rings::claims_of_others },
    Model { name: "ring_room", preemptions_max: None, body: rings::room_is_never_more_than_the_truth },
    Model { name: "ring_want_room", preemptions_max: None, body: rings::want_room },
    Model { name: "ring_want_room_again", preemptions_max: Some(4), body: rings::want_room_again },
    Model { name: "ring_drop", preemptions_max: None, body: rings::drop_of_unpopped },
    Model { name: "mailbox_wake", preemptions_max: Some(4), body: mailboxes::wake_of_consumer },
    Model { name: "mailbox_two_senders", preemptions_max: Some(3), body: mailboxes::wake_by_two },
    Model { name: "mailbox_grant", preemptions_max: None, body: mailboxes::grant_of_room },
    Model { name: "mailbox_grant_late", preemptions_max: Some(3), body: mailboxes::grant_answered_late },
    Model { name: "mailbox_reply", preemptions_max: None, body: mailboxes::reply_slot_reused },
    Model { name: "spsc_singles", preemptions_max: None, body: spscs::singles },
    Model { name: "spsc_batches", preemptions_max: None, body: spscs::batches },
    Model { name: "spsc_batches_full", preemptions_max: None, body: spscs::batches_into_a_full_ring },
    Model { name: "spsc_room", preemptions_max: None, body: spscs::room_is_never_more_than_the_truth },
    Model { name: "spsc_wake", preemptions_max: None, body: spscs::wake_of_consumer },
    Model { name: "spsc_drop", preemptions_max: None, body: spscs::drop_of_unpopped },
    Model { name: "counter", preemptions_max: None, body: rings::counter_grows },
];

/// A wake on which a model can sleep: like an eventfd, it keeps one token.
#[derive(Debug)]
pub(crate) struct Token {
    given: Mutex<bool>,
    changed: Condvar,
}

impl Token {
    pub(crate) fn new() -> Self {
        Self { given: Mutex::new(false), changed: Condvar::new() }
    }

    /// Sleeps until there is a token, and takes it.
    pub(crate) fn wait(&self) {
        let mut given = self.given.lock().expect("no model unlocks by panicking");
        while !*given {
            given = self.changed.wait(given).expect("no model unlocks by panicking");
        }
        *given = false;
    }
}

impl Wake for Token {
    fn wake(&self) {
        *self.given.lock().expect("no model unlocks by panicking") = true;
        self.changed.notify_one();
    }
}
