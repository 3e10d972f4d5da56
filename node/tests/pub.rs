//! `multibeam pub`: what is stored, how fast, and what it says of the rest.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/command_line.rs"]
#[expect(dead_code, reason = "shared with other tests, each of which uses a part")]
mod command_line;

use command_line::node_process::NodeProcess;
use command_line::{
    Ended, Subscriber, client, ended, interrupt, node, output, output_of, publish, scratch, wait_until,
};
use multibeam_wire::limits::BODY_BYTES_MAX;
use serde_json::json;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[expect(clippy::disallowed_methods, reason = "a measurement, outside any node")]
fn now() -> Instant {
    Instant::now()
}

fn stored(node: &NodeProcess) -> u64 {
    node.metric("multibeam_stored_total", "")
}

/// The numbers of the last line: what is to be read by programs.
#[track_caller]
fn counts(ended: &Ended) -> [u64; 4] {
    let last = ended.json().pop().unwrap();
    ["stored", "refused", "unknown", "unsent"].map(|key| last[key].as_u64().unwrap())
}

#[test]
fn every_line_of_a_long_input_is_stored_once_and_in_order() {
    const LINES: u64 = 30_000;
    let node = node();
    let input: String = (1..=LINES).map(|number| format!("{number}\n")).collect();
    let published =
        output_of(client("pub", node.clients(), &["a.b", "--stdin", "--json"]), input.as_bytes()).good();
    let results = published.json();
    assert_eq!(results.len() as u64, LINES);
    for (number, result) in (1..).zip(&results) {
        assert_eq!((&result["message"], &result["outcome"]), (&json!(number), &json!("stored")));
    }
    assert_eq!(stored(&node), LINES);
    let kept = output(client("history", node.clients(), &["a.b", "--json"])).good().messages();
    let first = LINES - kept.len() as u64 + 1;
    for (number, message) in (first..).zip(&kept) {
        assert_eq!((&message["offset"], &message["body"]), (&json!(number), &json!(number.to_string())));
    }
}

#[test]
fn a_file_is_published_line_by_line() {
    let (node, dir) = (node(), scratch("pub-file"));
    let file = dir.join("lines");
    std::fs::write(&file, "one\n\nthree without an end").unwrap();
    let published = publish(&node, &["a.b", "--file", file.to_str().unwrap()]);
    assert!(published.stdout.starts_with("3 messages stored in a.b"), "{published:?}");
    let kept = output(client("history", node.clients(), &["a.b", "--json"])).good();
    assert_eq!(kept.bodies(), ["one", "", "three without an end"]);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_is_too_long_is_refused_and_the_rest_is_stored() {
    let node = node();
    let longest = "x".repeat(BODY_BYTES_MAX);
    let input = format!("one\n{longest}x\n{longest}\n");
    let run = |more: &[&str]| {
        output_of(client("pub", node.clients(), &[&["a.b", "-"][..], more].concat()), input.as_bytes())
    };
    let told = run(&[]);
    assert_eq!(told.code, Some(1));
    let lines: Vec<&str> = told.stderr.lines().collect();
    let expected = [
        "multibeam: message 2: the line is too long: a message has at most 65024 bytes",
        "multibeam: 2 of 3 messages stored in a.b, 1 refused",
    ];
    assert_eq!(lines, expected);
    assert_eq!(told.stdout, "");

    let told = run(&["--json"]);
    assert_eq!(told.code, Some(1));
    let outcomes: Vec<_> = told.json().iter().map(|line| line["outcome"].clone()).collect();
    assert_eq!(outcomes, ["stored", "refused", "stored"]);
    assert_eq!(told.stderr, "multibeam: 2 of 3 messages stored in a.b, 1 refused\n");
    assert!(told.json()[1]["error"].as_str().unwrap().contains("65024"), "{told:?}");

    let told = run(&["--json", "--quiet"]);
    assert_eq!((told.code, counts(&told)), (Some(1), [2, 1, 0, 0]));
    assert_eq!(told.stdout.lines().count(), 1);
}

#[test]
fn quiet_is_quiet() {
    let node = node();
    let ended = publish(&node, &["a.b", "x", "--count", "3", "--quiet"]);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
    let ended = publish(&node, &["a.b", "x", "--count", "3", "--quiet", "--json"]);
    assert_eq!((counts(&ended), ended.stderr.as_str()), ([3, 0, 0, 0], ""));
    assert_eq!(ended.json()[0]["topic"], "a.b");
}

#[test]
fn a_rate_is_kept() {
    let node = node();
    let start = now();
    publish(&node, &["a.b", "x", "--count", "1001", "--rate", "1000"]);
    let took = start.elapsed();
    // Longer only if the machine stood still; never faster.
    assert!((Duration::from_secs(1)..Duration::from_secs(4)).contains(&took), "{took:?}");
}

#[test]
fn an_interruption_of_an_endless_input_tells_what_is_stored() {
    let node = node();
    let mut child = client("pub", node.clients(), &["a.b", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"one\ntwo\nthree\n").unwrap();
    wait_until("three messages are stored", || stored(&node) == 3);
    interrupt(&child);
    let ended = ended(child);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.stderr, "multibeam: interrupted: 3 of 3 messages stored in a.b\n");
    drop(stdin);
}

#[test]
fn an_interruption_accounts_for_every_message() {
    const COUNT: u64 = 1_000_000;
    let node = node();
    let count = COUNT.to_string();
    for rate in [&["--rate", "200"][..], &[]] {
        let before = stored(&node);
        let args = [&["a.b", "x", "--count", &count, "--json", "--quiet"][..], rate].concat();
        let child = client("pub", node.clients(), &args).spawn().unwrap();
        wait_until("some messages are stored", || stored(&node) > before + 20);
        interrupt(&child);
        let ended = ended(child);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let [told, refused, unknown, unsent] = counts(&ended);
        assert_eq!((told, refused, unknown), (stored(&node) - before, 0, 0), "{ended:?}");
        assert_eq!(told + unsent, COUNT, "{ended:?}");
        assert!(ended.stderr.starts_with("multibeam: interrupted: "), "{ended:?}");
    }
}

#[test]
fn a_node_that_dies_leaves_no_message_unaccounted() {
    const COUNT: u64 = 100_000;
    let node = node();
    let count = COUNT.to_string();
    let args = ["a.b", "x", "--count", &count, "--rate", "1000", "--json", "--quiet"];
    let child = client("pub", node.clients(), &args).spawn().unwrap();
    wait_until("some messages are stored", || stored(&node) > 20);
    drop(node);
    // Nobody stops it: it gives up by itself, long before all have waited for their turn.
    let ended = ended(child);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let counts = counts(&ended);
    assert_eq!(counts.iter().sum::<u64>(), COUNT, "{ended:?}");
    let [stored, refused, unknown, unsent] = counts;
    assert!(stored > 20 && refused + unknown > 0 && unsent > COUNT / 2, "{ended:?}");
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.starts_with("multibeam: can't reach 127.0.0.1:"), "{ended:?}");
    assert!(ended.stderr.contains("connecting again"), "{ended:?}");
}

#[test]
fn a_time_out_tells_what_is_stored() {
    let node = node();
    let server = node.clients().to_string();
    let args =
        ["pub", "a.b", "x", "--count", "100", "--rate", "20", "--server", &server, "--timeout", "500ms"];
    let ended = output(command_line::multibeam(&args));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let told = format!("multibeam: timed out after 0.5 s: {} of 100 messages stored in a.b, ", stored(&node));
    assert!(ended.stderr.starts_with(&told), "{told}, {ended:?}");
}

#[test]
fn what_closes_its_input_is_no_reason_to_store_less() {
    let node = node();
    let mut child =
        client("pub", node.clients(), &["a.b", "x", "--count", "20000", "--json"]).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(ended(child).code, Some(0));
    assert_eq!(stored(&node), 20_000);
}

#[test]
fn receipts_say_where_a_message_is_stored() {
    let node = node();
    assert_eq!(publish(&node, &["alarm.fire", "x"]).stdout, "stored in alarm.fire at 1:1\n");
    let told = publish(&node, &["alarm.fire", "x", "--json"]);
    let receipt =
        json!({ "topic": "alarm.fire", "partition": "0/0", "generation": 1, "offset": 2, "copies": 1 });
    assert_eq!(told.json(), [json!({ "message": 1, "outcome": "stored", "receipts": [receipt] })]);
    let told = publish(&node, &["alarm.fire", "x", "--count", "500"]);
    assert_eq!(told.stdout, "500 messages stored in alarm.fire, the last at 1:502\n");
}

#[test]
fn keys_stand_for_the_star_of_a_template() {
    let node = node();
    let topics = ["user.ann.msg", "user.bob.msg"];
    let sub = Subscriber::start(node.clients(), &topics, &["--count", "2", "--json"]);
    let told = publish(&node, &["user.*.msg", "party", "--keys", "ann,bob", "--json"]);
    let receipts = &told.json()[0]["receipts"];
    assert_eq!((&receipts[0]["topic"], &receipts[0]["key"]), (&json!("user.ann.msg"), &json!("ann")));
    assert_eq!((&receipts[1]["topic"], &receipts[1]["key"]), (&json!("user.bob.msg"), &json!("bob")));
    let mut reached: Vec<_> =
        sub.end().good().messages().iter().map(|message| message["topic"].clone()).collect();
    reached.sort_by_key(ToString::to_string);
    assert_eq!(reached, topics);
}

#[test]
fn a_message_is_gone_when_its_time_is_over() {
    let node = node();
    publish(&node, &["a.b", "short", "--ttl", "100ms"]);
    publish(&node, &["a.b", "long", "--ttl", "1h"]);
    std::thread::sleep(Duration::from_millis(300));
    let kept = output(client("history", node.clients(), &["a.b", "--json"])).good();
    assert_eq!(kept.bodies(), ["long"]);
    let gap = kept.json().into_iter().find(|line| line.get("gap").is_some()).unwrap();
    assert_eq!(gap["gap"]["reason"], "expired");
}
