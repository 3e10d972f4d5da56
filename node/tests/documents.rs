//! The tables of `docs/OPERATIONS.md` and the commands of `README.md` say what the code says.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use multibeam::close::CloseReason;
use multibeam::config::{LimitsFile, NodeConfig};
use multibeam_proto::{Stat, StatKind};
use std::process::Command;

fn read(name: &str) -> String {
    std::fs::read_to_string(format!("{}/../{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// Compares the table that begins with `head`; says what it should be.
fn same_table(head: &str, rows: &[String]) {
    let document = read("docs/OPERATIONS.md");
    let (_, rest) = document.split_once(&format!("{head}\n")).unwrap_or_else(|| panic!("no table {head}"));
    let found: Vec<&str> = rest.lines().skip(1).take_while(|line| line.starts_with('|')).collect();
    assert!(found == rows, "the table should be\n{head}\n{}", rows.join("\n"));
}

#[test]
fn limits() {
    let config = NodeConfig::with_data_dir("data".into());
    let row = |limit: &multibeam::config::Limit| {
        format!(
            "| `{}` | {} | {} to {} | {} |",
            limit.key,
            limit.value(&config),
            limit.low,
            limit.high,
            limit.help
        )
    };
    let rows: Vec<String> = LimitsFile::ALL.iter().map(row).collect();
    same_table("| key | default | range | what it limits |", &rows);
}

#[test]
fn metrics() {
    let row = |stat: &Stat| {
        let kind = if stat.kind() == StatKind::Gauge { "gauge" } else { "counter" };
        let suffix = if stat.kind() == StatKind::Gauge { "" } else { "_total" };
        format!("| `multibeam_{}{suffix}` | {kind} | {} |", stat.metric(), stat.help())
    };
    let rows: Vec<String> = Stat::ALL.iter().map(row).collect();
    same_table("| metric | kind | what it counts, by shard |", &rows);
}

#[test]
fn close_reasons_without_a_number() {
    let document = read("docs/OPERATIONS.md");
    for reason in CloseReason::ALL {
        if !matches!(reason, CloseReason::Numbered(_)) {
            assert!(document.contains(&format!("`{}`", reason.label())), "{}", reason.label());
        }
    }
}

#[test]
fn commands_of_the_readme_exist() {
    let readme = read("README.md");
    for line in readme.lines().filter_map(|line| line.strip_prefix("target/release/multibeam ")) {
        let subcommand = line.split(' ').next().unwrap();
        let help =
            Command::new(env!("CARGO_BIN_EXE_multibeam")).args([subcommand, "--help"]).output().unwrap();
        assert!(help.status.success(), "{line}");
    }
    let help = Command::new(env!("CARGO_BIN_EXE_multibeam")).args(["sub", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for option in ["--json", "--from"] {
        assert!(readme.contains(option) && help.contains(option), "{option}");
    }
}
