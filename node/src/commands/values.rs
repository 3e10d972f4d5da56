//! Values on the command line, judged before anything happens.

use multibeam_wire::{TopicFilter, TopicName};
use std::net::SocketAddr;
use std::time::Duration;

/// Longest span that a command line may give: as long as a time to live can be.
const SPAN_MAX: Duration = Duration::from_millis(u32::MAX as u64);

/// Messages a second that make sense on one connection.
const RATE_MAX: f64 = 1e7;

pub(super) fn topic(text: &str) -> Result<String, String> {
    TopicName::check(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

/// A topic is a filter as well.
pub(super) fn filter(text: &str) -> Result<String, String> {
    TopicFilter::check(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

pub(super) fn server(text: &str) -> Result<String, String> {
    let parts = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match parts.map(|(_, port)| port.parse::<u16>()) {
        Some(Ok(port)) if port > 0 => Ok(text.to_owned()),
        _ => Err("expected HOST:PORT, such as 127.0.0.1:7400".to_owned()),
    }
}

/// An address of a node on this machine or another, by number.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected IP:PORT, such as 127.0.0.1:7400".to_owned())
}

/// A number of seconds, or one with a unit: `0.5`, `200ms`, `30s`, `5m`, `2h`, `1d`.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_seconds = match unit {
        "ms" => Some(1e-3),
        "" | "s" => Some(1.0),
        "m" => Some(60.0),
        "h" => Some(3_600.0),
        "d" => Some(86_400.0),
        _ => None,
    };
    let seconds = number.parse::<f64>().ok().zip(unit_seconds).map(|(number, unit)| number * unit);
    let span = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    span.filter(|span| (Duration::from_millis(1)..=SPAN_MAX).contains(span))
        .ok_or_else(|| "expected a time from 1ms to 49d, such as 0.5, 200ms, 30s, 5m or 2h".to_owned())
}

/// Messages a second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|&rate: &f64| rate > 0.0 && rate <= RATE_MAX);
    rate.ok_or_else(|| format!("expected messages a second, above 0 and up to {RATE_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_host_and_a_port() {
        for (text, good) in [("a:1", true), ("[::1]:7400", true), ("a", false), (":1", false), ("a:0", false)]
        {
            assert_eq!(server(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn a_span_has_a_unit_or_is_in_seconds() {
        for (text, millis) in [
            ("0.5", 500),
            ("3", 3_000),
            ("200ms", 200),
            ("30s", 30_000),
            ("1.5m", 90_000),
            ("2h", 7_200_000),
            ("49d", 4_233_600_000),
        ] {
            assert_eq!(span(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "0", "-1", "nan", "inf", "1e3", "s", "3 s", "3w", "50d", "0.1ms", "1.2.3"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rate_is_above_zero_and_has_an_end() {
        for (text, good) in
            [("0.5", true), ("10000", true), ("0", false), ("-1", false), ("nan", false), ("inf", false)]
        {
            assert_eq!(rate(text).is_ok(), good, "{text}");
        }
    }
}
