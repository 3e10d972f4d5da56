//! The layers of `docs/ARCHITECTURE.md`, as rules about dependencies and sources.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Names of the packages that `package` is built with, down to `depth`; tests' excluded.
fn built_with(package: &str, depth: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", package, "--edges", "normal,build", "--prefix", "none"])
        .args(["--format", "{p}", "--depth", depth, "--locked", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    tree.lines().skip(1).filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

fn all(package: &str) -> BTreeSet<String> {
    built_with(package, "100")
}

fn direct(package: &str) -> BTreeSet<String> {
    built_with(package, "1")
}

#[test]
fn each_layer_depends_on_those_below_it() {
    for package in ["multibeam-wire", "multibeam-proto", "multibeam-rings", "multibeam-loom-tests"] {
        let built = all(package);
        for runtime in ["tokio", "mio", "socket2", "axum"] {
            assert!(!built.contains(runtime), "{package} is built with {runtime}");
        }
        // Only the buffer pool asks the system for anything, which is pages.
        assert!(!built.contains("rustix") || package == "multibeam-rings", "{package} makes system calls");
    }
    assert_eq!(
        direct("multibeam-proto"),
        // A table of names without a second copy of them, lists that begin inline, sentences for errors, the
        // form in which the agreed state is kept.
        [
            "consistent_hash_ring",
            "hashbrown",
            "multibeam-wire",
            "postcard",
            "serde",
            "smallvec",
            "smol_str",
            "thiserror",
        ]
        .map(str::to_owned)
        .into(),
        "the core decides, and no more"
    );
    assert_eq!(
        direct("multibeam-consensus"),
        // One trait of rand_core is what openraft's draws are made of; the seed is the caller's.
        [
            "multibeam-proto",
            "multibeam-wire",
            "openraft",
            "postcard",
            "rand_core",
            "redb",
            "serde",
            "thiserror",
            "tokio",
        ]
        .map(str::to_owned)
        .into(),
    );
    for package in ["multibeam", "multibeam-client", "multibeam-proto", "multibeam-rings", "multibeam-sim"] {
        for hidden in ["openraft", "redb"] {
            assert!(!direct(package).contains(hidden), "{package} uses {hidden} past the facade");
        }
    }
    assert!(!all("multibeam-client").contains("multibeam-proto"), "the client shares only the wire");
    assert!(!direct("multibeam-sim").contains("multibeam-proto"), "the simulator runs nodes, not their core");
    assert!(!direct("multibeam-sim").contains("multibeam-rings"));
    for package in ["multibeam", "multibeam-client", "multibeam-wire", "multibeam-proto", "multibeam-rings"] {
        let built = all(package);
        for test in ["turmoil", "loom", "proptest", "multibeam-model", "multibeam-sim", "libfuzzer-sys"] {
            assert!(!built.contains(test), "{package} is shipped with {test}");
        }
    }
}

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty(), "{folder} holds no sources");
    files
}

/// The code of a file, without comments.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

#[test]
fn unsafe_code_stands_where_it_is_allowed() {
    let allowed = [
        "crates/rings/src/",
        "loom-tests/src/",
        "loom-tests/snapshot/src/",
        "node/src/epoll/heap.rs",
        "sim/src/entropy.rs",
    ];
    for folder in ["crates", "node", "sim", "loom-tests", "fuzz"] {
        for path in sources(folder) {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            let words: BTreeSet<String> =
                code(&path).split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect();
            let allowed =
                allowed.iter().any(|prefix| name.starts_with(prefix)) || name == "node/tests/layers.rs";
            assert!(allowed || !words.contains("unsafe"), "{name} holds unsafe code");
        }
    }
    for krate in ["crates/wire", "crates/proto", "crates/client", "crates/consensus", "crates/model", "fuzz"]
    {
        let lib = std::fs::read_to_string(root().join(krate).join("src/lib.rs")).unwrap();
        assert!(lib.contains("#![forbid(unsafe_code)]"), "{krate} does not forbid unsafe code");
    }
}

#[test]
fn no_socket_knows_what_its_bytes_mean() {
    let kernel = code(&root().join("node/src/kernel.rs"));
    let io = kernel.split("pub trait Io {").nth(1).unwrap().split("pub trait Mail").next().unwrap();
    for word in ["Frame", "Session", "Message", "Payload", "Command", "multibeam_"] {
        assert!(!io.contains(word), "the trait Io speaks of {word}");
    }
    let mut files = sources("crates/model/src/sockets");
    files.extend(["node/src/epoll/io.rs", "crates/model/src/sockets.rs"].map(|file| root().join(file)));
    for file in files {
        let code = code(&file);
        let file = file.display();
        for word in ["multibeam_wire", "multibeam_proto", "Command", "Payload"] {
            assert!(!code.contains(word), "{file} speaks of {word}");
        }
    }
}

#[test]
fn nothing_but_the_platform_decides_what_a_node_runs_on() {
    for path in sources("node/src") {
        let code = code(&path);
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        for word in ["cfg(feature", "cfg!(", "turmoil", "tokio_unstable"] {
            assert!(!code.contains(word), "{name} holds {word}");
        }
    }
    let manifest = std::fs::read_to_string(root().join("node/Cargo.toml")).unwrap();
    assert!(!manifest.contains("[features]"), "a node has no features");
    let shipped = manifest.split("[dev-dependencies]").next().unwrap();
    assert!(!shipped.contains("planted"), "a node is shipped with planted bugs");
}

/// Each edit of a crate that names openraft's generic types costs their code again; so one does, and none of it
/// is seen outside.
#[test]
fn openraft_and_redb_stay_behind_the_facade() {
    for folder in ["crates", "node", "sim", "loom-tests", "fuzz"] {
        for path in sources(folder) {
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            let inside = name.starts_with("crates/consensus/src/") || name == "node/tests/layers.rs";
            let code = code(&path);
            for word in ["openraft", "redb"] {
                assert!(inside || !code.contains(word), "{name} speaks of {word}");
            }
        }
    }
    for path in sources("crates/consensus/src") {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        for line in code(&path).lines().filter(|line| line.trim_start().starts_with("pub ")) {
            for word in ["openraft", "redb"] {
                assert!(!line.contains(word), "{name} shows {word}: {line}");
            }
        }
    }
}

#[test]
fn the_consensus_has_no_socket_file_thread_or_clock_of_its_own() {
    for path in sources("crates/consensus/src") {
        let code = code(&path);
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        for word in [
            "SystemTime",
            "Instant::now",
            "std::thread",
            "std::net",
            "std::fs",
            "tokio::net",
            "tokio::fs",
            "spawn_blocking",
        ] {
            assert!(!code.contains(word), "{name} holds {word}");
        }
    }
    let manifest = std::fs::read_to_string(root().join("crates/consensus/Cargo.toml")).unwrap();
    let shipped = manifest.split("[dev-dependencies]").next().unwrap();
    let tokio = shipped.lines().find(|line| line.starts_with("tokio ")).unwrap();
    assert!(tokio.contains(r#"features = ["macros", "rt", "sync", "time"]"#), "{tokio}");
    assert!(!shipped.contains("planted"), "the consensus is shipped with planted bugs");
}

#[test]
fn the_core_has_no_clock_thread_socket_or_file() {
    for folder in ["crates/proto/src", "crates/wire/src"] {
        for path in sources(folder) {
            let code = code(&path);
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            for word in
                ["Instant", "SystemTime", "std::thread", "std::net", "std::fs", "std::io", "Atomic", "Mutex"]
            {
                assert!(!code.contains(word), "{name} holds {word}");
            }
        }
    }
}
