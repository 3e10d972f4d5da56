//! The command line. Whatever fails says so in one line on stderr and ends with a code that
//! is not 0: 2 for wrong arguments, 1 for everything else.

mod admin_client;
mod bench;
mod classes;
mod cluster;
mod dev;
mod follow;
mod format;
mod history;
mod local_cluster;
mod progress;
mod publish;
mod serve;
mod stop;
mod subscribe;
mod table;
mod values;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use multibeam_client::{Client, Config, TcpConnector};
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;

/// How long `pub` and `sub` wait for the server to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A push server: many clients hold a connection, and a message to a topic reaches all that
/// follow it. Without a command it serves.
#[derive(Debug, Parser)]
#[command(name = "multibeam", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a node until it gets SIGTERM or SIGINT.
    Serve(serve::ServeArgs),
    /// Publishes messages; ends when all are stored.
    Pub(publish::PublishArgs),
    /// Prints the messages of topics and filters as they come, one a line.
    Sub(subscribe::SubscribeArgs),
    /// Prints the messages that are kept of a topic or filter, and ends.
    History(history::HistoryArgs),
    /// Tells which classes of topics a node has, and where a topic goes.
    Classes(classes::ClassesArgs),
    /// Begins a cluster of nodes, looks at it, and gives up nodes.
    Cluster(cluster::ClusterArgs),
    /// Runs a cluster of several nodes on this machine, to try it out.
    Dev(dev::DevArgs),
    /// Measures a node on this machine, beside the bare system calls; or a cluster that loses its leader.
    Bench(bench::BenchArgs),
}

/// What all commands of a client have in common.
#[derive(Debug, Args)]
struct ClientArgs {
    /// Where the node listens for clients.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7400", value_parser = values::server)]
    server: String,
    /// Gives up when it takes longer, such as 0.5, 30s or 5m.
    #[arg(long, value_name = "TIME", value_parser = values::span)]
    timeout: Option<Duration>,
    /// Prints JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// Why a command did not do all it was asked to, in one line.
#[derive(Debug)]
enum Failure {
    /// The arguments make no sense together.
    Usage(String),
    /// It could not be done, or not all of it.
    Failed(String),
}

impl From<String> for Failure {
    fn from(sentence: String) -> Self {
        Self::Failed(sentence)
    }
}

/// The command line, for documents to be compared with.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Parses the arguments and does what they say.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let result = match cli.command {
        None => serve::serve(cli.serve).map_err(Failure::Failed),
        Some(Command::Serve(args)) => serve::serve(args).map_err(Failure::Failed),
        Some(Command::Pub(args)) => publish::publish(&args),
        Some(Command::Sub(args)) => subscribe::subscribe(&args),
        Some(Command::History(args)) => history::history(&args),
        Some(Command::Classes(args)) => classes::classes(&args),
        Some(Command::Cluster(args)) => cluster::cluster(&args),
        Some(Command::Dev(args)) => dev::dev(&args),
        Some(Command::Bench(args)) => bench::bench(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(sentence)) => {
            eprintln!("multibeam: {sentence}");
            ExitCode::from(EXIT_FAILED)
        }
        Err(Failure::Usage(sentence)) => {
            eprintln!("multibeam: {sentence}; 'multibeam --help' lists what there is");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Help and version as clap prints them; an error in one line.
fn usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let first: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let sentence = first.join(" ");
    let sentence = sentence.strip_prefix("error: ").unwrap_or(&sentence);
    eprintln!("multibeam: {sentence}; 'multibeam --help' lists what there is");
    ExitCode::from(EXIT_USAGE)
}

/// Runs a client command. The client has a thread of its own, so that it keeps its connection while the
/// command waits for somebody to read what it prints.
fn run_client<T>(command: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| format!("can't start: {error}"))?;
    let result = runtime.block_on(command);
    // Who reads the standard input for us may wait for ever.
    runtime.shutdown_background();
    result
}

/// A client that has only one task and then ends: it fails early where a long-lived one waits.
fn client(args: &ClientArgs) -> Client {
    Client::connect(config(args), TcpConnector)
}

fn config(args: &ClientArgs) -> Config {
    let mut seed = [0; 8];
    // Fails on no Linux that runs this; then only the jitter is the same as another's.
    let _ = rustix::rand::getrandom(&mut seed[..], rustix::rand::GetRandomFlags::empty());
    let mut config = Config::new(args.server.clone(), u64::from_le_bytes(seed));
    config.agent = concat!("multibeam-cli/", env!("CARGO_PKG_VERSION")).to_owned();
    config.connect_timeout = CONNECT_TIMEOUT;
    config.handshake_timeout = CONNECT_TIMEOUT;
    config
}

async fn connected(client: &Client) -> Result<(), String> {
    let advice = "is a node running there? (--server HOST:PORT chooses another)";
    client.wait_connected().await.map_err(|error| format!("{error}; {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn serving_needs_no_word() {
        for line in [&["multibeam", "--shards", "3"][..], &["multibeam", "serve", "--shards", "3"]] {
            let cli = Cli::try_parse_from(line).unwrap();
            let args = match cli.command {
                Some(Command::Serve(args)) => args,
                Some(_) => panic!("{line:?}"),
                None => cli.serve,
            };
            assert_eq!(args.shards, Some(3), "{line:?}");
        }
    }
}
