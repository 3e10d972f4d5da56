//! The time-line of a run, as a file.

use crate::plan::Plan;
use crate::report::Outcome;
use std::path::Path;

/// Whether a run of that plan can be drawn, if that is wanted at all.
///
/// # Errors
/// Only runs of clusters are.
pub(super) fn check(plan: &Plan, svg: Option<&Path>) -> Result<(), String> {
    if svg.is_none() || plan.cluster.is_some() {
        return Ok(());
    }
    Err(format!(
        "seed {} is a plan of a single node, and only runs of clusters are drawn: leave --svg away",
        plan.seed
    ))
}

/// Writes the picture, if it is wanted.
///
/// # Errors
/// The file can't be written, or the run ended before there was anything to draw.
pub(super) fn write(outcome: &Outcome, svg: Option<&Path>) -> Result<(), String> {
    let Some(path) = svg else { return Ok(()) };
    let timeline = outcome.timeline.as_ref().ok_or("the run came to nothing that can be drawn")?;
    std::fs::write(path, timeline.svg()).map_err(|error| format!("{}: {error}", path.display()))?;
    eprintln!("drawn: {}", path.display());
    Ok(())
}
