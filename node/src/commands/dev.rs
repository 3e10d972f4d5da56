//! `multibeam dev`: a cluster of several nodes on this machine, to try out what a cluster does.
//!
//! It writes a configuration for each node, starts this program once for each, begins the cluster, tells where
//! everything is, and waits. A node that ends, killed or not, is reported, and the others go on. Ctrl-C stops what
//! it started, and nothing else.

use super::local_cluster::{BASE_PORTS, LOOK_EACH, Layout, NODES, Nodes, begin};
use super::serve::command_name;
use super::stop::{Stop, Stopper};
use super::table::table;
use super::{Failure, run_client, values};
use crate::config::ADMIN_DEFAULT;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "Examples:
  multibeam dev
  multibeam dev --nodes 5 --base-port 17400
  multibeam dev --data-dir cluster --restart";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DevArgs {
    /// Nodes to start: 1, 3 or 5.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = nodes_value)]
    nodes: u16,
    /// Port P of the first node: clients connect to P, links to P + 1, the admin server is at P + 80; each further
    /// node has ports that are 10 higher.
    #[arg(long, value_name = "P", default_value_t = 7400, value_parser = clap::value_parser!(u16).range(BASE_PORTS))]
    base_port: u16,
    /// Folder for configurations, data and logs, which stay; used again, the cluster goes on [default: one that is
    /// deleted at the end].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Starts a node that has ended again, after 3 s.
    #[arg(long)]
    restart: bool,
    /// Gives up when the nodes take longer to be ready, such as 30s or 5m; they need a second.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = values::span)]
    timeout: Duration,
}

fn nodes_value(text: &str) -> Result<u16, String> {
    text.parse().ok().filter(|nodes| NODES.contains(nodes)).ok_or_else(|| "expected 1, 3 or 5".to_owned())
}

pub(super) fn dev(args: &DevArgs) -> Result<(), Failure> {
    let layout = Layout::prepare(args.nodes, args.base_port, args.data_dir.as_deref())?;
    let result = run_client(run(args, &layout));
    layout.tidy();
    result
}

async fn run(args: &DevArgs, layout: &Layout) -> Result<(), Failure> {
    let mut stopper = Stopper::new(None)?;
    let mut nodes = Nodes::start(layout, args.restart)?;
    let begun = tokio::select! {
        biased;
        stop = stopper.stopped() => Err(stopped(stop)),
        begun = begin(layout, &mut nodes, args.timeout) => begun,
    };
    let result = match begun {
        Ok(cluster) => {
            tell(&announcement(layout, &nodes, &cluster));
            watch(&mut stopper, &mut nodes).await
        }
        Err(failure) => Err(failure),
    };
    nodes.stop(&mut stopper).await;
    result
}

fn stopped(stop: Stop) -> Failure {
    Failure::Failed(format!("{stop} before the cluster was there; its nodes are stopped"))
}

/// Tells what happens until it is asked to stop.
async fn watch(stopper: &mut Stopper, nodes: &mut Nodes<'_>) -> Result<(), Failure> {
    loop {
        tokio::select! {
            biased;
            _ = stopper.stopped() => return Ok(()),
            () = tokio::time::sleep(LOOK_EACH) => {}
        }
        for line in nodes.look() {
            tell(&format!("{line}\n"));
        }
        if nodes.all_ended() {
            return Err(Failure::Failed("all nodes have ended".to_owned()));
        }
    }
}

fn tell(text: &str) {
    // Who closed our output does not want to read this.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn announcement(layout: &Layout, nodes: &Nodes<'_>, cluster: &str) -> String {
    let mut rows = vec![["node", "clients", "links", "admin", "process"].map(str::to_owned)];
    rows.extend(nodes.processes().map(|(place, process)| {
        let process = process.map_or("-".to_owned(), |process| process.to_string());
        let addresses = [place.clients, place.links, place.admin].map(|address| address.to_string());
        let [clients, links, admin] = addresses;
        [place.name.clone(), clients, links, admin, process]
    }));
    let (count, folder) = (layout.places.len(), layout.folder.display());
    let are = if count == 1 { "node on this machine is" } else { "nodes on this machine are" };
    let command = command_name();
    let first = layout.places[0].admin;
    let admin = if first == ADMIN_DEFAULT { String::new() } else { format!(" --admin {first}") };
    let last = nodes.processes().filter_map(|(_, process)| process).last().unwrap_or_default();
    format!(
        "{count} {are} cluster {cluster}\n\
         \n\
         {}\
         \n\
         configurations, data and logs are in {folder}\n\
         try it, in another terminal:\n  \
           {command} cluster status{admin}\n  \
           kill -9 {last}\n  \
           {command} cluster status{admin}\n\
         nodes agree on who leads what; messages go no further than the node that they are published at, so far\n\
         Ctrl-C stops all nodes\n",
        table(&rows)
    )
}
