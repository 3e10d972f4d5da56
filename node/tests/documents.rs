//! The tables of `docs/OPERATIONS.md` and the commands of `README.md` say what the code says.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "../examples/harness/node_process.rs"]
#[expect(dead_code, reason = "shared with other programs, each of which uses a part")]
mod node_process;

use multibeam::close::CloseReason;
use multibeam::cluster::ClusterMetric;
use multibeam::config::{
    ClassSetting, ClusterSetting, LimitsFile, NodeConfig, Overrides, class_settings, cluster_settings,
};
use multibeam_proto::{Stat, StatKind};
use node_process::NodeProcess;
use std::collections::BTreeSet;
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
fn settings_of_a_class() {
    let row = |setting: &ClassSetting| {
        format!("| `{}` | {} | {} | {} |", setting.key, setting.default, setting.values, setting.help)
    };
    let rows: Vec<String> = class_settings().iter().map(row).collect();
    same_table("| key | without it | values | what it says |", &rows);
}

#[test]
fn settings_of_the_cluster() {
    let row = |setting: &ClusterSetting| {
        format!("| `{}` | {} | {} | {} |", setting.key, setting.default, setting.values, setting.help)
    };
    let rows: Vec<String> = cluster_settings().iter().map(row).collect();
    same_table("| key of `[cluster]` | without it | values | what it says |", &rows);
}

#[test]
fn files_with_a_cluster_are_taken() {
    let path = std::env::temp_dir().join(format!("multibeam-documents-{}.toml", std::process::id()));
    for document in ["README.md", "docs/OPERATIONS.md"] {
        let text = read(document);
        let blocks = text.split("```").skip(1).step_by(2);
        let files: Vec<&str> = blocks
            .filter_map(|block| block.strip_prefix("toml\n"))
            .filter(|block| block.contains("[cluster]"))
            .collect();
        assert_eq!(files.len(), 1, "{document}");
        std::fs::write(&path, files[0]).unwrap();
        let config = NodeConfig::load(Some(&path), Overrides::default(), |_| None).unwrap();
        let own = config.cluster.listen.unwrap().to_string();
        assert!(config.cluster.initial_voters.contains(&own), "{document}");
    }
    std::fs::remove_file(&path).unwrap();
}

/// The documents show what the command prints for the example file and for no file.
#[test]
fn tables_of_classes() {
    let document = read("docs/OPERATIONS.md");
    let example = format!("{}/../deploy/multibeam.toml", env!("CARGO_MANIFEST_DIR"));
    for args in
        [&["classes"][..], &["classes", "--config", &example], &["classes", "user.42.msg", "chat.room"]]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_multibeam")).args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let table = String::from_utf8(output.stdout).unwrap();
        assert!(document.contains(&table), "{args:?}: the document should have\n{table}");
    }
}

#[test]
fn the_example_file_of_the_document_is_that_of_the_folder() {
    let file = read("deploy/multibeam.toml");
    let (_, classes) = file.split_once("[[class]]").unwrap();
    let (_, shown) = classes.split_once("[[class]]").unwrap();
    let shown = format!("[[class]]{shown}");
    assert!(read("docs/OPERATIONS.md").contains(&shown), "the document should have\n{shown}");
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
fn metrics_of_the_cluster() {
    let row = |metric: &ClusterMetric| {
        let (kind, suffix) =
            if metric.kind == StatKind::Gauge { ("gauge", "") } else { ("counter", "_total") };
        format!("| `{}{suffix}` | {kind} | {} |", metric.metric, metric.help)
    };
    let rows: Vec<String> = ClusterMetric::ALL.iter().map(row).collect();
    same_table("| metric | kind | what it tells of the cluster |", &rows);
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

/// The commands of a line as a shell would take it: words, with '…' around some, and `|` between commands.
fn commands_of(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    for (at, part) in line.split('\'').enumerate() {
        if at % 2 == 1 {
            commands.last_mut().unwrap().push(part.to_owned());
            continue;
        }
        for word in part.split_whitespace().take_while(|word| !word.starts_with(['>', '#'])) {
            match word {
                "|" => commands.push(Vec::new()),
                word => commands.last_mut().unwrap().push(word.to_owned()),
            }
        }
    }
    commands
}

/// Checks that the command line takes each line of `text` that calls the program; returns the subcommands.
#[track_caller]
fn parsed(text: &str) -> BTreeSet<String> {
    let mut subcommands = BTreeSet::new();
    for command in text.lines().flat_map(commands_of) {
        let Some((program, words)) = command.split_first() else { continue };
        if program != "multibeam" && program != "target/release/multibeam" {
            continue;
        }
        let matches = multibeam::commands::command().try_get_matches_from(&command);
        assert!(matches.is_ok(), "{command:?}: {}", matches.unwrap_err());
        subcommands.extend(words.first().cloned());
    }
    subcommands
}

/// `subcommand` may be several words.
fn help_of(subcommand: &str) -> String {
    let args = subcommand.split(' ').chain(["--help"]);
    let help = Command::new(env!("CARGO_BIN_EXE_multibeam")).args(args).output().unwrap();
    String::from_utf8(help.stdout).unwrap()
}

#[test]
fn commands_of_the_readme_are_taken_and_all_are_there() {
    let readme = read("README.md");
    let code: String = readme.split("```").skip(1).step_by(2).collect();
    let shown = parsed(&code);
    let all = ["classes", "cluster", "dev", "history", "pub", "serve", "sub"];
    assert_eq!(shown, all.map(str::to_owned).into());
    // Its options are those of the file, which the operations tell.
    for subcommand in shown.into_iter().filter(|subcommand| subcommand != "serve") {
        for option in help_of(&subcommand).lines().filter_map(|line| line.trim().strip_prefix("--")) {
            let option = option.split(' ').next().unwrap();
            let rare = ["help", "server", "timeout", "stdin"].contains(&option);
            assert!(rare || readme.contains(&format!("--{option}")), "{subcommand} --{option}");
        }
    }
}

fn first_word(subcommand: &str) -> String {
    subcommand.split(' ').next().unwrap().to_owned()
}

#[test]
fn commands_of_the_operations_are_taken_and_all_are_there() {
    let operations = read("docs/OPERATIONS.md");
    let code: String = operations.split("```").skip(1).step_by(2).collect();
    assert_eq!(parsed(&code), ["cluster".to_owned()].into());
    for subcommand in ["cluster init-ca", "cluster bootstrap", "cluster status", "cluster remove"] {
        assert!(code.contains(&format!("multibeam {subcommand}")), "{subcommand}");
        for option in help_of(subcommand).lines().filter_map(|line| line.trim().strip_prefix("--")) {
            let option = option.split(' ').next().unwrap();
            assert!(operations.contains(&format!("--{option}")), "{subcommand} --{option}");
        }
    }
}

/// The lines that a node needs, with another folder.
#[test]
fn the_configuration_of_links_is_what_the_command_prints() {
    let out = std::env::temp_dir().join(format!("multibeam-documents-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&out);
    let args = ["cluster", "init-ca", "--out", out.to_str().unwrap(), "--node", "node-1"];
    let output = Command::new(env!("CARGO_BIN_EXE_multibeam")).args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let (_, section) = printed.split_once("in the configuration of node-1:\n").unwrap();
    let folder = out.canonicalize().unwrap();
    let shown = section.replace(folder.to_str().unwrap(), "/etc/multibeam");
    assert!(read("docs/OPERATIONS.md").contains(&shown), "the document should have\n{shown}");
    std::fs::remove_dir_all(&out).unwrap();
}

#[test]
fn examples_of_the_help_are_taken() {
    for subcommand in [
        "pub",
        "sub",
        "history",
        "classes",
        "cluster init-ca",
        "cluster bootstrap",
        "cluster status",
        "cluster remove",
        "dev",
    ] {
        let help = help_of(subcommand);
        let (_, examples) = help.split_once("Examples:").unwrap();
        // What stands behind two spaces explains the line.
        let lines = examples
            .lines()
            .map(|line| line.trim().split("   ").next().unwrap().split("  the").next().unwrap());
        assert_eq!(parsed(&lines.collect::<Vec<_>>().join("\n")), [first_word(subcommand)].into());
    }
}

/// What the README shows is what the commands print.
#[test]
fn outputs_of_the_readme_are_right() {
    let readme = read("README.md");
    let node = NodeProcess::start(Command::new(env!("CARGO_BIN_EXE_multibeam")), "");
    let server = node.clients().to_string();
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_multibeam"))
            .args(args)
            .args(["--server", &server, "--timeout", "30"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = |text: &str| assert!(readme.contains(text), "the README should have {text}");
    shown(&run(&["pub", "alarm.fire", "hello", "--json", "--quiet"]));
    shown(run(&["sub", "alarm.fire", "--from", "first", "--count", "1", "--json"]).lines().last().unwrap());
    shown(&run(&["history", "alarm.fire"]));
}
