//! `multibeam bench` in tiny sizes: what it does, counts and prints. What it measures is not judged.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/ports.rs"]
mod ports;

use serde_json::Value;
use std::process::{Command, Output};

const PAIRS: u64 = 2;

fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_multibeam")).arg("bench").args(args).output().unwrap()
}

/// Runs it with `--json` and returns its only case.
#[track_caller]
fn case(args: &[&str]) -> Value {
    let pairs = PAIRS.to_string();
    let Output { status, stdout, stderr } = bench(&[args, &["--json", "--pairs", &pairs]].concat());
    assert!(status.success(), "{args:?}: {}", String::from_utf8_lossy(&stderr));
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(stderr.contains(": about "), "no estimate: {stderr}");
    let mut report: Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&report["body_bytes"], &report["pairs"]), (&128.into(), &PAIRS.into()));
    assert!(report["machine"]["kernel"].as_str().is_some_and(|kernel| !kernel.is_empty()));
    let cases = report["cases"].as_array_mut().unwrap();
    assert_eq!(cases.len(), 1);
    cases.remove(0)
}

fn names(case: &Value) -> Vec<&str> {
    case["contestants"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect()
}

/// What each comparison is of and to.
fn comparisons(case: &Value) -> Vec<(&str, &str, &str)> {
    let text = |it: &'_ Value| it.as_str().unwrap_or_default().to_owned().leak() as &str;
    let rows = case["comparisons"].as_array().unwrap();
    for row in rows {
        let (low, median, high) = (&row["result"]["low"], &row["result"]["median"], &row["result"]["high"]);
        let [low, median, high] = [low, median, high].map(|number| number.as_f64().unwrap());
        assert!(low <= median && median <= high, "{row}");
    }
    rows.iter().map(|row| (text(&row["what"]), text(&row["of"]), text(&row["to"]))).collect()
}

/// Every contestant has had exactly what was published, and was measured.
#[track_caller]
fn all_counted(case: &Value, publishes: u64, deliveries: u64) {
    for it in case["contestants"].as_array().unwrap() {
        assert_eq!((&it["publishes"], &it["deliveries"]), (&publishes.into(), &deliveries.into()), "{it}");
        assert!(it["cpu_ns_per_delivery"]["median"].as_f64().unwrap() > 0.0, "{it}");
        let receives = it["receives"].as_u64().unwrap();
        assert!((1..=deliveries).contains(&receives), "{it}");
    }
}

#[test]
fn fanout_reaches_everybody_on_node_and_floor() {
    let case =
        case(&["fanout", "--subscribers", "20", "--outstanding", "3", "--rounds", "5", "--shards", "1", "2"]);
    assert_eq!(names(&case), ["1 shard", "floor", "2 shards"]);
    let what = "CPU a delivery";
    assert_eq!(
        comparisons(&case),
        [(what, "1 shard", "floor"), (what, "2 shards", "floor"), (what, "2 shards", "1 shard")]
    );
    all_counted(&case, PAIRS * 5 * 3, PAIRS * 5 * 3 * 20);
}

/// More outstanding than one publisher may have, so that there are two.
#[test]
fn unicast_reaches_each_user() {
    let case =
        case(&["unicast", "--subscribers", "20", "--outstanding", "300", "--rounds", "4", "--shards", "2"]);
    assert_eq!(names(&case), ["2 shards", "floor"]);
    all_counted(&case, PAIRS * 4 * 300, PAIRS * 4 * 300);
    assert_eq!(comparisons(&case), [("CPU a delivery", "2 shards", "floor")]);
}

#[test]
fn pingpong_times_each_round() {
    let case = case(&["pingpong", "--rounds", "20"]);
    all_counted(&case, PAIRS * 20, PAIRS * 20);
    for it in case["contestants"].as_array().unwrap() {
        let [p50, p99, p999] =
            ["p50_ns", "p99_ns", "p999_ns"].map(|key| it["round_trip"][key].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p99 && p99 <= p999, "{it}");
        assert_eq!(it["round_trip"]["count"], PAIRS * 20);
    }
    assert_eq!(comparisons(&case)[0], ("round trip, p50", "1 shard", "floor"));
}

#[test]
fn idle_sees_memory_come_and_heartbeats_go() {
    let case = case(&["idle", "--subscribers", "70", "--seconds", "4"]);
    let memory = case["memory"].as_array().unwrap();
    assert!(!memory.is_empty());
    for it in memory {
        assert_eq!((&it["few"], &it["many"]), (&20.into(), &70.into()));
        assert!(it["rest_bytes"].as_u64().unwrap() > 0 && it["left_bytes"].as_u64().unwrap() > 0, "{it}");
    }
    let what: Vec<&str> = comparisons(&case).iter().map(|(what, _, _)| *what).collect();
    assert_eq!(what, ["memory a connection", "memory after all have left", "CPU a heartbeat"]);
    assert!(case["comparisons"][2]["of_value"].as_f64().unwrap() > 0.0);
}

#[test]
fn election_sees_a_leader_its_entry_and_a_view_without_the_killed_one() {
    let base = ports::free_base().to_string();
    let Output { status, stdout, stderr } =
        bench(&["election", "--runs", "2", "--base-port", &base, "--json"]);
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(status.success() && stderr.contains("election: 3 nodes, 2 kills: about "), "{stderr}");
    let report: Value = serde_json::from_slice(&stdout).unwrap();
    let each = report["each"].as_array().unwrap();
    assert_eq!((each.len(), &report["runs"]), (2, &2.into()), "{report}");
    for run in each {
        let [leader, entry, removed] =
            ["leader_ms", "entry_ms", "removed_ms"].map(|key| run[key].as_f64().unwrap());
        assert!(0.0 < leader && leader <= entry && entry <= removed, "{report}");
    }
    let floor = &report["floor"];
    assert_eq!(floor["votes_asked_min_ms"], 750.0);
    for what in [&report["leader"], &report["entry"], &report["removed"], &report["apart"], &floor["write"]] {
        let [p50, p90, p99, max] =
            ["p50_ms", "p90_ms", "p99_ms", "max_ms"].map(|key| what[key].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p90 && p90 <= p99 && p99 <= max, "{what}");
    }
}

#[test]
fn people_get_tables() {
    let Output { status, stdout, .. } =
        bench(&["fanout", "--subscribers", "5", "--outstanding", "2", "--rounds", "3", "--pairs", "1"]);
    assert!(status.success());
    let text = String::from_utf8(stdout).unwrap();
    for part in ["fanout: 5 subscribers, 2 outstanding", "CPU a delivery", "interval", "1 shard: ", "floor: "]
    {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn what_can_not_be_measured_is_said_in_one_line() {
    let free = ports::free_addresses(1)[0].to_string();
    for (args, parts) in [
        (&["fanout", "--subscribers", "5", "--server", &free][..], &["can't connect", "refused"][..]),
        (&["idle", "--server", &free], &["--server"]),
        (&["fanout", "--subscribers", "1000000"], &["1000001 clients", "descriptors"]),
        (&["fanout", "--subscribers", "2", "--outstanding", "300"], &["300", "256 publishes"]),
    ] {
        let Output { status, stdout, stderr } = bench(args);
        assert_eq!((status.code(), stdout.is_empty()), (Some(1), true), "{args:?}");
        let stderr = String::from_utf8(stderr).unwrap();
        let error = stderr.lines().last().unwrap();
        assert!(error.starts_with("multibeam: "), "{error}");
        for part in parts {
            assert!(error.contains(part), "{args:?}: {part:?} is not in {error:?}");
        }
    }
}

/// Somebody else's node is loaded and checked; only what it used is not known.
#[test]
fn a_node_that_runs_already_is_loaded() {
    let data_dir = std::env::temp_dir().join(format!("multibeam-bench-test-{}", std::process::id()));
    let mut node = Command::new(env!("CARGO_BIN_EXE_multibeam"))
        .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir"])
        .arg(&data_dir)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(node.stdout.take().unwrap()));
    let server = lines
        .map_while(Result::ok)
        .find_map(|line| line.trim().strip_prefix("clients ").map(|server| server.trim().to_owned()))
        .unwrap();
    let case = case(&["fanout", "--subscribers", "5", "--rounds", "3", "--server", &server]);
    node.kill().unwrap();
    node.wait().unwrap();
    let _ = std::fs::remove_dir_all(data_dir);
    assert_eq!(names(&case), ["given"]);
    let given = &case["contestants"][0];
    assert_eq!(given["deliveries"], PAIRS * 3 * 16 * 5);
    assert!(given["cpu_ns_per_delivery"].is_null() && comparisons(&case).is_empty());
}
