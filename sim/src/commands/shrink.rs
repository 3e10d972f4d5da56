//! From a failing plan to the faults that it needs: halves first, then one by one.

use super::{draw, to_json};
use crate::cluster::faults::ClusterFault;
use crate::cluster::plan::ClusterPlan;
use crate::plan::Plan;
use crate::run::{Options, run_plan};
use multibeam_model::core::planted::Bug;
use std::path::Path;

/// The command. Prints the smallest plan found that fails by the same oracle, and draws its run.
pub(super) fn shrink(seed: u64, bug: Option<Bug>, svg: Option<&Path>) -> Result<bool, String> {
    let options = Options { planted: bug, ..Options::default() };
    let mut plan = Plan::of(seed);
    draw::check(&plan, svg)?;
    let Some(oracle) = oracle_of(&plan, options) else {
        return Err(format!("seed {seed} does not fail"));
    };
    let fails = |plan: &Plan| oracle_of(plan, options).as_deref() == Some(oracle.as_str());
    loop {
        let before = size(&plan);
        plan = without(plan, |plan| &mut plan.faults, &fails);
        plan = without(plan, |plan| &mut plan.hostile, &fails);
        plan = without(plan, |plan| &mut plan.kernel, &fails);
        if plan.cluster.is_some() {
            plan = without(plan, cluster_faults, &fails);
        }
        if size(&plan) == before {
            break;
        }
    }
    let outcome = run_plan(&plan, Options { keep_timeline: svg.is_some(), ..options });
    for line in
        outcome.story.iter().cloned().chain(outcome.failures.iter().map(|failure| failure.detail.clone()))
    {
        eprintln!("{line}");
    }
    eprintln!(
        "{oracle} with {} faults, {} hostile clients, {} kernel faults",
        plan.cluster.as_ref().map_or(plan.faults.len(), |cluster| cluster.faults.len()),
        plan.hostile.len(),
        plan.kernel.len()
    );
    println!("{}", to_json(&plan)?);
    draw::write(&outcome, svg)?;
    Ok(true)
}

/// The faults of a plan of several nodes; of another there are none.
fn cluster_faults(plan: &mut Plan) -> &mut Vec<(u64, ClusterFault)> {
    &mut plan.cluster.get_or_insert_with(|| ClusterPlan::of(0).0).faults
}

fn size(plan: &Plan) -> usize {
    let cluster = plan.cluster.as_ref().map_or(0, |cluster| cluster.faults.len());
    plan.faults.len() + plan.hostile.len() + plan.kernel.len() + cluster
}

fn oracle_of(plan: &Plan, options: Options) -> Option<String> {
    let outcome = run_plan(plan, options);
    outcome.failures.into_iter().map(|failure| failure.oracle).next()
}

/// Takes away chunks of a list, smaller and smaller, as long as the plan still fails.
fn without<T: Clone>(
    mut plan: Plan,
    list: fn(&mut Plan) -> &mut Vec<T>,
    fails: &impl Fn(&Plan) -> bool,
) -> Plan {
    let mut chunk = list(&mut plan).len();
    while chunk > 0 {
        let mut at = 0;
        while at < list(&mut plan).len() {
            let mut smaller = plan.clone();
            let items = list(&mut smaller);
            let end = items.len().min(at + chunk);
            items.drain(at..end);
            if fails(&smaller) {
                plan = smaller;
            } else {
                at += chunk;
            }
        }
        chunk /= 2;
    }
    plan
}
