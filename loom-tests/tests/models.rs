//! Every model, on the sources as they are. `--nocapture` shows how much was explored.

use multibeam_loom_tests::models::MODELS;

#[test]
fn models_hold_on_the_sources() {
    for model in MODELS {
        let executions = model.check();
        eprintln!("{}: {executions} executions, preemptions {:?}", model.name, model.preemptions_max);
        assert!(executions > 1, "{} explores nothing", model.name);
    }
}
