//! Samples of contenders that took turns; medians, quartiles and ratios of them; text and JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// What one contender did in one table, a sample a round.
#[derive(Debug)]
pub(crate) struct Samples {
    pub(crate) name: &'static str,
    /// Nanoseconds of wall time a message.
    pub(crate) wall: Vec<f64>,
    /// Nanoseconds of processor time a message, all threads together.
    pub(crate) cpu: Vec<f64>,
    /// Further figures, each of which the table names.
    pub(crate) notes: Vec<(&'static str, f64)>,
}

impl Samples {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, wall: Vec::new(), cpu: Vec::new(), notes: Vec::new() }
    }

    /// A round: totals of a turn of so many messages. Not counted if something else ran on our cores
    /// for more than a little of it; its place stays, so that rounds can be compared.
    pub(crate) fn round(&mut self, wall: u64, cpu: u64, messages: u64, is_undisturbed: bool) {
        let each = |ns: u64| if is_undisturbed { ns as f64 / messages as f64 } else { f64::NAN };
        self.wall.push(each(wall));
        self.cpu.push(each(cpu));
    }

    fn rounds(&self) -> usize {
        self.wall.iter().filter(|sample| !sample.is_nan()).count()
    }
}

/// Contenders under the same load. The first one is ours.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) rows: Vec<Samples>,
}

impl Table {
    /// The median of a contender, by name.
    pub(crate) fn median(&self, name: &str) -> f64 {
        let row = self.rows.iter().find(|row| row.name == name).expect("a contender of the table");
        quantile(&row.wall, 0.5)
    }

    /// A further figure of a contender, by their names.
    pub(crate) fn note(&self, name: &str, note: &str) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.name == name)?;
        row.notes.iter().find(|(known, _)| *known == note).map(|(_, value)| *value)
    }
}

/// Everything that was measured, in the order in which it was.
#[derive(Debug)]
pub(crate) struct Report {
    filter: String,
    ping_pong_ns: Vec<f64>,
    tables: Vec<Table>,
    verdicts: Vec<String>,
}

impl Report {
    /// An empty one, that wants tables whose title has the word.
    pub(crate) fn new(filter: String) -> Self {
        Self { filter, ping_pong_ns: Vec::new(), tables: Vec::new(), verdicts: Vec::new() }
    }

    pub(crate) fn wants(&self, title: &str) -> bool {
        title.contains(&self.filter)
    }

    pub(crate) fn ping_pong(&mut self, ns: f64) {
        self.ping_pong_ns.push(ns);
    }

    /// A line on what was wanted and what came out.
    pub(crate) fn verdict(&mut self, line: String) {
        self.verdicts.push(line);
    }

    /// Adds a table, with a verdict if there is somebody to compare with.
    pub(crate) fn table(&mut self, table: Table) {
        let rivals =
            table.rows[1..].iter().filter(|row| !row.name.starts_with("ours") && !row.name.starts_with('('));
        let best =
            rivals.map(|row| (ratio(row, &table.rows[0]), row.name)).min_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((ratio, name)) = best {
            // What differs by less than that differs from run to run as well.
            const NOISE: f64 = 0.03;
            let word = match ratio {
                ratio if ratio.is_nan() => "too disturbed to tell",
                ratio if ratio >= 1.0 + NOISE => "faster",
                ratio if ratio >= 1.0 - NOISE => "as fast",
                _ => "SLOWER",
            };
            self.verdicts.push(format!("{}: best other ({name}) / ours = {ratio:.2} x: {word}", table.title));
        }
        if let Some(unpadded) = table.rows.iter().find(|row| row.name.ends_with(" unpadded")) {
            let gain = ratio(unpadded, &table.rows[0]);
            self.verdicts.push(format!("{}: padding gains {gain:.2} x (article: 2.3 x)", table.title));
        }
        self.tables.push(table);
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let ping_pong: Vec<_> = self.ping_pong_ns.iter().map(|ns| format!("{ns:.0} ns")).collect();
        let _ =
            writeln!(text, "ping-pong of the two cores, one way, first and last: {}\n", ping_pong.join(", "));
        for table in &self.tables {
            let _ = writeln!(text, "{}", table.title);
            let _ = writeln!(
                text,
                "  {:<22}{:>10}{:>18}{:>10}{:>10}{:>8}",
                "", "ns/msg", "quartiles", "cpu ns", "/ ours", "rounds"
            );
            for row in &table.rows {
                let quartiles =
                    format!("{:.1} .. {:.1}", quantile(&row.wall, 0.25), quantile(&row.wall, 0.75));
                let _ = write!(
                    text,
                    "  {:<22}{:>10.1}{:>18}{:>10.1}{:>9.2}x{:>8}",
                    row.name,
                    quantile(&row.wall, 0.5),
                    quartiles,
                    quantile(&row.cpu, 0.5),
                    ratio(row, &table.rows[0]),
                    row.rounds()
                );
                for (name, value) in &row.notes {
                    let _ = write!(text, "  {name} {value:.1}");
                }
                text.push('\n');
            }
            text.push('\n');
        }
        for verdict in &self.verdicts {
            let _ = writeln!(text, "{verdict}");
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let tables = self.tables.iter().map(|table| {
            let rows = table.rows.iter().map(|row| {
                let notes: serde_json::Map<_, _> =
                    row.notes.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
                json!({
                    "name": row.name,
                    "wall_ns_quartiles": ([0.25, 0.5, 0.75].map(|at| quantile(&row.wall, at))),
                    "cpu_ns_median": quantile(&row.cpu, 0.5),
                    "ratio_to_ours": ratio(row, &table.rows[0]),
                    "rounds": row.rounds(),
                    "notes": notes,
                })
            });
            json!({ "title": table.title, "rows": rows.collect::<Vec<_>>() })
        });
        json!({
            "ping_pong_ns": self.ping_pong_ns,
            "tables": tables.collect::<Vec<_>>(),
            "verdicts": self.verdicts,
        })
    }
}

/// How many times our time a contender takes: the median over rounds, of which each is one moment of
/// the machine, or the ratio of the medians if too few rounds counted for both.
pub(crate) fn ratio(row: &Samples, ours: &Samples) -> f64 {
    const ROUNDS_MIN: usize = 7;
    let ratios = row.wall.iter().zip(&ours.wall).map(|(other, ours)| other / ours);
    let ratios: Vec<_> = ratios.filter(|ratio| !ratio.is_nan()).collect();
    if ratios.len() < ROUNDS_MIN {
        return quantile(&row.wall, 0.5) / quantile(&ours.wall, 0.5);
    }
    quantile(&ratios, 0.5)
}

/// By nearest rank. Samples that are not a number count as missing; the result is none if all are.
pub(crate) fn quantile(samples: &[f64], at: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.retain(|sample| !sample.is_nan());
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len().saturating_sub(1)) as f64 * at;
    sorted.get(rank.round() as usize).copied().unwrap_or(f64::NAN)
}
