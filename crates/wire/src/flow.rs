//! The rules that both sides of a connection check alike: numbers, acknowledgements, window.
//!
//! ```text
//!   sender:    acked ─────────── sent                  newly_acked(acked, ack, sent)
//!                    in flight ≤ window                fits_window(window, in flight, next)
//!   receiver:        last ──► last + 1                 in_order(last, header)
//! ```

use crate::header::Header;
use crate::ids::Seq;
use crate::rejection::Misbehaved;

/// Checks the number of a frame when `last` is the last one received: a sequenced frame has the
/// next number, any other repeats it.
///
/// # Errors
/// [`Misbehaved::SeqBroken`].
pub fn in_order(last: Seq, header: &Header) -> Result<(), Misbehaved> {
    let expected = if header.frame_type.sequenced() { last.next() } else { last };
    if header.seq == expected { Ok(()) } else { Err(Misbehaved::SeqBroken { expected, found: header.seq }) }
}

/// How many frames a cumulative acknowledgement `ack` covers beyond `acked`, when `sent` was the
/// last one sent.
///
/// # Errors
/// [`Misbehaved::AckInvalid`] when it goes backwards or ahead of `sent`.
pub fn newly_acked(acked: Seq, ack: Seq, sent: Seq) -> Result<u32, Misbehaved> {
    let in_flight = acked.distance(sent);
    debug_assert!(in_flight >= 0, "acknowledged up to {acked:?}, sent up to {sent:?}");
    let newly = acked.distance(ack);
    if newly < 0 || newly > in_flight {
        return Err(Misbehaved::AckInvalid { acked, ack, sent });
    }
    Ok(newly.cast_unsigned())
}

/// Whether DATA with `payload_bytes` may be sent on top of `in_flight_bytes` of earlier DATA that
/// the receiver's newest `ack_seq` does not cover. While nothing is in flight, a window that is
/// not 0 lets one frame of any size through.
#[must_use]
pub const fn fits_window(window_bytes: u64, in_flight_bytes: u64, payload_bytes: u64) -> bool {
    if in_flight_bytes == 0 {
        window_bytes > 0
    } else {
        in_flight_bytes.saturating_add(payload_bytes) <= window_bytes
    }
}

/// The receiver's side of [`fits_window`].
///
/// # Errors
/// [`Misbehaved::WindowExceeded`].
pub const fn within_window(
    window_bytes: u64,
    in_flight_bytes: u64,
    payload_bytes: u64,
) -> Result<(), Misbehaved> {
    if fits_window(window_bytes, in_flight_bytes, payload_bytes) {
        Ok(())
    } else {
        Err(Misbehaved::WindowExceeded { in_flight_bytes, payload_bytes, window_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::FrameType;
    use proptest::prelude::*;

    fn header(frame_type: FrameType, seq: u32) -> Header {
        Header { frame_type, seq: Seq(seq), ack_seq: Seq(0), window: 0, len: 0 }
    }

    #[test]
    fn sequenced_frames_count_and_others_repeat() {
        assert_eq!(in_order(Seq(u32::MAX), &header(FrameType::Data, 0)), Ok(()));
        assert_eq!(in_order(Seq(7), &header(FrameType::Ack, 7)), Ok(()));
        let broken =
            |expected, found| Err(Misbehaved::SeqBroken { expected: Seq(expected), found: Seq(found) });
        assert_eq!(in_order(Seq(7), &header(FrameType::Data, 7)), broken(8, 7));
        assert_eq!(in_order(Seq(7), &header(FrameType::Data, 9)), broken(8, 9));
        assert_eq!(in_order(Seq(7), &header(FrameType::Ack, 8)), broken(7, 8));
    }

    #[test]
    fn a_window_may_be_filled_to_the_last_byte() {
        assert!(fits_window(100, 96, 4) && !fits_window(100, 97, 4));
        assert!(fits_window(1, 0, 4) && !fits_window(0, 0, 0) && !fits_window(1, 1, 1));
    }

    proptest! {
        /// Against plain numbers, wherever on the circle they lie.
        #[test]
        fn acknowledgements_cover_what_was_sent(acked: u32, in_flight in 0u32..100_000, step in -100_000i32..200_000) {
            let at = |n: i64| Seq((i64::from(acked) + n) as u32);
            let newly = newly_acked(at(0), at(step.into()), at(in_flight.into()));
            if (0..=i64::from(in_flight)).contains(&step.into()) {
                prop_assert_eq!(newly, Ok(step.cast_unsigned()));
            } else {
                prop_assert!(newly.is_err());
            }
        }

        /// A sender that asks before each frame has at most the window in flight, or one frame.
        #[test]
        fn the_window_bounds_what_is_in_flight(window in 0u64..5_000, frames in proptest::collection::vec((1u64..3_000, 0usize..3), 1..60)) {
            let mut in_flight = std::collections::VecDeque::new();
            for (payload, acked) in frames {
                let bytes: u64 = in_flight.iter().sum();
                prop_assert_eq!(fits_window(window, bytes, payload), within_window(window, bytes, payload).is_ok());
                if fits_window(window, bytes, payload) {
                    in_flight.push_back(payload);
                    prop_assert!(bytes + payload <= window || in_flight.len() == 1);
                    prop_assert!(window > 0);
                }
                in_flight.drain(..acked.min(in_flight.len()));
            }
        }
    }
}
