//! What each kind of hostile client does with its connection.

use super::raw::{Got, Raw};
use super::{churn, lifeless, window};
use crate::plan::HostileKind;
use crate::random::Random;
use multibeam_wire::{CloseCode, HEADER_BYTES, Payload, Publish, Seq};
use std::time::Duration;

/// Longest time until the node must have ended a connection that misbehaves: the longest of
/// its own deadlines in any plan, three heartbeats or HELLO, then its linger, and the network.
const END_MAX: Duration = Duration::from_secs(6);

/// A window that does not stand in the way.
const WIDE: u16 = u16::MAX;

pub(super) async fn act(raw: &mut Raw, kind: HostileKind, random: &mut Random) {
    match kind {
        HostileKind::RandomBytes => {
            let mut bytes = vec![0; random.pick(&[1, 2, 20, 700, 4000])];
            random.fill(&mut bytes);
            garbage(raw, &bytes).await;
        }
        HostileKind::Truncated => truncated(raw, random).await,
        HostileKind::WrongMagic => garbage(raw, b"GET / HTTP/1.1\r\nHost: node\r\n\r\n").await,
        HostileKind::FutureVersion => {
            let mut hello = raw.hello(random.number(), WIDE);
            hello[2] = random.pick(&[0, 2, 255]);
            garbage(raw, &hello).await;
        }
        HostileKind::Silence => garbage(raw, &[]).await,
        HostileKind::GarbageAfterHello => garbage_after_hello(raw, random).await,
        HostileKind::HalfClose => half_close(raw, random).await,
        HostileKind::NeverReads => never_reads(raw, random).await,
        HostileKind::TinyWindow => window::tiny(raw, random).await,
        HostileKind::ZeroWindow => window::zero(raw, random).await,
        HostileKind::Mute => lifeless::mute(raw, random).await,
        HostileKind::NeverAcks => lifeless::never_acks(raw, random).await,
        HostileKind::Churn => churn::act(raw, random).await,
    }
}

/// Sends bytes that deserve a close, and waits for it.
async fn garbage(raw: &mut Raw, bytes: &[u8]) {
    raw.lawless = true;
    raw.send(bytes).await;
    raw.listen(END_MAX, |_| {}).await;
}

async fn truncated(raw: &mut Raw, random: &mut Random) {
    let mut bytes = raw.hello(random.number(), WIDE);
    if random.chance(50) {
        let body = vec![b'x'; random.length(0..=600)];
        let publish = publish(raw, random, &body);
        let whole = bytes.len() + publish.len();
        bytes.extend(publish);
        bytes.truncate(whole - random.length(1..=body.len() + HEADER_BYTES));
    } else {
        bytes.truncate(random.length(0..=bytes.len() - 1));
    }
    garbage(raw, &bytes).await;
}

async fn garbage_after_hello(raw: &mut Raw, random: &mut Random) {
    let hello = raw.hello(random.number(), WIDE);
    raw.send(&hello).await;
    let mut bytes = Vec::new();
    match random.range(0..=5) {
        0 => {
            bytes = vec![0; random.pick(&[1, 40, 500, 3_000])];
            random.fill(&mut bytes);
        }
        // A number skipped.
        1 => {
            Payload::Heartbeat.encode(Seq(7), Seq(0), WIDE, &mut bytes);
        }
        // An acknowledgement of what was never sent.
        2 => {
            Payload::ACK.encode(Seq(0), Seq(1000), WIDE, &mut bytes);
        }
        // HELLO again.
        3 => bytes = raw.hello(1, WIDE),
        // A frame that only a node sends.
        4 => {
            let refusal = multibeam_wire::Refusal::new(
                Seq(1),
                multibeam_wire::ErrorCode::Deadline,
                multibeam_wire::Outcome::Unknown,
            );
            Payload::Error(refusal).encode(Seq(0), Seq(0), WIDE, &mut bytes);
        }
        // A goodbye of ours, and more behind it.
        _ => {
            Payload::bye(CloseCode::Normal).encode(Seq(0), Seq(0), WIDE, &mut bytes);
            bytes.extend([0; 40]);
        }
    }
    garbage(raw, &bytes).await;
}

fn publish(raw: &mut Raw, random: &mut Random, body: &[u8]) -> Vec<u8> {
    let topic = random.pick(&["hostile.1", "hostile.2", "hostile.3"]);
    raw.frame(&Payload::Publish(Publish::new(1, topic, body)), WIDE)
}

/// A publish and the end of our half in one go: the answer must still come.
async fn half_close(raw: &mut Raw, random: &mut Random) {
    let mut bytes = raw.hello(random.number(), WIDE);
    bytes.extend(publish(raw, random, b"from one who leaves"));
    let sent = raw.send(&bytes).await;
    raw.shutdown().await;
    let mut refused = false;
    raw.listen(END_MAX, |got| refused |= *got == Got::Refused(Seq(1))).await;
    raw.end.unanswered = sent && !refused && raw.acked != raw.seq && raw.end.byes.is_empty();
}

async fn never_reads(raw: &mut Raw, random: &mut Random) {
    let mut bytes = raw.hello(random.number(), WIDE);
    bytes.extend(raw.subscribe(random.length(0..=9), WIDE));
    raw.send(&bytes).await;
    raw.end.excused = true;
    tokio::time::sleep(Duration::from_millis(random.range(500..=3_000))).await;
    if random.chance(50) {
        // And goes on talking, whatever it is told.
        raw.lawless = true;
        raw.send(&[0; 3_000]).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    raw.listen(END_MAX, |_| {}).await;
}
