//! Random scripts by the thousand, without a fuzzer: finds, shortens and saves one that
//! breaks something.

use clap::Parser;
use multibeam_model::script;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

/// Runs random scripts over the scripted kernel.
#[derive(Parser)]
struct Args {
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
        let Some(error) = failure(&bytes) else { continue };
        let short = shorten(bytes);
        let saved = args.save.parent().map_or(Ok(()), std::fs::create_dir_all);
        let saved = saved.and_then(|()| std::fs::write(&args.save, &short));
        eprintln!("script {seed}: {error}");
        eprintln!("shortened to {} bytes: {}", short.len(), failure(&short).unwrap_or_default());
        match saved {
            Ok(()) => eprintln!("saved as {}", args.save.display()),
            Err(error) => eprintln!("can't save {}: {error}", args.save.display()),
        }
        return std::process::ExitCode::FAILURE;
    }
    println!("{} scripts broke nothing", args.count);
    std::process::ExitCode::SUCCESS
}

/// What went wrong, be it said or panicked.
fn failure(bytes: &[u8]) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| script::run(bytes))) {
        Ok(result) => result.err(),
        Err(panic) => Some(panic.downcast::<String>().map_or_else(|_| "a panic".to_owned(), |text| *text)),
    }
}

/// Cuts the tail and makes bytes friendly as long as something still breaks.
fn shorten(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut step = bytes.len() / 2;
    while step > 0 {
        while bytes.len() > step && failure(&bytes[..bytes.len() - step]).is_some() {
            bytes.truncate(bytes.len() - step);
        }
        step /= 2;
    }
    for at in 0..bytes.len() {
        let byte = std::mem::take(&mut bytes[at]);
        if byte != 0 && failure(&bytes).is_none() {
            bytes[at] = byte;
        }
    }
    bytes
}
