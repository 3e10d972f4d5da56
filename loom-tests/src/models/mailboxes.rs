//! Models of a mesh: a participant sleeps, and must be woken by what another does.

use loom::thread;

use super::Token;
use crate::mailbox::{Endpoint, mesh};
use crate::mpsc::{Lane, Quota};

type Mail = Endpoint<u32, Token>;

fn participants<const N: usize>(commands: usize) -> [Mail; N] {
    let quota = Quota { commands, replies: 1 };
    let wakes = (0..N).map(|_| Token::new()).collect();
    <[_; N]>::try_from(mesh(|_, _| quota, wakes)).map_err(|_| ()).expect("an endpoint each")
}

/// Sleeps if there is nothing to do, as a thread does at the end of its turn.
fn sleep_if_idle(endpoint: &mut Mail) {
    endpoint.arm();
    if endpoint.is_empty() {
        endpoint.wake().wait();
    }
    endpoint.disarm();
}

fn receive(endpoint: &mut Mail) -> (u16, u32) {
    loop {
        if let Some(mail) = endpoint.pop() {
            endpoint.released();
            return mail;
        }
        sleep_if_idle(endpoint);
    }
}

/// Two items in two batches; the receiver sleeps whenever it finds nothing.
pub(crate) fn wake_of_consumer() {
    let [mut sender, mut receiver] = participants(2);
    let sending = thread::spawn(move || {
        for item in [1, 2] {
            sender.push(1, Lane::Command, item);
            sender.flush();
        }
        sender
    });
    assert_eq!(receive(&mut receiver), (0, 1));
    assert_eq!(receive(&mut receiver), (0, 2));
    drop(sending.join().expect("sender"));
}

/// One item from each of two senders. One may publish behind a claim of the other that is not written
/// yet, and ring for nothing: the other rings then.
pub(crate) fn wake_by_two() {
    let [a, b, mut receiver] = participants(1);
    let send = |mut sender: Mail| {
        sender.push(2, Lane::Command, 7);
        sender.flush();
        sender
    };
    let a = thread::spawn(move || send(a));
    let b = thread::spawn(move || send(b));
    let mut senders = [receive(&mut receiver), receive(&mut receiver)];
    senders.sort_unstable();
    assert_eq!(senders, [(0, 7), (1, 7)]);
    drop((a.join().expect("a"), b.join().expect("b")));
}

/// A sender without room sleeps on its own doorbell until the receiver's release rings it.
pub(crate) fn grant_of_room() {
    let [mut sender, mut receiver] = participants(1);
    sender.push(1, Lane::Command, 1);
    sender.flush();
    let sending = thread::spawn(move || {
        if !sender.want_room(1) {
            while sender.granted() != Some(1) {
                sleep_if_idle(&mut sender);
            }
            assert_eq!(sender.granted(), None);
        }
        assert_eq!(sender.room(1), 1);
        sender.push(1, Lane::Command, 2);
        sender.flush();
        sender
    });
    assert_eq!(receiver.pop(), Some((0, 1)));
    receiver.released();
    drop(sending.join().expect("sender"));
    assert_eq!(receiver.pop(), Some((0, 2)));
}

/// Twice in a row: the release that gave room for the second item may answer the wish for the third,
/// and a grant must not be handed out for it.
pub(crate) fn grant_answered_late() {
    let [mut sender, mut receiver] = participants(1);
    sender.push(1, Lane::Command, 1);
    sender.flush();
    let sending = thread::spawn(move || {
        for item in [2, 3] {
            if sender.room(1) == 0 && !sender.want_room(1) {
                while sender.granted() != Some(1) {
                    sleep_if_idle(&mut sender);
                }
            }
            assert_eq!(sender.room(1), 1);
            sender.push(1, Lane::Command, item);
            sender.flush();
        }
        sender
    });
    for item in [1, 2, 3] {
        assert_eq!(receive(&mut receiver), (0, item));
    }
    drop(sending.join().expect("sender"));
}

/// A requester with one reply slot pops the reply and asks again: the responder must see the slot free.
pub(crate) fn reply_slot_reused() {
    let [mut requester, mut responder] = participants(2);
    requester.push(1, Lane::Command, 1);
    requester.flush();
    assert_eq!(responder.pop(), Some((0, 1)));
    responder.push(0, Lane::Reply, 1);
    responder.flush();
    let answering = thread::spawn(move || {
        if let Some((from, request)) = responder.pop() {
            responder.push(from, Lane::Reply, request);
            responder.flush();
        }
        responder
    });
    assert_eq!(requester.pop(), Some((1, 1)));
    requester.push(1, Lane::Command, 2);
    requester.flush();
    let mut responder = answering.join().expect("responder");
    let reply = requester.pop();
    assert!(matches!((reply, responder.pop()), (Some((1, 2)), None) | (None, Some((0, 2)))));
}
