//! A frame as one line of text, as docs/PROTOCOL.md and the goldens show it:
//! `LABEL seq N ack N window N name=value …`, the payload's fields in their order.

use multibeam_wire::link::{Identity, LinkFrame, LinkPayload, LinkPurpose, Part};
use multibeam_wire::{self as wire, Bye, Cursor, Frame, Header, Outcome, Payload, Start};
use std::fmt::Write;

/// A frame between client and node.
pub(crate) fn frame(frame: &Frame<'_>) -> String {
    let mut line = Line::new(frame.header.frame_type.label(), &frame.header);
    match &frame.payload {
        Payload::Publish(publish) => {
            line.plain("number", publish.number);
            line.text("topic", publish.topic);
            if let Some(generation) = publish.retry_of {
                line.plain("retry_of", generation.0);
            }
            if let Some(ttl_ms) = publish.ttl_ms {
                line.plain("ttl_ms", ttl_ms);
            }
            for key in publish.keys.iter() {
                line.text("key", key);
            }
            line.bytes("body", publish.body);
        }
        Payload::Delivery(delivery) => {
            line.plain("channel", delivery.channel.0);
            line.flag("skipped", delivery.skipped);
            line.plain("position", delivery.position);
            line.plain("prev", delivery.prev.0);
            if let Some(topic) = delivery.topic {
                line.text("topic", topic);
            }
            line.bytes("body", delivery.body);
        }
        Payload::Heartbeat | Payload::WindowUpdate => {}
        Payload::Ack(receipts) => {
            for receipt in receipts.iter() {
                line.plain(
                    "receipt",
                    format_args!(
                        "{}+{} partition {} at {} copies {}",
                        receipt.seq.0, receipt.count, receipt.partition, receipt.position, receipt.copies
                    ),
                );
            }
        }
        Payload::Hello(hello) => {
            line.plain("features", hello.features.0);
            line.plain("unit", hello.window_unit_log2);
            line.plain("producer", format_args!("{:032x}", hello.producer.0));
            line.text("agent", hello.agent);
            if let Some(position) = hello.system_after {
                line.plain("system_after", position);
            }
        }
        Payload::Welcome(welcome) => {
            line.plain("features", welcome.features.0);
            line.plain("unit", welcome.window_unit.log2());
            line.plain("heartbeat_ms", welcome.heartbeat_interval_ms);
            line.plain("generation", welcome.generation.0);
            line.plain("session", welcome.session);
            line.plain("requests", welcome.requests_in_flight_max);
            line.flag("leads", welcome.leads);
        }
        Payload::Subscribe(subscribe) => {
            line.plain("subscription", subscribe.subscription.0);
            line.text("topic", subscribe.topic);
            match subscribe.start {
                Start::New => line.plain("start", "new"),
                Start::Last => line.plain("start", "last"),
                Start::First => line.plain("start", "first"),
                Start::After(position) => line.plain("start", format_args!("after {position}")),
                Start::AfterEach(cursors) => {
                    line.plain("start", "after each");
                    for Cursor { partition, position } in cursors.iter() {
                        line.plain("cursor", format_args!("partition {partition} at {position}"));
                    }
                }
            }
        }
        Payload::Subscribed(subscribed) => {
            line.plain("subscription", subscribed.subscription.0);
            for part in subscribed.parts.iter() {
                line.begins(&part);
            }
        }
        Payload::Unsubscribe(subscription) => line.plain("subscription", subscription.0),
        Payload::Gap(gap) => {
            line.plain("channel", gap.channel.0);
            line.plain("from", gap.from);
            line.plain("to", gap.to);
            line.plain("reason", gap.reason.label());
        }
        Payload::Error(refusal) => {
            line.plain("ref_seq", refusal.ref_seq.0);
            line.plain("code", refusal.code);
            line.plain(
                "outcome",
                match refusal.outcome {
                    Outcome::Definite => "definite",
                    Outcome::Unknown => "unknown",
                },
            );
            line.text("detail", refusal.detail);
        }
        Payload::GoAway(go_away) => {
            line.plain("reason", go_away.reason);
            line.plain("deadline_ms", go_away.deadline_ms);
            line.plain("retry_after_ms", go_away.retry_after_ms);
            for address in go_away.addresses.iter() {
                line.text("try", address);
            }
        }
        Payload::Reject(reject) => {
            line.plain("code", reject.code);
            line.plain("retry_after_ms", reject.retry_after_ms);
            line.text("detail", reject.detail);
        }
        Payload::Bye(bye) => line.bye(bye),
    }
    line.0
}

/// A frame of a link.
pub(crate) fn link_frame(frame: &LinkFrame<'_>) -> String {
    let mut line = Line::new(frame.header.frame_type.label(), &frame.header);
    match &frame.payload {
        LinkPayload::Bye(bye) => line.bye(bye),
        LinkPayload::Hello(hello) => {
            line.identity(&hello.identity);
            line.plain(
                "purpose",
                match hello.purpose {
                    LinkPurpose::Control => "control",
                    LinkPurpose::Data => "data",
                },
            );
            line.text("address", hello.address);
            line.text("clients", hello.clients);
            line.plain("weight", hello.weight);
        }
        LinkPayload::Welcome(identity) => line.identity(identity),
        LinkPayload::Heartbeat(heartbeat) => {
            line.plain("number", heartbeat.number);
            line.plain("epoch", heartbeat.epoch.0);
        }
        LinkPayload::Lease(lease) => {
            line.plain("number", lease.number);
            line.flag("granted", lease.granted);
            line.plain("incarnation", lease.incarnation.0);
            line.plain("voters", lease.voters.index);
            line.plain("epoch", lease.epoch.0);
            line.plain("lease_ms", lease.lease_ms);
            for (name, set) in [("present", &lease.voters.present), ("before", &lease.voters.before)] {
                for store in set.stores() {
                    line.plain(name, format_args!("{:016x}", store.0));
                }
            }
        }
        LinkPayload::Request(request) => {
            line.plain("number", request.number);
            line.plain("kind", request.kind);
            line.part(&request.part);
        }
        LinkPayload::Response(response) => {
            line.plain("number", response.number);
            line.part(&response.part);
        }
        LinkPayload::State(state) => {
            line.plain("from", state.from.0);
            line.plain("to", state.to.0);
            line.flag("snapshot", state.snapshot);
            line.part(&state.part);
        }
    }
    line.0
}

struct Line(String);

impl Line {
    fn new<T>(label: &str, header: &Header<T>) -> Self {
        let (seq, ack, window) = (header.seq.0, header.ack_seq.0, header.window);
        Self(format!("{label} seq {seq} ack {ack} window {window}"))
    }

    fn plain(&mut self, name: &str, value: impl std::fmt::Display) {
        write!(self.0, " {name}={value}").unwrap();
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.plain(name, if value { "yes" } else { "no" });
    }

    fn text(&mut self, name: &str, value: &str) {
        self.plain(name, format_args!("{value:?}"));
    }

    /// In quotes if all of it can be printed, else in hexadecimal digits.
    fn bytes(&mut self, name: &str, value: &[u8]) {
        match std::str::from_utf8(value) {
            Ok(text) if !text.chars().any(char::is_control) => self.text(name, text),
            Ok(_) | Err(_) => self.plain(name, crate::notation::hex(value)),
        }
    }

    fn begins(&mut self, part: &wire::Part) {
        self.plain("channel", part.channel.0);
        self.plain("partition", part.partition);
        self.flag("gap", part.gap);
        self.plain("from", part.from);
        self.plain("head", part.head);
        self.plain("count", part.count);
    }

    fn bye(&mut self, bye: &Bye<'_>) {
        self.plain("code", bye.code);
        self.text("detail", bye.detail);
    }

    fn identity(&mut self, identity: &Identity) {
        self.plain("features", identity.features.0);
        self.plain("cluster", format_args!("{:032x}", identity.cluster.0));
        self.plain("node", identity.node.0);
        self.plain("store", format_args!("{:016x}", identity.store.0));
        self.plain("incarnation", identity.incarnation.0);
        self.plain("epoch", identity.epoch.0);
    }

    fn part(&mut self, part: &Part<'_>) {
        self.flag("more", part.more);
        self.bytes("bytes", part.bytes);
    }
}
