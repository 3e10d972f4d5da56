//! `bench election`: how long a cluster is without a leader of its consensus when that is killed.
//!
//! Three nodes run as processes of their own, as `multibeam dev` starts them. One run:
//!
//! ```text
//!  whole ─► kill -9 the leader ─► look at both others, each few ms ─► start it again ─► whole…
//!            │ 0                    ├─ another leads, in a newer term
//!            │                      ├─ an entry of that term is in a view
//!            │                      └─ the view is without the killed node
//! ```
//!
//! Times count from just before the kill to just behind the answer that shows the change: so they are too long by
//! one look at the most, and how far looks were apart is told with them.

mod floor;
mod report;

use super::super::admin_client::{Asking, Question};
use super::super::local_cluster::{BASE_PORTS, Layout, Nodes, begin};
use super::super::stop::Stopper;
use super::super::{Failure, run_client};
use super::progress::Progress;
use super::stopwatch::Stopwatch;
use crate::cluster::ClusterStatus;
use crate::config::{ClusterSettings, NodeConfig, Overrides};
use clap::Args;
use floor::Floor;
use report::ElectionReport;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// Enough for a leader to be lost and a majority to be left.
const NODES: u16 = 3;

/// Pause between two looks at the survivors. Each look takes one of them a tenth of a millisecond or so.
const LOOK_EACH: Duration = Duration::from_millis(1);

/// Pause between two looks at a cluster that is to become whole.
const WHOLE_EACH: Duration = Duration::from_millis(20);

/// How long anything that is waited for may take; each takes a second or two.
const PATIENCE: Duration = Duration::from_secs(60);

/// Kills come at times of the leader's heartbeats that differ by this from run to run, and repeat after 150 ms.
const PHASE_STEP_MS: u32 = 37;
const PHASES_MS: u32 = 150;

/// Runs between two lines about how it goes.
const TELL_EACH: usize = 10;

#[derive(Debug, Args)]
pub(super) struct ElectionArgs {
    /// Times that the leader is killed; each takes some 3 s.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    runs: u16,
    /// The ports of the three nodes begin here, as those of 'multibeam dev' do.
    #[arg(long, value_name = "P", default_value_t = 17_400, value_parser = clap::value_parser!(u16).range(BASE_PORTS))]
    base_port: u16,
    /// Folder for the nodes' data, which stays: each entry waits for its disk [default: one that is deleted at the
    /// end, where temporary files are].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Prints one JSON document.
    #[arg(long)]
    json: bool,
}

/// When something was seen first, from the kill on.
#[derive(Clone, Copy, Debug, Default)]
struct Sights {
    /// A survivor says that another node leads, in a newer term.
    leader: Option<Duration>,
    /// The view of one contains an entry of such a term.
    entry: Option<Duration>,
    /// The view of one does not contain the killed node.
    removed: Option<Duration>,
}

/// What was measured, run by run, and how far looks at the same node were apart.
#[derive(Debug, Default)]
struct Measured {
    runs: Vec<Sights>,
    apart: Vec<Duration>,
}

/// Runs it and prints what it found.
///
/// # Errors
/// What did not come to be, or a signal, in one sentence; then there are no figures.
pub(super) fn election(args: &ElectionArgs) -> Result<(), Failure> {
    let layout = Layout::prepare(NODES, args.base_port, args.data_dir.as_deref())?;
    let report = run_client(run(args, &layout));
    layout.tidy();
    let report = report?;
    let text = if args.json { report.json()? } else { report.text() };
    // Who closed our output does not want to read this.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(())
}

async fn run(args: &ElectionArgs, layout: &Layout) -> Result<ElectionReport, Failure> {
    let config = NodeConfig::load(Some(&layout.places[0].config), Overrides::default(), |_| None);
    let settings = config.map_err(|error| error.to_string())?.cluster;
    let floor = Floor::measure(&layout.folder)?;
    let mut stopper = Stopper::new(None)?;
    let mut nodes = Nodes::start(layout, false)?;
    let measured = tokio::select! {
        biased;
        stop = stopper.stopped() => Err(format!("{stop}; the nodes are stopped").into()),
        measured = measure(args, layout, &settings, &mut nodes) => measured,
    };
    nodes.stop(&mut stopper).await;
    Ok(ElectionReport::new(&measured?, &settings, floor))
}

async fn measure(
    args: &ElectionArgs,
    layout: &Layout,
    settings: &ClusterSettings,
    nodes: &mut Nodes<'_>,
) -> Result<Measured, Failure> {
    let progress = Progress::new();
    let runs = usize::from(args.runs);
    progress.case(&format!("election: {NODES} nodes, {runs} kills"), 1.0 + 3.0 * f64::from(args.runs));
    begin(layout, nodes, PATIENCE).await?;
    let mut measured = Measured::default();
    for run in 0..runs {
        progress.run(run, runs);
        let phase = u64::from(run as u32 * PHASE_STEP_MS % PHASES_MS);
        whole(layout, nodes, settings).await?;
        tokio::time::sleep(Duration::from_millis(phase)).await;
        let (leader, status) = whole(layout, nodes, settings).await?;
        measured.runs.push(fail_over(layout, nodes, leader, &status, &mut measured.apart).await?);
        nodes.start_again(leader)?;
        if (run + 1) % TELL_EACH == 0 {
            progress.say(&report::so_far(&measured));
        }
    }
    Ok(measured)
}

/// Waits until all nodes are members and voters, lack nothing and agree on who leads: which that is, and what it says.
async fn whole(
    layout: &Layout,
    nodes: &mut Nodes<'_>,
    settings: &ClusterSettings,
) -> Result<(usize, ClusterStatus), Failure> {
    let watch = Stopwatch::start();
    loop {
        if let Some(ended) = nodes.ended() {
            return Err(ended.into());
        }
        let mut all = Vec::new();
        for place in &layout.places {
            // One that has just been started does not listen yet.
            let Ok(mut asking) = Asking::open(place.admin).await else { break };
            all.push(look(&mut asking).await?);
        }
        if let Some(leader) = leader_of_whole(&all, settings) {
            return Ok((leader, all.swap_remove(leader)));
        }
        if watch.elapsed() > PATIENCE {
            layout.keep();
            let (seconds, folder) = (PATIENCE.as_secs(), layout.folder.display());
            return Err(format!(
                "a node that was started again is no voter after {seconds} s; {folder} has the logs"
            )
            .into());
        }
        tokio::time::sleep(WHOLE_EACH).await;
    }
}

/// Which of them leads, if they are one whole cluster.
fn leader_of_whole(all: &[ClusterStatus], settings: &ClusterSettings) -> Option<usize> {
    let leader = all.iter().position(|status| status.role == "leader")?;
    let led = all.get(leader)?;
    let is_whole = |status: &ClusterStatus| {
        (status.epoch, status.term, &status.leader) == (led.epoch, led.term, &led.node)
            && status.members.len() == usize::from(NODES)
            && status.voters.len() == settings.times.voters
            && status.voters.iter().all(|voter| !voter.leaving && voter.lag.unwrap_or(0) == 0)
            && (status.applied_term, status.lag) == (status.term, 0)
            && status.lease_ms > 0
    };
    (all.len() == usize::from(NODES) && all.iter().all(is_whole)).then_some(leader)
}

async fn look(asking: &mut Asking) -> Result<ClusterStatus, String> {
    let answer = tokio::time::timeout(PATIENCE, asking.ask(&Question::Look("/cluster"))).await;
    let answer = answer.map_err(|_| format!("a node did not answer within {} s", PATIENCE.as_secs()))??;
    answer.json(asking.node())
}

/// Kills the leader and looks at the others until all is seen.
async fn fail_over(
    layout: &Layout,
    nodes: &mut Nodes<'_>,
    leader: usize,
    before: &ClusterStatus,
    apart: &mut Vec<Duration>,
) -> Result<Sights, Failure> {
    let mut survivors = Vec::new();
    for place in layout.places.iter().enumerate().filter_map(|(at, place)| (at != leader).then_some(place)) {
        survivors.push((Asking::open(place.admin).await?, None));
    }
    let mut sights = Sights::default();
    let watch = Stopwatch::start();
    nodes.kill(leader);
    while sights.leader.is_none() || sights.entry.is_none() || sights.removed.is_none() {
        for (asking, last) in &mut survivors {
            let status = look(asking).await?;
            let now = watch.elapsed();
            apart.extend(last.map(|last| now.saturating_sub(last)));
            *last = Some(now);
            sights.take(&status, before, now);
        }
        if watch.elapsed() > PATIENCE {
            layout.keep();
            let (seconds, folder) = (PATIENCE.as_secs(), layout.folder.display());
            return Err(format!(
                "nobody replaced the killed leader within {seconds} s; {folder} has the logs"
            )
            .into());
        }
        tokio::time::sleep(LOOK_EACH).await;
    }
    Ok(sights)
}

impl Sights {
    fn take(&mut self, status: &ClusterStatus, before: &ClusterStatus, now: Duration) {
        let leads = status.term > before.term && !status.leader.is_empty() && status.leader != before.node;
        let has_entry = status.applied_term > before.term;
        let is_without = status.members.iter().all(|member| member.node != before.node);
        for (sight, is_so) in
            [(&mut self.leader, leads), (&mut self.entry, has_entry), (&mut self.removed, is_without)]
        {
            if is_so {
                sight.get_or_insert(now);
            }
        }
    }
}
