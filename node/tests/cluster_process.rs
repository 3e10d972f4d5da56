//! A cluster of processes as an operator meets it: configuration files, commands, the admin server.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/command_line.rs"]
#[expect(dead_code, reason = "shared with other tests, each of which uses a part")]
mod command_line;
#[path = "support/ports.rs"]
mod ports;
#[path = "support/processes.rs"]
#[expect(dead_code, reason = "shared with other tests, each of which uses a part")]
mod processes;

use command_line::node_process::NodeProcess;
use command_line::{Ended, PROGRAM, fails, interrupt, multibeam, node, output, wait_until};
use ports::{free_addresses, free_base};
use processes::{agree, cluster, config, http, ready, start, status};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

#[test]
fn three_processes_are_one_cluster_through_the_loss_of_one() {
    let voters = free_addresses(3);
    let mut nodes: Vec<NodeProcess> = voters.iter().map(|own| start(*own, &voters, "")).collect();
    for node in &nodes {
        assert_eq!(ready(node), (503, "no cluster yet: say bootstrap".to_owned()));
        assert!(node.get("/healthz").contains("\"ok\""));
        assert!(cluster(node, &["status"]).good().stdout.contains("none yet: "));
    }
    wait_until("there are links to all", || cluster(&nodes[0], &["bootstrap"]).code == Some(0));
    let all: Vec<&NodeProcess> = nodes.iter().collect();
    let members = agree(&all, 3);
    let id = |node: &NodeProcess| status(node)["cluster"].as_str().unwrap().to_owned();
    assert!(cluster(&nodes[0], &["bootstrap"]).good().stdout.contains(&id(&nodes[2])), "again is harmless");
    let again = cluster(&nodes[1], &["bootstrap"]);
    assert!(again.code == Some(1) && again.stderr.contains(&id(&nodes[0])), "{again:?}");
    for node in &nodes {
        wait_until("each is ready", || ready(node) == (200, String::new()));
        assert_eq!(node.metric("multibeam_cluster_members", ""), 3);
        wait_until("two links of each kind stand", || {
            let kinds = ["control_dialled", "control_accepted", "data_dialled", "data_accepted"];
            kinds.iter().all(|kind| node.metric("multibeam_cluster_links", kind) == 2)
        });
        // Each of the three votes, and the others lead by its grants.
        assert!(node.metric("multibeam_cluster_lease_wishes_total", "granted") > 0);
    }

    // Only the leader judges, the others tell which that is, and nobody removes who is there.
    let third = voters[2].to_string();
    wait_until("the leader refuses to remove a live node", || {
        let refused: Vec<Ended> = nodes.iter().map(|node| cluster(node, &["remove", &third])).collect();
        assert!(refused.iter().all(|refused| refused.code == Some(1)), "{refused:?}");
        assert!(refused.iter().all(|refused| refused.stderr.lines().count() == 1), "{refused:?}");
        let leader = refused.iter().position(|refused| refused.stderr.contains("is alive: stop it first"));
        let named = leader.map(|leader| format!("clients connect to {}\n", nodes[leader].clients()));
        named.is_some_and(|named| {
            refused.iter().filter(|refused| refused.stderr.ends_with(&named)).count() == 2
        })
    });
    assert_eq!(agree(&all, 3), members);

    let (name, _, before) = members.iter().find(|(_, address, _)| *address == third).unwrap().clone();
    let data_dir = nodes.pop().unwrap().kill();
    let left = agree(&nodes.iter().collect::<Vec<_>>(), 2);
    assert!(left.iter().all(|(node, _, _)| *node != name), "{left:?}");
    let text = cluster(&nodes[0], &["status"]).good().stdout;
    assert!(text.contains(&format!("trouble with {third}: ")), "{text}");

    nodes.push(NodeProcess::start_in(Command::new(PROGRAM), &config(voters[2], &voters, ""), data_dir));
    let back = agree(&nodes.iter().collect::<Vec<_>>(), 3);
    let (_, _, after) = back.iter().find(|(node, _, _)| *node == name).unwrap();
    assert!(after > &before, "{back:?}");
}

#[test]
fn a_node_without_a_cluster_is_one_and_pages_change_nothing() {
    let node = node();
    wait_until("it is ready", || ready(&node) == (200, String::new()));
    let bootstrap = cluster(&node, &["bootstrap"]);
    assert!(bootstrap.code == Some(1) && bootstrap.stderr.contains("initial_voters"), "{bootstrap:?}");
    let unknown = cluster(&node, &["remove", "10.0.0.9:7401"]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("10.0.0.9:7401"), "{unknown:?}");
    let post = |path: &str, headers: &str, body: &str| {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        http(node.admin(), &request).0
    };
    let json = "Content-Type: application/json\r\n";
    for path in ["/cluster/bootstrap", "/cluster/remove"] {
        assert_eq!(post(path, "Content-Type: text/plain\r\n", "{}"), 415, "{path}");
        assert_eq!(post(path, &format!("{json}Origin: http://127.0.0.1:7480\r\n"), "{}"), 403, "{path}");
    }
    assert_eq!(post("/cluster/remove", json, "{}"), 400);
    assert_eq!(post("/cluster/remove", json, &format!("{{\"node\": \"{}\"}}", "x".repeat(2000))), 400);
    assert_eq!(post("/cluster/remove", json, "{\"node\": \"0000000000000001\"}"), 404);
    assert_eq!(post("/cluster/bootstrap", json, ""), 409);
}

#[test]
fn who_is_no_admin_server_is_named() {
    fails(&["cluster", "status", "--admin", "127.0.0.1:1"], 1, &["nobody listens at 127.0.0.1:1", "--admin"]);
    fails(&["cluster", "bootstrap", "--admin", "here"], 2, &["--admin", "IP:PORT"]);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let args = ["cluster", "status", "--admin", &address, "--timeout", "300ms"];
    fails(&args, 1, &[&address, "did not answer within 0.3 s"]);
    let strange = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = strange.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in strange.incoming() {
            stream.unwrap().write_all(b"220 mail ready\r\n").unwrap();
        }
    });
    fails(&["cluster", "status", "--admin", &address], 1, &[&address, "no admin server"]);
    // The clients' port of a node speaks no HTTP either.
    let node = node();
    let clients = node.clients().to_string();
    fails(&["cluster", "status", "--admin", &clients], 1, &[&clients]);
}

/// `multibeam dev`, which takes its nodes with it when a test fails.
struct Dev(Option<Child>);

impl Drop for Dev {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn dev_runs_a_cluster_tells_who_ended_and_stops_what_it_started() {
    let base = free_base();
    let mut command = multibeam(&["dev", "--nodes", "3", "--base-port", &base.to_string()]);
    let mut dev = Dev(Some(command.spawn().unwrap()));
    let stdout = dev.0.as_mut().unwrap().stdout.take().unwrap();
    let mut lines = BufReader::new(stdout).lines().map(Result::unwrap);
    let shown: Vec<String> = lines.by_ref().take_while(|line| !line.contains("Ctrl-C")).collect();
    let folder = shown.iter().find_map(|line| line.strip_prefix("configurations, data and logs are in "));
    let folder: PathBuf = folder.unwrap_or_else(|| panic!("{shown:?}")).into();
    let process = |name: &str| {
        let row = shown.iter().find(|line| line.starts_with(name)).unwrap();
        row.split_whitespace().last().unwrap().parse::<i32>().unwrap()
    };
    let processes = ["node-1", "node-2", "node-3"].map(process);
    let admin = format!("127.0.0.1:{}", base + 80);
    let members = || {
        let status = output(multibeam(&["cluster", "status", "--json", "--admin", &admin])).good();
        status.json()[0]["members"].as_array().unwrap().len()
    };
    assert_eq!(members(), 3);
    kill_process(Pid::from_raw(processes[2]).unwrap(), Signal::KILL).unwrap();
    let told = lines.next().unwrap();
    for part in [&format!("node-3 (process {}) ended, signal: 9", processes[2]), "node-3.toml"] {
        assert!(told.contains(part), "{told}");
    }
    wait_until("the others go on without it", || members() == 2);
    let child = dev.0.take().unwrap();
    interrupt(&child);
    let ended = command_line::ended(child);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for process in processes {
        assert!(!Path::new(&format!("/proc/{process}")).exists(), "{process} runs on");
    }
    assert!(!folder.exists(), "{} is left", folder.display());
}

#[test]
fn dev_that_fails_names_no_folder_that_is_gone() {
    let base = free_base();
    let alone = ["dev", "--nodes", "1", "--base-port", &base.to_string(), "--timeout", "1ms"];
    let late = output(multibeam(&alone));
    assert_eq!(late.code, Some(1), "{late:?}");
    let folder = late.stderr.split_whitespace().find(|word| word.contains("multibeam-dev-")).unwrap();
    assert!(Path::new(folder).join("node-1.log").exists(), "{late:?}");
    std::fs::remove_dir_all(folder).unwrap();

    let _taken = TcpListener::bind(("127.0.0.1", base + 11)).unwrap();
    let failed = output(multibeam(&["dev", "--base-port", &base.to_string()]));
    assert_eq!(failed.code, Some(1), "{failed:?}");
    let stderr = &failed.stderr;
    assert!(stderr.contains("node-2 (process ") && stderr.contains("the address is in use"), "{stderr}");
    assert!(!stderr.contains("multibeam-dev-"), "{stderr}");
}
