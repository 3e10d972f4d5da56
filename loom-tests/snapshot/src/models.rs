//! The models, by name, and how they are run.
//!
//! One reader and one or two publications: what a second reader would add happens in `crossbeam-epoch`,
//! and is more than loom can explore. A value is freed two epochs after it was replaced, so that a model
//! must force them to end.

use std::sync::atomic::{AtomicUsize, Ordering};

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use crate::snapshot::{Reader, cell};

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
        builder.max_branches = 100_000;
        builder.check(move || {
            EXECUTIONS.fetch_add(1, Ordering::Relaxed);
            (self.body)();
        });
        EXECUTIONS.load(Ordering::Relaxed) - before
    }
}

/// All models.
pub const MODELS: &[Model] = &[
    Model { name: "freed", preemptions_max: Some(2), body: freed_in_time },
    Model { name: "two", preemptions_max: Some(2), body: two_publications },
    Model { name: "version", preemptions_max: Some(2), body: version_first },
    Model { name: "end", preemptions_max: Some(2), body: dropped_once },
];

/// Executions of the model `freed` in which the old value went before the reader was joined. If there are
/// none, or no others, the model proves nothing.
pub static FREED_IN_TIME: AtomicUsize = AtomicUsize::new(0);

/// A value that loom watches: whoever reads it while or after it is dropped, is seen.
#[derive(Debug)]
struct Watched {
    number: UnsafeCell<u64>,
    /// Loom counts these, and complains of one that is never dropped.
    _alive: Arc<()>,
}

impl Watched {
    fn new(number: u64, alive: &Arc<()>) -> Self {
        Self { number: UnsafeCell::new(number), _alive: Arc::clone(alive) }
    }

    #[allow(unsafe_code, reason = "a cell that loom checks")]
    fn number(&self) -> u64 {
        self.number.with(|number| {
            // SAFETY: loom fails the execution if anyone writes meanwhile.
            unsafe { *number }
        })
    }
}

impl Drop for Watched {
    #[allow(unsafe_code, reason = "a cell that loom checks")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.number.with_mut(|number| {
            // SAFETY: loom fails the execution if anyone reads meanwhile.
            unsafe { *number = u64::MAX };
        });
    }
}

// SAFETY: only to be shared between the threads of a model, whose accesses loom checks.
#[allow(unsafe_code, reason = "a cell that loom checks")]
unsafe impl Sync for Watched {}

/// A look at the current value: whole, and the one that its version names.
fn look(reader: &Reader<Watched>) -> u64 {
    let value = reader.load();
    assert_eq!(value.number(), value.version());
    value.version()
}

/// A reader looks while the value is replaced and the old one freed, unless the reader holds it.
fn freed_in_time() {
    let alive = Arc::new(());
    let (mut publisher, readers) = cell(Watched::new(0, &alive));
    let looking = thread::spawn(move || assert!(look(&readers.register()) <= 1));
    publisher.publish(Watched::new(1, &alive)).expect("none retired");
    FREED_IN_TIME.fetch_add(usize::from(publisher.retired() == 0), Ordering::Relaxed);
    looking.join().expect("reader");
    publisher.reclaim();
    assert_eq!((publisher.retired(), publisher.current().number()), (0, 1));
}

/// A reader that looks twice sees nothing older the second time.
fn two_publications() {
    let alive = Arc::new(());
    let (mut publisher, readers) = cell(Watched::new(0, &alive));
    let looking = thread::spawn(move || {
        let reader = readers.register();
        let (first, second) = (look(&reader), look(&reader));
        assert!(first <= second && second <= 2, "{first}, then {second}");
    });
    publisher.publish(Watched::new(1, &alive)).expect("none retired");
    publisher.publish(Watched::new(2, &alive)).expect("one retired");
    looking.join().expect("reader");
}

/// What a reader loads is not older than the version it was told before, even if it is pinned already,
/// so that no fence of the pin helps.
fn version_first() {
    let (mut publisher, readers) = cell(0);
    let looking = thread::spawn(move || {
        let reader = readers.register();
        let held = reader.load();
        let version = reader.version();
        let next = reader.load();
        assert!(held.version() <= next.version() && version <= next.version());
        assert_eq!((*held, *next), (held.version(), next.version()));
    });
    publisher.publish(1).expect("none retired");
    looking.join().expect("reader");
}

/// The publisher goes first, or the reader: each value is dropped once.
fn dropped_once() {
    let alive = Arc::new(());
    let (mut publisher, readers) = cell(Watched::new(0, &alive));
    let looking = thread::spawn(move || {
        let reader = readers.register();
        drop(readers);
        look(&reader)
    });
    publisher.publish(Watched::new(1, &alive)).expect("none retired");
    drop(publisher);
    assert!(looking.join().expect("reader") <= 1);
    assert_eq!(Arc::strong_count(&alive), 1);
}
