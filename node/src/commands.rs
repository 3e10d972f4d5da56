//! The command line. Whatever fails says so in one line on stderr and ends with a code that
//! is not 0: 2 for wrong arguments, 1 for everything else.

mod format;
mod publish;
mod serve;
mod subscribe;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use multibeam_client::{Client, Config, TcpConnector, TopicName};
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
    /// Prints the messages of a topic, one a line.
    Sub(subscribe::SubscribeArgs),
}

/// What `pub` and `sub` have in common.
#[derive(Debug, Args)]
struct ClientArgs {
    /// Where the node listens for clients.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7400", value_parser = server)]
    server: String,
    /// Gives up when it takes longer.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Prints JSON, one object a line.
    #[arg(long)]
    json: bool,
}

/// Parses the arguments and does what they say.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let result = match cli.command {
        None => serve::serve(cli.serve),
        Some(Command::Serve(args)) => serve::serve(args),
        Some(Command::Pub(args)) => publish::publish(args),
        Some(Command::Sub(args)) => subscribe::subscribe(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("multibeam: {error}");
            ExitCode::from(EXIT_FAILED)
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

/// Runs a client command on a runtime of its own, bounded by its time-out.
fn run_client<F: Future<Output = Result<(), String>>>(
    timeout: Option<Duration>,
    on_timeout: impl FnOnce(Duration) -> String,
    command: F,
) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("can't start: {error}"))?;
    runtime.block_on(async {
        let Some(timeout) = timeout else { return command.await };
        match tokio::time::timeout(timeout, command).await {
            Ok(result) => result,
            Err(_) => Err(on_timeout(timeout)),
        }
    })
}

/// A client that has only one task and then ends: it fails early where a long-lived one waits.
fn client(args: &ClientArgs) -> Client {
    let mut seed = [0; 8];
    // Fails on no Linux that runs this; then only the jitter is the same as another's.
    let _ = rustix::rand::getrandom(&mut seed[..], rustix::rand::GetRandomFlags::empty());
    let mut config = Config::new(args.server.clone(), u64::from_le_bytes(seed));
    config.agent = concat!("multibeam-cli/", env!("CARGO_PKG_VERSION")).to_owned();
    config.connect_timeout = CONNECT_TIMEOUT;
    config.handshake_timeout = CONNECT_TIMEOUT;
    Client::connect(config, TcpConnector)
}

async fn connected(client: &Client) -> Result<(), String> {
    let advice = "is a node running there? (--server HOST:PORT chooses another)";
    client.wait_connected().await.map_err(|error| format!("{error}; {advice}"))
}

fn topic(text: &str) -> Result<String, String> {
    TopicName::check(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

fn server(text: &str) -> Result<String, String> {
    let parts = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match parts.map(|(_, port)| port.parse::<u16>()) {
        Some(Ok(port)) if port > 0 => Ok(text.to_owned()),
        _ => Err("expected HOST:PORT, such as 127.0.0.1:7400".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|&seconds: &f64| seconds > 0.0 && seconds <= 1e9);
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected a number of seconds above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serving_needs_no_word() {
        for line in [&["multibeam", "--shards", "3"][..], &["multibeam", "serve", "--shards", "3"]] {
            let cli = Cli::try_parse_from(line).unwrap();
            let args = match cli.command {
                Some(Command::Serve(args)) => args,
                Some(Command::Pub(_) | Command::Sub(_)) => panic!("{line:?}"),
                None => cli.serve,
            };
            assert_eq!(args.shards, Some(3), "{line:?}");
        }
    }

    #[test]
    fn values_are_judged_before_anything_happens() {
        for (text, good) in [("a:1", true), ("[::1]:7400", true), ("a", false), (":1", false), ("a:0", false)]
        {
            assert_eq!(server(text).is_ok(), good, "{text}");
        }
        for (text, good) in
            [("0.5", true), ("3", true), ("0", false), ("-1", false), ("nan", false), ("inf", false)]
        {
            assert_eq!(seconds(text).is_ok(), good, "{text}");
        }
    }
}
