//! The commands for a cluster as an operator meets them.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "support/command_line.rs"]
#[expect(dead_code, reason = "shared with other tests, each of which uses a part")]
mod command_line;

use command_line::{Ended, fails, multibeam, output, scratch};
use multibeam::link_tls::{LinkTls, LinkTlsFiles};
use rustls::time_provider::DefaultTimeProvider;
use serde_json::json;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

fn init_ca(out: &Path, rest: &[&str]) -> Ended {
    output(multibeam(&[&["cluster", "init-ca", "--out", out.to_str().unwrap()], rest].concat()))
}

/// The TLS of a node as the lines of its configuration say, which `printed` has.
fn configured(printed: &str, node: &str) -> LinkTls {
    let (_, section) = printed.split_once(&format!("in the configuration of {node}:\n")).unwrap();
    let section: toml::Table = section.split("\n\n").next().unwrap().parse().unwrap();
    let path = |key: &str| section["cluster"]["tls"][key].as_str().unwrap().into();
    let files = LinkTlsFiles { ca: path("ca"), certificate: path("certificate"), key: path("key") };
    LinkTls::load(&files, Arc::new(DefaultTimeProvider)).unwrap()
}

/// A byte goes from `a` to `b` over a socket, which is dialled by its address.
#[track_caller]
fn linked(a: &LinkTls, b: &LinkTls) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accept = async {
            let mut accepted = b.accept(listener.accept().await.unwrap().0).await.unwrap();
            accepted.read_u8().await.unwrap()
        };
        let dial = async {
            let stream = TcpStream::connect(address).await.unwrap();
            let mut dialled = a.dial(stream, &address.ip().to_string()).await.unwrap();
            dialled.write_all(b"x").await.unwrap();
            dialled.flush().await.unwrap();
            dialled
        };
        assert_eq!(tokio::join!(dial, accept).1, b'x');
    });
}

/// Names, modes and contents of the files of a folder.
fn files(out: &Path) -> BTreeMap<String, (u32, String)> {
    let file = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let mode = path.metadata().unwrap().permissions().mode() & 0o777;
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, (mode, std::fs::read_to_string(path).unwrap()))
    };
    std::fs::read_dir(out).unwrap().map(file).collect()
}

#[test]
fn certificates_made_with_one_command_link_nodes() {
    let dir = scratch("init-ca");
    let out = dir.join("a/certs");
    let made = init_ca(&out, &["--node", "node-1,127.0.0.1", "--node", "node-2,127.0.0.1,::1"]).good();
    assert!(made.stdout.contains("made node-2.pem and node-2.key for node-2, 127.0.0.1, ::1, valid until 2"));
    let path = out.canonicalize().unwrap().join("ca.key");
    assert!(made.stderr.contains("trying out") && made.stderr.contains(path.to_str().unwrap()), "{made:?}");
    let first = files(&out);
    let names: Vec<&str> = first.keys().map(String::as_str).collect();
    assert_eq!(names, ["ca.key", "ca.pem", "node-1.key", "node-1.pem", "node-2.key", "node-2.pem"]);
    for (name, (mode, _)) in &first {
        assert!(!name.ends_with(".key") || *mode == 0o600, "{name} has mode {mode:o}");
    }
    let (one, two) = (configured(&made.stdout, "node-1"), configured(&made.stdout, "node-2"));
    linked(&one, &two);
    linked(&two, &one);

    // The same CA makes one more.
    let more = init_ca(&out, &["--node", "node-3,127.0.0.1"]).good();
    assert!(more.stdout.starts_with("used the CA in "), "{more:?}");
    let three = configured(&more.stdout, "node-3");
    linked(&one, &three);
    linked(&three, &two);
    let mut second = files(&out);
    assert!(second.remove("node-3.pem").is_some() && second.remove("node-3.key").is_some());
    assert!(first == second, "other files were written to");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn what_was_made_is_told_in_json() {
    let dir = scratch("init-ca-json").canonicalize().unwrap();
    let out = dir.join("certs");
    let path = |name: &str| out.join(name).to_str().unwrap().to_owned();
    for made in [true, false] {
        let node = if made { "n1" } else { "n2" };
        let hosts = format!("{node},10.0.0.1");
        let args = ["cluster", "init-ca", "--out", "certs", "--node", &hosts, "--days", "1", "--json"];
        let mut command = multibeam(&args);
        // A configuration needs paths that are right from anywhere.
        command.current_dir(&dir);
        let told = output(command).good();
        let [ca, line] = <[_; 2]>::try_from(told.json()).unwrap();
        let until = ca["valid_until"].clone();
        assert_eq!(until.is_string(), made);
        let expected =
            json!({ "ca": path("ca.pem"), "key": path("ca.key"), "made": made, "valid_until": until });
        assert_eq!(ca, expected);
        let until = line["valid_until"].clone();
        let (certificate, key) = (path(&format!("{node}.pem")), path(&format!("{node}.key")));
        let expected = json!({ "node": node, "hosts": [node, "10.0.0.1"], "ca": path("ca.pem"), "certificate": certificate, "key": key, "valid_until": until });
        assert_eq!(line, expected);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn nothing_is_ever_overwritten() {
    let out = scratch("init-ca-again");
    init_ca(&out, &["--node", "node-1"]).good();
    std::fs::remove_file(out.join("node-1.pem")).unwrap();
    let before = files(&out);
    let again = init_ca(&out, &["--node", "node-2", "--node", "node-1"]);
    assert_eq!(again.code, Some(1), "{again:?}");
    let named = out.join("node-1.key");
    assert!(again.stderr.contains(&format!("{} is there already", named.display())), "{again:?}");
    assert!(before == files(&out));
    std::fs::remove_dir_all(&out).unwrap();
}

#[test]
fn a_ca_that_is_not_a_pair_of_this_command_is_refused() {
    let (out, other) = (scratch("init-ca-pair"), scratch("init-ca-other"));
    init_ca(&other, &["--node", "node-1"]).good();
    let copy = |name: &str| std::fs::copy(other.join(name), out.join(name)).unwrap();
    let refused = |part: &str| {
        let before = files(&out);
        let ended = init_ca(&out, &["--node", "node-9"]);
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{ended:?}");
        assert!(ended.stderr.contains(part) && ended.stderr.contains(out.to_str().unwrap()), "{ended:?}");
        assert!(before == files(&out), "{part}");
    };
    copy("ca.pem");
    refused("ca.pem is there without ca.key");
    std::fs::copy(other.join("node-1.key"), out.join("ca.key")).unwrap();
    refused("are not a pair");
    std::fs::write(out.join("ca.key"), "no key").unwrap();
    refused("must be an Ed25519 key");
    copy("ca.key");
    std::fs::remove_file(out.join("ca.pem")).unwrap();
    refused("ca.key is there without ca.pem");
    copy("ca.pem");
    init_ca(&out, &["--node", "node-9"]).good();
    for dir in [out, other] {
        std::fs::remove_dir_all(dir).unwrap();
    }
}

#[test]
fn wrong_arguments() {
    for (line, parts) in [
        ("cluster", &["subcommand", "init-ca"][..]),
        ("cluster init-ca --node a", &["--out"]),
        ("cluster init-ca --out x", &["--node"]),
        ("cluster init-ca --out x --node a:1", &["a:1", "without a port"]),
        ("cluster init-ca --out x --node a,,b", &["neither a name nor an IP address"]),
        ("cluster init-ca --out x --node ca", &["can't be called ca"]),
        ("cluster init-ca --out x --node a --node a,b", &["two nodes have the first host a"]),
        ("cluster init-ca --out x --node a --days 0", &["--days"]),
        ("cluster init-ca --out x --node a --days 3651", &["--days"]),
    ] {
        fails(&line.split(' ').collect::<Vec<_>>(), 2, parts);
    }
    for (out, part) in [("/dev/null", "/dev/null"), ("/proc/no/such", "/proc/no/such")] {
        fails(&["cluster", "init-ca", "--out", out, "--node", "a"], 1, &[part, "--out"]);
    }
}
