//! Random scripts, or lives of a shard, by the thousand, without a fuzzer: finds, shortens and saves one
//! that breaks something.

use clap::{Parser, ValueEnum};
use multibeam_fuzz::run_session;
use multibeam_model::script;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

/// What the bytes are.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Target {
    /// A script for a node over the scripted kernel.
    EventLoop,
    /// The life of one shard.
    Session,
}

/// Runs random bytes as scripts over the scripted kernel, or as lives of a shard.
#[derive(Parser)]
struct Args {
    /// What they are run as.
    #[arg(long, value_enum, default_value_t = Target::EventLoop)]
    target: Target,
    /// First script.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many.
    #[arg(long, default_value_t = 10_000)]
    count: u64,
    /// Where a script that breaks something is saved, shortened.
    #[arg(long, default_value = "fuzz/artifacts/script")]
    save: PathBuf,
}

fn main() -> std::process::ExitCode {
    let args = Args::parse();
    std::panic::set_hook(Box::new(|_| {}));
    for seed in args.from..args.from + args.count {
        let bytes = script::random(seed);
        let Some(error) = failure(args.target, &bytes) else { continue };
        let short = shorten(args.target, bytes);
        let saved = args.save.parent().map_or(Ok(()), std::fs::create_dir_all);
        let saved = saved.and_then(|()| std::fs::write(&args.save, &short));
        eprintln!("{seed}: {error}");
        eprintln!("shortened to {} bytes: {}", short.len(), failure(args.target, &short).unwrap_or_default());
        match saved {
            Ok(()) => eprintln!("saved as {}", args.save.display()),
            Err(error) => eprintln!("can't save {}: {error}", args.save.display()),
        }
        return std::process::ExitCode::FAILURE;
    }
    println!("{} {:?} inputs broke nothing", args.count, args.target);
    std::process::ExitCode::SUCCESS
}

/// What went wrong, be it said or panicked.
fn failure(target: Target, bytes: &[u8]) -> Option<String> {
    let run = || match target {
        Target::EventLoop => script::run(bytes).err(),
        Target::Session => run_session(bytes).err(),
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(error) => error,
        Err(panic) => Some(panic.downcast::<String>().map_or_else(|_| "a panic".to_owned(), |text| *text)),
    }
}

/// Cuts the tail and makes bytes friendly as long as something still breaks.
fn shorten(target: Target, mut bytes: Vec<u8>) -> Vec<u8> {
    let mut step = bytes.len() / 2;
    while step > 0 {
        while bytes.len() > step && failure(target, &bytes[..bytes.len() - step]).is_some() {
            bytes.truncate(bytes.len() - step);
        }
        step /= 2;
    }
    for at in 0..bytes.len() {
        let byte = std::mem::take(&mut bytes[at]);
        if byte != 0 && failure(target, &bytes).is_none() {
            bytes[at] = byte;
        }
    }
    bytes
}
