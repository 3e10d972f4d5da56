//! `multibeam serve`, and what runs without a command.

use super::values;
use crate::cluster::Cluster;
use crate::config::{LISTEN_DEFAULT, NodeConfig, Overrides, SHARDS};
use crate::os::{OsPlatform, is_shard};
use crate::{Ready, run};
use clap::Args;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use tokio::task::LocalSet;

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Configuration file (TOML); the options here win over it.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Where clients connect; port 0 lets the system choose [default: 127.0.0.1:7400].
    #[arg(long, value_name = "IP:PORT", value_parser = values::address)]
    pub(super) listen: Option<SocketAddr>,
    /// Where the admin server listens; a loopback address [default: 127.0.0.1:7480].
    #[arg(long, value_name = "IP:PORT", value_parser = values::address)]
    pub(super) admin: Option<SocketAddr>,
    /// Event loops [default: one a core, at least 2].
    #[arg(long, value_name = "N", value_parser = shards)]
    pub(super) shards: Option<usize>,
    /// Directory of durable files [default: $XDG_DATA_HOME/multibeam, else
    /// $HOME/.local/share/multibeam, else ./multibeam-data].
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// Stops when the process ends that started this one, which would be left alone otherwise.
    #[arg(long, hide = true)]
    with_parent: bool,
}

fn shards(text: &str) -> Result<usize, String> {
    let (low, high) = (SHARDS.start(), SHARDS.end());
    text.parse()
        .ok()
        .filter(|shards| SHARDS.contains(shards))
        .ok_or_else(|| format!("expected {low} to {high}"))
}

pub(super) fn serve(args: ServeArgs) -> Result<(), String> {
    let ServeArgs { config, listen, admin, shards, data_dir, with_parent } = args;
    if with_parent {
        set_parent_process_death_signal(Some(Signal::TERM))
            .map_err(|error| format!("can't be told of the end of the parent: {error}"))?;
    }
    let overrides = Overrides { listen, admin, shards, data_dir };
    let config = NodeConfig::load(config.as_deref(), overrides, |name| std::env::var_os(name))
        .map_err(|error| error.to_string())?;
    raise_descriptor_limit();
    end_on_panic();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("can't start: {error}"))?;
    LocalSet::new().block_on(&runtime, async {
        let platform = OsPlatform::open(&config.data_dir).map_err(|error| error.to_string())?;
        platform.handle_signals().map_err(|error| format!("can't catch signals: {error}"))?;
        let (data_dir, shards) = (config.data_dir.clone(), config.shards);
        let announce = |ready: &Ready, _: &Cluster<OsPlatform>| {
            // Who closed our output does not want to read this.
            let _ = std::io::stdout().write_all(announcement(ready, shards, &data_dir).as_bytes());
        };
        run(platform, config, announce).await.map_err(|error| error.to_string())
    })
}

/// Has a panic end the process. Tokio would end the task alone, and a node without its heartbeats, or without the
/// task that renews its lease, looks alive. Shards catch theirs, and the node ends with a sentence about it.
fn end_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        if !std::thread::current().name().is_some_and(is_shard) {
            std::process::abort();
        }
    }));
}

/// A connection is a descriptor, and the usual soft limit of 1,024 is meant for programs that
/// use `select`.
pub(super) fn raise_descriptor_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

fn announcement(ready: &Ready, shards: usize, data_dir: &Path) -> String {
    let Ready { listening, admin, generation, links } = ready;
    let links = if links == crate::run::NO_LINKS { String::new() } else { format!("  links    {links}\n") };
    let server = reachable(*listening);
    let server = if server == LISTEN_DEFAULT { String::new() } else { format!(" --server {server}") };
    let command = command_name();
    format!(
        "multibeam {} serves, generation {}, {shards} shards\n  \
           clients  {listening}\n  \
           admin    http://{admin} (/healthz, /readyz, /metrics)\n\
         {links}  \
           data     {}\n\
         try it, each in a terminal of its own:\n  \
           {command} sub alarm.fire{server}\n  \
           {command} pub alarm.fire hello{server}\n",
        env!("CARGO_PKG_VERSION"),
        generation.0,
        data_dir.display(),
    )
}

/// An address that a client on this machine can connect to.
fn reachable(mut listening: SocketAddr) -> SocketAddr {
    if listening.ip().is_unspecified() {
        listening.set_ip(match listening {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    listening
}

/// As the user called it, if by a path that a shell takes as it is.
pub(super) fn command_name() -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    let name = std::env::args().next().unwrap_or_default();
    if name.contains('/') && name.chars().all(plain) { name } else { "multibeam".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    /// Set in the process that is to end.
    const PANICS: &str = "MULTIBEAM_TEST_PANICS";

    #[test]
    fn a_panic_in_a_task_ends_the_process_and_one_in_a_shard_is_caught() {
        if std::env::var_os(PANICS).is_some() {
            panic_in_a_shard_and_in_a_task();
            return;
        }
        let mut again = Command::new(std::env::current_exe().unwrap());
        let name =
            concat!(module_path!(), "::a_panic_in_a_task_ends_the_process_and_one_in_a_shard_is_caught");
        let name = name.split_once("::").unwrap().1;
        again.args([name, "--exact", "--nocapture"]).env(PANICS, "1").stdout(Stdio::null());
        let ended = again.output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.signal(), Some(Signal::ABORT.as_raw()), "{said}");
        assert!(said.contains("planted in a shard") && said.contains("planted in a task"), "{said}");
    }

    fn panic_in_a_shard_and_in_a_task() {
        end_on_panic();
        let shard = std::thread::Builder::new().name("shard-0".to_owned());
        let shard = shard.spawn(|| std::panic::catch_unwind(|| panic!("planted in a shard")).is_err());
        assert!(shard.unwrap().join().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            tokio::task::spawn_local(async { panic!("planted in a task") });
            tokio::time::sleep(Duration::from_secs(5)).await;
        });
    }
}
