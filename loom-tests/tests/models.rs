//! Every model, on the sources as they are. `--nocapture` shows how much was explored.

use multibeam_loom_tests::models::MODELS;

#[test]
fn models_hold_on_the_sources() {
    for model in MODELS {
        let executions = model.check();
        let bound = model.preemptions_max.map_or("exhaustive".to_owned(), |max| format!("{max} preemptions"));
        println!("{:<22}{executions:>9} executions, {bound}", model.name);
        assert!(executions > 1, "{} explores nothing", model.name);
    }
}
