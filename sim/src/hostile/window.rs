//! A client with a window of nothing, then next to nothing: it holds the node to it (P7).

use super::raw::{Got, Raw};
use crate::random::Random;
use multibeam_wire::{CloseCode, Payload, Seq};
use std::time::Duration;

/// Bytes of the window unit that this client asks for.
const UNIT: u32 = 16;

/// What the client said, as far as the node may go by it.
#[derive(Clone, Copy, Debug)]
struct Said {
    acked: Seq,
    window_bytes: u32,
}

/// Deliveries against what was granted.
#[derive(Debug, Default)]
struct Ledger {
    said: Vec<Said>,
    deliveries: Vec<(Seq, u32)>,
}

impl Ledger {
    fn say(&mut self, acked: Seq, window: u16) {
        self.said.push(Said { acked, window_bytes: u32::from(window) * UNIT });
    }

    /// Whether the node could send this by anything it was told.
    fn take(&mut self, seq: Seq, bytes: u32) -> bool {
        let allowed = self.said.iter().rev().any(|said| {
            let before: u32 = self
                .deliveries
                .iter()
                .rev()
                .take_while(|(seq, _)| said.acked.distance(*seq) > 0)
                .map(|(_, bytes)| bytes)
                .sum();
            if before == 0 { said.window_bytes > 0 } else { before + bytes <= said.window_bytes }
        });
        self.deliveries.push((seq, bytes));
        allowed
    }
}

pub(super) async fn act(raw: &mut Raw, random: &mut Random) {
    raw.end.excused = true;
    let mut ledger = Ledger::default();
    ledger.say(Seq(0), 0);
    let mut bytes = raw.hello(random.number(), 0);
    bytes.extend(raw.subscribe(random.length(0..=9), 0));
    raw.send(&bytes).await;
    let mut window = 0;
    for round in 0..random.range(8..=20) {
        let mut broken = None;
        let over = raw
            .listen(Duration::from_millis(100), |got| {
                if let Got::Delivery { seq, payload_bytes } = got
                    && !ledger.take(*seq, *payload_bytes)
                {
                    broken =
                        Some(format!("{payload_bytes} bytes in {seq:?} against {:?}", ledger.said.last()));
                }
            })
            .await;
        if let Some(detail) = broken {
            raw.world.fail("P7", format!("hostile {}: {detail}", raw.end.who));
        }
        if over {
            return;
        }
        if round >= 3 {
            window = random.pick(&[window, window, 1, 4, 64]).max(window);
        }
        ledger.say(raw.seen, window);
        let update = raw.frame(&Payload::WindowUpdate, window);
        raw.send(&update).await;
    }
    let bye = raw.frame(&Payload::bye(CloseCode::Normal), window);
    raw.send(&bye).await;
    raw.listen(Duration::from_secs(2), |_| {}).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_may_come_before_it_is_granted() {
        let mut ledger = Ledger::default();
        ledger.say(Seq(0), 0);
        assert!(!ledger.take(Seq(1), 1));
    }

    #[test]
    fn one_of_any_size_may_come_when_nothing_is_in_flight() {
        let mut ledger = Ledger::default();
        ledger.say(Seq(0), 1);
        assert!(ledger.take(Seq(1), 500));
        assert!(!ledger.take(Seq(2), 1));
        ledger.say(Seq(2), 1);
        assert!(ledger.take(Seq(3), 8));
        assert!(ledger.take(Seq(4), 8));
        assert!(!ledger.take(Seq(5), 1));
    }
}
