//! What a bench found: for people as tables, for machines as one JSON document.

use super::cores::Cores;
use super::statistics::{Percentiles, Summary};
use serde::Serialize;
use std::fmt::Write;

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) version: &'static str,
    pub(super) machine: Machine,
    pub(super) body_bytes: usize,
    pub(super) pairs: usize,
    pub(super) cases: Vec<CaseReport>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub(super) kernel: String,
    pub(super) processor: String,
    pub(super) processors: usize,
    pub(super) pinned: Cores,
}

impl Machine {
    pub(super) fn here(pinned: Cores) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo").lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == "model name").then(|| value.trim().to_owned())
        });
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: processor.unwrap_or_else(|| "unknown".to_owned()),
            processors: read("/proc/cpuinfo").lines().filter(|line| line.starts_with("processor")).count(),
            pinned,
        }
    }

    /// For people.
    pub(super) fn line(&self) -> String {
        let Self { kernel, processor, processors, pinned } = self;
        let pinned = match (pinned.server, pinned.generator) {
            (Some(server), Some(generator)) => format!("servers on processor {server}, load on {generator}"),
            (Some(_) | None, _) => "nothing pinned".to_owned(),
        };
        format!("Linux {kernel}, {processors} x {processor}, {pinned}")
    }
}

/// One case.
#[derive(Debug, Serialize)]
pub(super) struct CaseReport {
    pub(super) name: String,
    pub(super) bench: &'static str,
    pub(super) subscribers: usize,
    pub(super) outstanding: usize,
    pub(super) rounds: usize,
    pub(super) seconds: f64,
    pub(super) contestants: Vec<Contestant>,
    pub(super) comparisons: Vec<Comparison>,
    /// Each node that was filled and emptied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) memory: Vec<Memory>,
}

/// Resident bytes of a node as clients come and go: RssAnon and RssShmem.
#[derive(Debug, Serialize)]
pub(super) struct Memory {
    pub(super) name: String,
    /// Clients of the two crowds.
    pub(super) few: usize,
    pub(super) many: usize,
    /// Before the two crowds came.
    pub(super) rest_bytes: u64,
    pub(super) few_bytes: u64,
    pub(super) many_bytes: u64,
    /// When all had left.
    pub(super) left_bytes: u64,
    /// A connection, between the two crowds.
    pub(super) slope_bytes: f64,
}

/// A server by itself.
#[derive(Debug, Serialize)]
pub(super) struct Contestant {
    pub(super) name: String,
    pub(super) cpu_ns_per_delivery: Option<Summary>,
    /// By read of a receiver that brought anything, which is a send unless two met in a buffer.
    pub(super) cpu_ns_per_send: Option<Summary>,
    pub(super) deliveries_per_second: Option<Summary>,
    pub(super) round_trip: Option<Percentiles>,
    pub(super) deliveries: u64,
    pub(super) receives: u64,
    pub(super) publishes: u64,
    pub(super) acks: u64,
}

/// Something with a target: one server beside another, or a quantity by itself.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    pub(super) what: String,
    pub(super) of: String,
    pub(super) to: Option<String>,
    pub(super) unit: String,
    pub(super) of_value: f64,
    pub(super) to_value: Option<f64>,
    /// The ratio, or the quantity where there is nothing beside it.
    pub(super) result: Summary,
    /// What it should not exceed.
    pub(super) target: Option<f64>,
    /// The lower end of the interval does not exceed the target.
    pub(super) met: Option<bool>,
}

impl Report {
    /// As JSON, with a line's end.
    ///
    /// # Errors
    /// A number that JSON has no form for.
    pub(super) fn json(&self) -> Result<String, String> {
        to_json(self)
    }

    /// As tables.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "multibeam {}, {}\n\
             {} B bodies; medians of {} pairs, [95 % interval of the median]\n",
            self.version,
            self.machine.line(),
            self.body_bytes,
            self.pairs,
        );
        for case in &self.cases {
            let rounds =
                if case.rounds > 0 { format!("{} rounds a turn, ", case.rounds) } else { String::new() };
            let _ = writeln!(text, "\n{} ({rounds}{:.0} s)", case.name, case.seconds);
            let tables = [contestant_rows(&case.contestants), comparison_rows(&case.comparisons)];
            let tables: Vec<String> =
                tables.iter().map(|rows| table(rows)).filter(|it| !it.is_empty()).collect();
            text.push_str(&tables.join("\n"));
        }
        text
    }
}

/// A document of its own, with a line's end.
pub(super) fn to_json(report: &impl Serialize) -> Result<String, String> {
    let text = serde_json::to_string_pretty(report).map_err(|error| format!("can't write JSON: {error}"))?;
    Ok(text + "\n")
}

fn contestant_rows(contestants: &[Contestant]) -> Vec<Vec<String>> {
    if contestants.is_empty() {
        return Vec::new();
    }
    let with_times = contestants.iter().any(|it| it.round_trip.is_some());
    let mut head = vec!["", "CPU a delivery", "CPU a send", "deliveries a send", "deliveries/s", "delivered"];
    if with_times {
        head.extend(["p50", "p99", "p999"]);
    }
    let mut rows = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for it in contestants {
        let median = |summary: &Option<Summary>, unit: &str| match summary {
            Some(summary) => format!("{:.0}{unit}", summary.median),
            None => "-".to_owned(),
        };
        let mut row = vec![
            it.name.clone(),
            median(&it.cpu_ns_per_delivery, " ns"),
            median(&it.cpu_ns_per_send, " ns"),
            format!("{:.1}", it.deliveries as f64 / it.receives.max(1) as f64),
            median(&it.deliveries_per_second, ""),
            format!("{}", it.deliveries),
        ];
        if let Some(times) = &it.round_trip {
            row.extend([times.p50_ns, times.p99_ns, times.p999_ns].map(|ns| format!("{:.1} us", ns / 1e3)));
        }
        rows.push(row);
    }
    rows
}

fn comparison_rows(comparisons: &[Comparison]) -> Vec<Vec<String>> {
    if comparisons.is_empty() {
        return Vec::new();
    }
    let head = ["", "of", "to", "result", "interval", "target", ""];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for it in comparisons {
        let Summary { median, low, high, .. } = it.result;
        let value = |value: f64| format!("{value:.0} {}", it.unit);
        let number = |value: f64| if it.to.is_some() { format!("{value:.3}") } else { format!("{value:.0}") };
        let named = |name: &str, amount: f64| format!("{name}: {}", value(amount));
        rows.push(vec![
            it.what.clone(),
            named(&it.of, it.of_value),
            it.to.as_ref().zip(it.to_value).map_or_else(String::new, |(name, amount)| named(name, amount)),
            number(median),
            format!("[{}, {}]", number(low), number(high)),
            it.target.map_or_else(|| "-".to_owned(), |target| format!("{target}")),
            match it.met {
                Some(true) => "met".to_owned(),
                Some(false) => "not met".to_owned(),
                None => String::new(),
            },
        ]);
    }
    rows
}

/// Columns as wide as they must be: names to the left, numbers to the right.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = width(column);
            let _ =
                if column == 0 { write!(line, "  {cell:<width$}") } else { write!(line, "  {cell:>width$}") };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_a_column_end_at_one_place() {
        let rows = [vec!["a".to_owned(), "1".to_owned()], vec!["long".to_owned(), "23".to_owned()]];
        assert_eq!(table(&rows), "  a      1\n  long  23\n");
        assert_eq!(table(&[]), "");
    }
}
