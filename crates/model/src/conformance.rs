//! The contract of a kernel, as checks that every kernel must pass.
//!
//! A [`Rig`] is a kernel together with a way to play its peers and one other thread. The
//! checks rely on nothing that the contract in `multibeam::kernel` does not promise: counts
//! may be short, calls may be interrupted, edges may be spurious.

use crate::post::{ModelMail, Post};
use crate::sockets::{Caps, Sockets};
use crate::{Benign, ModelIo, ModelKernel};
use multibeam::event_loop::{Loop, LoopLimits};
use multibeam::kernel::{Errno, Event, Io, Kernel, Mail, Read, Send, Token};
use multibeam::lease::LeaseCell;
use multibeam::metrics::ShardMetrics;
use multibeam_proto::{Command, Shard, ShardConfig, ShardId, ShardSetup};
use multibeam_wire::Generation;
use std::cell::RefCell;
use std::io::IoSlice;
use std::rc::Rc;

/// Names one peer of a rig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub usize);

/// A kernel under test, with its surroundings.
pub trait Rig {
    /// The kernel: thread 0 of two.
    type Kernel: Kernel;
    /// The mail of the other thread.
    type Other: Mail;

    /// The kernel.
    fn kernel(&mut self) -> &mut Self::Kernel;

    /// The other thread's mail.
    fn other(&mut self) -> &mut Self::Other;

    /// Somebody connects.
    fn connect(&mut self) -> Peer;

    /// The peer sends; what does not fit is kept and sent later.
    fn push(&mut self, peer: Peer, bytes: &[u8]);

    /// Takes what has arrived at the peer, at most `max` bytes.
    fn pull(&mut self, peer: Peer, max: usize) -> Vec<u8>;

    /// The peer ends its half behind what it has sent.
    fn end(&mut self, peer: Peer);

    /// The peer resets the connection.
    fn reset(&mut self, peer: Peer);

    /// Whether the peer has read our end, or found the connection reset.
    fn saw_end(&mut self, peer: Peer) -> bool;

    /// Lets a little time pass, as a driver does: gathers edges, moves bytes. The edges are
    /// taken before the next call.
    fn wait(&mut self);

    /// Whether a sleeping driver would have been woken by the doorbell since the last call,
    /// for kernels that do not tell by [`Event::Doorbell`].
    fn woken(&mut self) -> bool;
}

/// Waits before a check gives up; a rig's wait is a few milliseconds.
const PATIENCE: usize = 2000;

type Sock<R> = <<R as Rig>::Kernel as Io>::Sock;

/// Runs every check, each on a rig of its own.
///
/// # Panics
/// Where the kernel breaks the contract.
pub fn all<R: Rig>(make: impl Fn() -> R) {
    accept_says_again_and_then_an_edge(&mut make());
    readiness_at_registration_is_an_edge(&mut make());
    reading_to_again_and_an_edge_for_more(&mut make(), false);
    reading_to_again_and_an_edge_for_more(&mut make(), true);
    an_end_behind_a_drained_read_is_told(&mut make());
    the_end_comes_behind_the_data(&mut make());
    sends_arrive_in_order_and_an_edge_tells_of_room(&mut make());
    our_end_leaves_the_peers_half_open(&mut make());
    a_reset_is_told(&mut make());
    close_ends_the_stream(&mut make());
    a_batch_of_sends_is_done_whole(&mut make());
    shed_says_farewell(&mut make());
    stop_listening_refuses(&mut make());
    mail_arrives_in_order_and_rings_a_sleeper(&mut make());
    room_comes_back_with_a_ring(&mut make());
}

/// A loop with nothing to do, for platforms that must be given one.
#[must_use]
pub fn idle_loop() -> Loop<ModelKernel> {
    let post = Post::new(2, 1, 1, Rc::new(RefCell::new(Benign)));
    let sockets = Sockets::new(Caps::default(), Rc::new(RefCell::new(Benign)));
    let kernel = ModelKernel::new(ModelIo::new(Rc::new(RefCell::new(sockets))), ModelMail::new(post, 0));
    let setup = ShardSetup { id: ShardId(0), shards: 1, generation: Generation(1), seed: 1 };
    Loop::new(
        kernel,
        Shard::new(ShardConfig::default(), setup),
        LoopLimits::default(),
        ShardMetrics::new(),
        LeaseCell::unlimited(),
    )
}

fn edges<R: Rig>(rig: &mut R) -> Vec<Event> {
    rig.wait();
    let mut events = Vec::new();
    rig.kernel().events(&mut events);
    events
}

fn until<R: Rig>(rig: &mut R, what: &str, mut done: impl FnMut(&mut R, &[Event]) -> bool) {
    for _ in 0..PATIENCE {
        let events = edges(rig);
        if done(rig, &events) {
            return;
        }
    }
    panic!("never saw {what}");
}

fn reads(token: Token) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::Socket { token: t, readable: true, .. } if *t == token)
}

fn writes(token: Token) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::Socket { token: t, writable: true, .. } if *t == token)
}

/// Accepts one connection, waiting for its edge if need be.
fn accepted<R: Rig>(rig: &mut R) -> Sock<R> {
    for _ in 0..PATIENCE {
        match rig.kernel().accept() {
            Ok(sock) => return sock,
            Err(Errno::Again) => until(rig, "an accept edge", |_, events| events.contains(&Event::Accept)),
            Err(Errno::Interrupted | Errno::Aborted) => {}
            Err(errno) => panic!("accept: {errno:?}"),
        }
    }
    panic!("nobody was accepted");
}

fn registered<R: Rig>(rig: &mut R, token: Token) -> (Peer, Sock<R>) {
    let peer = rig.connect();
    let sock = accepted(rig);
    rig.kernel().register(&sock, token).unwrap_or_else(|errno| panic!("register: {errno:?}"));
    (peer, sock)
}

/// Reads until `Again` or the end; true at the end.
fn drain<R: Rig>(rig: &mut R, sock: &Sock<R>, into: &mut Vec<u8>) -> Result<bool, Errno> {
    read_on(rig, sock, into, false)
}

/// Reads until `Again`, the end, or, with `trusting`, until the kernel says that nothing is left; true at
/// the end.
fn read_on<R: Rig>(rig: &mut R, sock: &Sock<R>, into: &mut Vec<u8>, trusting: bool) -> Result<bool, Errno> {
    let mut buf = [0; 700];
    loop {
        match rig.kernel().read(sock, &mut buf) {
            Ok(Read { bytes: 0, .. }) => return Ok(true),
            Ok(Read { bytes, drained }) => {
                into.extend(&buf[..bytes]);
                if drained && trusting {
                    return Ok(false);
                }
            }
            Err(Errno::Again) => return Ok(false),
            Err(Errno::Interrupted) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn send_some<R: Rig>(rig: &mut R, token: Token, sock: &Sock<R>, bufs: [&[u8]; 2]) -> Result<usize, Errno> {
    let mut batch = [Send { token, sock, bufs: bufs.map(IoSlice::new), done: None }];
    rig.kernel().send(&mut batch);
    batch[0].done.unwrap_or_else(|| panic!("an entry of a batch was left undone"))
}

/// Sends all of `bytes`, waiting for edges, while the peer takes what arrives.
fn send_all<R: Rig>(rig: &mut R, token: Token, sock: &Sock<R>, peer: Peer, bytes: &[u8], got: &mut Vec<u8>) {
    let mut sent = 0;
    while sent < bytes.len() {
        let half = (bytes.len() - sent) / 2;
        let (first, second) = bytes[sent..].split_at(half);
        match send_some(rig, token, sock, [first, second]) {
            Ok(count) => sent += count,
            Err(Errno::Again) => until(rig, "a write edge", |rig, events| {
                let bytes = rig.pull(peer, 300);
                got.extend(bytes);
                events.iter().any(writes(token))
            }),
            Err(Errno::Interrupted | Errno::OutOfBuffers) => {}
            Err(errno) => panic!("send: {errno:?}"),
        }
    }
    let before = got.len();
    let mut arrived = 0;
    until(rig, "all that was sent", |rig, _| {
        let bytes = rig.pull(peer, 300);
        arrived += bytes.len();
        got.extend(bytes);
        before + arrived >= sent
    });
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 31 + n / 251) as u8).collect()
}

fn accept_says_again_and_then_an_edge<R: Rig>(rig: &mut R) {
    assert!(matches!(rig.kernel().accept(), Err(Errno::Again)));
    rig.connect();
    until(rig, "an accept edge", |_, events| events.contains(&Event::Accept));
    let sock = accepted(rig);
    assert!(matches!(rig.kernel().accept(), Err(Errno::Again)));
    rig.kernel().close(sock);
}

fn readiness_at_registration_is_an_edge<R: Rig>(rig: &mut R) {
    let peer = rig.connect();
    rig.push(peer, b"early");
    for _ in 0..20 {
        edges(rig);
    }
    let sock = accepted(rig);
    let token = Token::new(3, 7);
    rig.kernel().register(&sock, token).unwrap_or_else(|errno| panic!("register: {errno:?}"));
    let (mut read, mut written) = (false, false);
    until(rig, "edges for both", |_, events| {
        read |= events.iter().any(reads(token));
        written |= events.iter().any(writes(token));
        read && written
    });
    let mut got = Vec::new();
    assert_eq!(drain(rig, &sock, &mut got), Ok(false));
    assert_eq!(got, b"early");
    rig.kernel().close(sock);
}

/// With `trusting`, a drained read is as good as `Again`.
fn reading_to_again_and_an_edge_for_more<R: Rig>(rig: &mut R, trusting: bool) {
    let token = Token::new(0, 1);
    let (peer, sock) = registered(rig, token);
    let mut got = Vec::new();
    assert_eq!(drain(rig, &sock, &mut got), Ok(false));
    let sent = pattern(20_000);
    for chunk in sent.chunks(6_000) {
        rig.push(peer, chunk);
    }
    // Each time we have read to `Again`, an edge announces what comes next.
    while got.len() < sent.len() {
        until(rig, "a read edge", |_, events| events.iter().any(reads(token)));
        assert_eq!(read_on(rig, &sock, &mut got, trusting), Ok(false));
    }
    assert_eq!(got, sent);
    rig.kernel().close(sock);
}

/// Whoever trusts a drained read reads on to the end only where an edge has told of one; each time before,
/// an edge brings it back.
fn an_end_behind_a_drained_read_is_told<R: Rig>(rig: &mut R) {
    for ends_later in [false, true] {
        let token = Token::new(u32::from(ends_later), 1);
        let (peer, sock) = registered(rig, token);
        let mut got = Vec::new();
        rig.push(peer, b"last words");
        if !ends_later {
            rig.end(peer);
        }
        let mut told = false;
        let mut over = false;
        while !over {
            until(rig, "a read edge", |_, events| {
                let ends = |event: &Event| matches!(event, Event::Socket { token: t, ended: true, .. } if *t == token);
                told |= events.iter().any(ends);
                events.iter().any(reads(token))
            });
            let end = read_on(rig, &sock, &mut got, !told);
            over = end == Ok(true);
            assert!(end.is_ok() && (over || !told), "an end that was told of is not there: {end:?}");
            if ends_later && got.len() == 10 && !over {
                rig.end(peer);
            }
        }
        assert_eq!(got, b"last words");
        rig.kernel().close(sock);
    }
}

fn the_end_comes_behind_the_data<R: Rig>(rig: &mut R) {
    let token = Token::new(0, 1);
    let (peer, sock) = registered(rig, token);
    let mut got = Vec::new();
    assert_eq!(drain(rig, &sock, &mut got), Ok(false));
    rig.push(peer, b"last words");
    rig.end(peer);
    loop {
        until(rig, "a read edge", |_, events| events.iter().any(reads(token)));
        if drain(rig, &sock, &mut got) == Ok(true) {
            break;
        }
    }
    assert_eq!(got, b"last words");
    // Our half is still open.
    let mut echoed = Vec::new();
    send_all(rig, token, &sock, peer, b"and mine", &mut echoed);
    assert_eq!(echoed, b"and mine");
    rig.kernel().close(sock);
}

fn sends_arrive_in_order_and_an_edge_tells_of_room<R: Rig>(rig: &mut R) {
    let token = Token::new(9, 2);
    let (peer, sock) = registered(rig, token);
    let sent = pattern(4096);
    // Until the socket is full: nobody reads.
    let mut full: Vec<u8> = Vec::new();
    for _ in 0..100_000 {
        match send_some(rig, token, &sock, [&sent, &sent]) {
            Ok(count) => full.extend(&[&sent[..], &sent[..]].concat()[..count]),
            Err(Errno::Again) => break,
            Err(Errno::Interrupted | Errno::OutOfBuffers) => {}
            Err(errno) => panic!("send: {errno:?}"),
        }
    }
    assert!(!full.is_empty());
    let mut got = Vec::new();
    until(rig, "a write edge", |rig, events| {
        let bytes = rig.pull(peer, 64 * 1024);
        got.extend(bytes);
        events.iter().any(writes(token))
    });
    send_all(rig, token, &sock, peer, b"the end", &mut got);
    until(rig, "everything", |rig, _| {
        let bytes = rig.pull(peer, 64 * 1024);
        got.extend(bytes);
        got.len() >= full.len() + 7
    });
    full.extend(b"the end");
    assert!(got == full, "{} bytes came in another order", got.len());
    rig.kernel().close(sock);
}

fn our_end_leaves_the_peers_half_open<R: Rig>(rig: &mut R) {
    let token = Token::new(0, 1);
    let (peer, sock) = registered(rig, token);
    rig.kernel().shutdown(&sock);
    until(rig, "our end at the peer", |rig, _| {
        rig.pull(peer, 10);
        rig.saw_end(peer)
    });
    let mut got = Vec::new();
    assert_eq!(drain(rig, &sock, &mut got), Ok(false));
    rig.push(peer, b"still here");
    while got.len() < 10 {
        until(rig, "a read edge", |_, events| events.iter().any(reads(token)));
        assert_eq!(drain(rig, &sock, &mut got), Ok(false));
    }
    rig.kernel().close(sock);
}

fn a_reset_is_told<R: Rig>(rig: &mut R) {
    let token = Token::new(0, 1);
    let (peer, sock) = registered(rig, token);
    let mut got = Vec::new();
    assert_eq!(drain(rig, &sock, &mut got), Ok(false));
    rig.reset(peer);
    until(rig, "a read edge", |_, events| events.iter().any(reads(token)));
    // An error once, and never again `Again`: nobody would come back.
    match drain(rig, &sock, &mut got) {
        Ok(true) | Err(Errno::Reset | Errno::Pipe) => {}
        other => panic!("a reset was read as {other:?}"),
    }
    rig.kernel().close(sock);
}

fn close_ends_the_stream<R: Rig>(rig: &mut R) {
    let token = Token::new(5, 5);
    let (peer, sock) = registered(rig, token);
    let mut got = Vec::new();
    send_all(rig, token, &sock, peer, b"bye", &mut got);
    rig.kernel().close(sock);
    until(rig, "our end at the peer", |rig, _| {
        let bytes = rig.pull(peer, 10);
        got.extend(bytes);
        rig.saw_end(peer)
    });
    assert_eq!(got, b"bye");
}

fn a_batch_of_sends_is_done_whole<R: Rig>(rig: &mut R) {
    let tokens: Vec<Token> = (0..5).map(|slot| Token::new(slot, 1)).collect();
    let pairs: Vec<_> = tokens.iter().map(|token| registered(rig, *token)).collect();
    let bodies: Vec<Vec<u8>> = (0..5).map(|n| vec![n; 10]).collect();
    let mut sent = vec![0; pairs.len()];
    while sent.iter().any(|sent| *sent < 10) {
        let open: Vec<usize> = (0..pairs.len()).filter(|at| sent[*at] < 10).collect();
        let mut batch: Vec<_> = open
            .iter()
            .map(|at| Send {
                token: tokens[*at],
                sock: &pairs[*at].1,
                bufs: [IoSlice::new(&bodies[*at][sent[*at]..]), IoSlice::new(&[])],
                done: None,
            })
            .collect();
        rig.kernel().send(&mut batch);
        let done: Vec<_> = batch.iter().map(|entry| entry.done).collect();
        for (at, done) in open.iter().zip(done) {
            match done {
                Some(Ok(count)) => sent[*at] += count,
                Some(Err(Errno::Interrupted | Errno::OutOfBuffers)) => {}
                other => panic!("entry {at}: {other:?}"),
            }
        }
    }
    for (at, (peer, _)) in pairs.iter().enumerate() {
        let mut got = Vec::new();
        until(rig, "a body", |rig, _| {
            let bytes = rig.pull(*peer, 10);
            got.extend(bytes);
            got.len() == 10
        });
        assert_eq!(got, bodies[at]);
    }
    for (_, sock) in pairs {
        rig.kernel().close(sock);
    }
}

fn shed_says_farewell<R: Rig>(rig: &mut R) {
    let peer = rig.connect();
    let mut shed = false;
    until(rig, "somebody to shed", |rig, _| {
        shed |= rig.kernel().shed(b"no room").is_ok();
        shed
    });
    let mut got = Vec::new();
    until(rig, "the farewell and the end", |rig, _| {
        let bytes = rig.pull(peer, 10);
        got.extend(bytes);
        rig.saw_end(peer)
    });
    assert_eq!(got, b"no room");
    assert!(matches!(rig.kernel().shed(b"no room"), Err(Errno::Again | Errno::Interrupted)));
    // The spare is back: the next one is accepted as ever.
    let (_, sock) = registered(rig, Token::new(0, 1));
    rig.kernel().close(sock);
}

fn stop_listening_refuses<R: Rig>(rig: &mut R) {
    let (peer, sock) = registered(rig, Token::new(0, 1));
    rig.kernel().stop_listening();
    assert!(rig.kernel().accept().is_err());
    let mut got = Vec::new();
    send_all(rig, Token::new(0, 1), &sock, peer, b"those who are in stay", &mut got);
    assert_eq!(got, b"those who are in stay");
    rig.kernel().close(sock);
}

fn mail_arrives_in_order_and_rings_a_sleeper<R: Rig>(rig: &mut R) {
    assert!(rig.kernel().is_empty());
    rig.kernel().arm();
    assert!(rig.kernel().is_empty(), "mail from nobody");
    rig.woken();
    for id in 0..2 {
        assert!(rig.other().room(0) > 0);
        rig.other().push(0, Command::Probe { id });
    }
    rig.other().flush();
    rig.other().arm();
    let mut woken = false;
    until(rig, "the doorbell", |rig, events| {
        woken |= rig.woken() || events.contains(&Event::Doorbell);
        woken
    });
    rig.kernel().disarm();
    for id in 0..2 {
        assert_eq!(rig.kernel().pop(), Some((1, Command::Probe { id })));
    }
    assert_eq!(rig.kernel().pop(), None);
    rig.kernel().drained();
    // The answers.
    rig.kernel().push(1, Command::Probed { id: 0 });
    rig.kernel().push(1, Command::Probed { id: 1 });
    rig.kernel().flush();
    rig.kernel().arm();
    rig.other().disarm();
    for id in 0..2 {
        assert_eq!(rig.other().pop(), Some((0, Command::Probed { id })));
    }
    rig.other().drained();
}

fn room_comes_back_with_a_ring<R: Rig>(rig: &mut R) {
    let room = rig.kernel().room(1);
    assert!(room > 0);
    for _ in 0..room {
        rig.kernel().push(1, Command::Stop);
    }
    rig.kernel().flush();
    assert_eq!(rig.kernel().room(1), 0);
    rig.kernel().arm();
    rig.woken();
    assert!(!rig.kernel().want_room(1), "room from nowhere");
    rig.other().disarm();
    assert_eq!(rig.other().pop(), Some((0, Command::Stop)));
    rig.other().drained();
    rig.other().arm();
    let mut woken = false;
    until(rig, "the ring for room", |rig, events| {
        woken |= rig.woken() || events.contains(&Event::Doorbell);
        woken
    });
    rig.kernel().disarm();
    assert_eq!(rig.kernel().room(1), 1);
}
