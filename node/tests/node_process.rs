//! A node in a process of its own: signals, descriptors, and what attackers leave behind.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "../examples/harness/node_process.rs"]
#[expect(dead_code, reason = "shared with other programs, each of which uses a part")]
mod node_process;
#[path = "../examples/harness/wire_client.rs"]
mod wire_client;

use multibeam_wire::{Bye, CloseCode, Direction, Inbound, Payload};
use node_process::NodeProcess;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_multibeam");
const PATIENCE: Duration = Duration::from_secs(20);

fn greet(node: &NodeProcess) -> TcpStream {
    let mut stream = TcpStream::connect(node.clients()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut out = Vec::new();
    wire_client::hello(64, 1, &mut out);
    // A node that has no place for us may have hung up already.
    let _ = stream.write_all(&out);
    stream
}

/// The next frame but SUBSCRIBED: `Ok` for WELCOME, the code of a BYE, or nothing.
fn first_word(stream: &mut TcpStream) -> Result<(), Option<u16>> {
    let mut inbound = Inbound::new(Direction::ToClient);
    let mut buffer = [0; 1024];
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(count) => count,
            // Everybody is told something, or cut.
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("left waiting without a word"),
            Err(_) => return Err(None),
        };
        if count == 0 {
            return Err(None);
        }
        inbound.push(&buffer[..count]);
        while let Some(frame) = inbound.next_frame().unwrap() {
            if let Payload::Bye(Bye { code, .. }) = frame.payload {
                return Err(Some(code));
            }
            // The system's subscription may begin at any time behind WELCOME.
            if matches!(frame.payload, Payload::Subscribed(_)) {
                continue;
            }
            assert!(matches!(frame.payload, Payload::Welcome(_)), "{frame:?}");
            return Ok(());
        }
    }
}

/// Asks until it is so. The bound is far beyond what it takes.
fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if check() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("never: {what}");
}

#[test]
fn sigterm_says_goodbye_and_ends_well() {
    let node = NodeProcess::start(Command::new(PROGRAM), "");
    let mut streams: Vec<TcpStream> = (0..4).map(|_| greet(&node)).collect();
    for stream in &mut streams {
        assert_eq!(first_word(stream), Ok(()));
    }
    node.terminate();
    for mut stream in streams {
        assert_eq!(first_word(&mut stream), Err(Some(CloseCode::Shutdown as u16)));
    }
    let (status, data_dir) = node.wait();
    assert!(status.success(), "{status}");
    std::fs::remove_dir_all(data_dir).unwrap();
}

#[test]
fn a_second_signal_does_not_wait() {
    let node =
        NodeProcess::start(Command::new(PROGRAM), "[limits]\nstop_deadline_ms = 600000\nlinger_ms = 60000\n");
    // It hears BYE and does not hang up, so that the node has to wait for it.
    let mut stubborn = greet(&node);
    assert_eq!(first_word(&mut stubborn), Ok(()));
    node.terminate();
    assert_eq!(first_word(&mut stubborn), Err(Some(CloseCode::Shutdown as u16)));
    let (status, data_dir) = node.stop();
    assert_eq!(status.code(), Some(130), "{status}");
    std::fs::remove_dir_all(data_dir).unwrap();
}

#[test]
fn out_of_descriptors_who_comes_is_told_and_served_later() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40; exec \"$0\" \"$@\"", PROGRAM]);
    // Four shards that compete for the descriptors of one process.
    let node = NodeProcess::start(command, "shards = 4\n");
    let words: Vec<_> = std::thread::scope(|scope| {
        let greeting = || {
            let mut stream = greet(&node);
            let word = first_word(&mut stream);
            (stream, word)
        };
        let greeters: Vec<_> = (0..60).map(|_| scope.spawn(greeting)).collect();
        greeters.into_iter().map(|greeter| greeter.join().unwrap()).collect()
    });
    let (mut served, mut told) = (Vec::new(), 0);
    for (stream, word) in words {
        match word {
            Ok(()) => served.push(stream),
            Err(Some(code)) => {
                assert_eq!(code, CloseCode::DescriptorsMax as u16);
                told += 1;
            }
            // Cut before it could read: best effort, as its HELLO came after the farewell.
            Err(None) => told += 1,
        }
    }
    assert!(served.len() > 5 && told > 5, "{} served, {told} told", served.len());
    let before = served.len();
    // Those who hold a connection notice nothing, and a place that comes free is taken.
    served.drain(before / 2..).for_each(leave);
    eventually("somebody new is served", || first_word(&mut greet(&node)) == Ok(()));
    assert!(node.metric("multibeam_out_of_descriptors_total", "") > 0);
    assert!(node.metric("multibeam_shed_total", "") > 0);
    assert_eq!(node.metric("multibeam_closed_by_reason_total", "PEER_RESET"), 0);
}

#[test]
fn a_storm_of_garbage_and_cuts_leaves_nothing_behind() {
    const THREADS: u64 = 4;
    const ATTACKS: u64 = 1000;
    let node = NodeProcess::start(Command::new(PROGRAM), "");
    let mut witness = greet(&node);
    assert_eq!(first_word(&mut witness), Ok(()));
    let quiet = node.descriptors();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let node = &node;
            scope.spawn(move || {
                for number in 0..ATTACKS / THREADS {
                    attack(node, thread * 1000 + number);
                }
            });
        }
    });
    // The witness is the one more.
    eventually("all were accepted", || node.metric("multibeam_accepted_total", "") == ATTACKS + 1);
    eventually("all are closed", || node.metric("multibeam_closed_total", "") == ATTACKS);
    eventually("all descriptors are free again", || node.descriptors() <= quiet);
    assert_eq!(node.metric("multibeam_connections{", ""), 1);
    assert_eq!(node.metric("multibeam_parked_bytes{", ""), 0);
    read_all(&mut witness);
}

/// Closes without a reset: nothing is left unread.
fn leave(mut stream: TcpStream) {
    read_all(&mut stream);
}

/// Reads what has come, which is not the end.
fn read_all(stream: &mut TcpStream) {
    stream.set_nonblocking(true).unwrap();
    loop {
        match stream.read(&mut [0; 512]) {
            Ok(0) => panic!("the node has ended this connection"),
            Ok(_) => {}
            Err(error) => return assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
}

/// Connects, says something or a part of it, and leaves in one of several ways.
fn attack(node: &NodeProcess, number: u64) {
    let Ok(mut stream) = TcpStream::connect(node.clients()) else { return };
    let mut out = Vec::new();
    match number % 5 {
        0 => {}
        1 => out.extend(number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()),
        2 => wire_client::hello(64, 2, &mut out),
        3 => {
            wire_client::hello(64, 2, &mut out);
            wire_client::subscribe("storm.news", 64, &mut out);
            out.truncate(out.len() - 1 - number as usize % 20);
        }
        _ => {
            wire_client::hello(64, 2, &mut out);
            wire_client::subscribe("storm.news", 64, &mut out);
            out.extend_from_slice(b"and now something else");
        }
    }
    // Any of these may meet a connection that the node has ended already.
    let _ = stream.write_all(&out);
    match number % 3 {
        0 => {}
        1 => drop(stream.shutdown(std::net::Shutdown::Write)),
        _ => drop(socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))),
    }
}
