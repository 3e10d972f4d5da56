//! A client that speaks the wire protocol by hand, over one blocking or asynchronous stream.

use multibeam_wire::{Hello, Payload, ProducerId, Seq, Start, Subscribe, SubscriptionId, WindowUnit};

/// HELLO with a window of `window` units of 1 KiB.
pub(crate) fn hello(window: u16, producer: u128, out: &mut Vec<u8>) {
    let hello = Hello {
        features: multibeam_wire::Features::NONE,
        window_unit_log2: u64::from(WindowUnit::DEFAULT.log2()),
        producer: ProducerId(producer),
        agent: "example",
        system_after: None,
    };
    Payload::Hello(hello).encode(Seq(0), Seq(0), window, out);
}

/// The session's first sequenced frame: a subscription to the next messages of `topic`.
pub(crate) fn subscribe(topic: &str, window: u16, out: &mut Vec<u8>) {
    let subscribe = Subscribe { subscription: SubscriptionId(1), topic, start: Start::New };
    Payload::Subscribe(subscribe).encode(Seq(1), Seq(0), window, out);
}
