//! Every model, on the source as it is. `--nocapture` shows how much was explored.

use std::sync::atomic::Ordering::Relaxed;

use multibeam_loom_snapshot::models::{FREED_IN_TIME, MODELS};

#[test]
fn models_hold_on_the_source() {
    let mut executions_of_freed = 0;
    for model in MODELS {
        let executions = model.check();
        if model.name == "freed" {
            executions_of_freed = executions;
        }
        eprintln!("{}: {executions} executions, preemptions {:?}", model.name, model.preemptions_max);
        assert!(executions > 1, "{} explores nothing", model.name);
    }
    assert!((1..executions_of_freed).contains(&FREED_IN_TIME.load(Relaxed)), "the same each time");
}
