//! The corpus in the tree breaks nothing: each file was once new to the fuzzer, or a find.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() >= 3, "{} holds {} files", folder.display(), files.len());
    for file in files {
        println!("{}", file.display());
        run(&std::fs::read(&file).unwrap());
    }
}

#[test]
fn event_loop_corpus() {
    replay("event_loop", multibeam_fuzz::event_loop);
}

#[test]
fn session_corpus() {
    replay("session", multibeam_fuzz::session);
}

#[test]
fn client_frame_corpus() {
    replay("client_frame", multibeam_fuzz::client_frame);
}

#[test]
fn peer_frame_corpus() {
    replay("peer_frame", multibeam_fuzz::peer_frame);
}

#[test]
fn chunked_decoder_corpus() {
    replay("chunked_decoder", multibeam_fuzz::chunked_decoder);
}

#[test]
fn compact_corpus() {
    replay("compact", multibeam_fuzz::compact);
}
