//! Medians, quartiles, and ratios to the copy that ran in the same rounds; text and JSON.

use crate::load::{Kind, Place};
use crate::turns::Contender;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What one contender did, a sample a round.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) contender: Contender,
    /// Nanoseconds a frame.
    pub(crate) samples: Vec<f64>,
}

impl Row {
    pub(crate) fn new(contender: Contender) -> Self {
        Self { contender, samples: Vec::new() }
    }

    fn quartiles(&self) -> [f64; 3] {
        quartiles(self.samples.clone())
    }

    /// Median of the ratios round by round: what disturbs both leaves it alone.
    fn ratio_to(&self, other: &Self) -> f64 {
        quartiles(self.samples.iter().zip(&other.samples).map(|(ours, theirs)| ours / theirs).collect())[1]
    }
}

fn quartiles(mut samples: Vec<f64>) -> [f64; 3] {
    samples.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| samples[(samples.len() - 1) * quarter / 4])
}

#[derive(Debug)]
struct Table {
    title: String,
    rows: Vec<Row>,
}

impl Table {
    fn copy(&self) -> &Row {
        self.rows.iter().find(|row| row.contender == Contender::CopyEach).expect("a copy in each table")
    }
}

/// All that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    tables: Vec<Table>,
}

impl Report {
    pub(crate) fn add(&mut self, kind: &Kind, place: Place, rows: Vec<Row>) {
        self.tables.push(Table { title: format!("{}, {}", kind.name(), place.name()), rows });
    }

    pub(crate) fn text(&self) -> String {
        let mut text =
            String::from("ns a frame: median (quartiles), and how often as long as \"memcpy each\"\n\n");
        write!(text, "{:<24}", "").unwrap();
        for contender in Contender::ALL {
            write!(text, "{:>27}", contender.name()).unwrap();
        }
        for table in &self.tables {
            write!(text, "\n{:<24}", table.title).unwrap();
            for row in &table.rows {
                let [low, median, high] = row.quartiles();
                let ratio = row.ratio_to(table.copy());
                write!(text, "{:>27}", format!("{median:.1} ({low:.1}-{high:.1}) {ratio:.1}x")).unwrap();
            }
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let row = |table: &Table, row: &Row| {
            let [low, median, high] = row.quartiles();
            json!({
                "name": row.contender.name(),
                "ns_a_frame": { "p25": low, "p50": median, "p75": high },
                "ratio_to_memcpy_each": row.ratio_to(table.copy()),
            })
        };
        let table = |table: &Table| {
            let rows: Vec<_> = table.rows.iter().map(|each| row(table, each)).collect();
            json!({ "title": table.title, "rows": rows })
        };
        json!({ "tables": self.tables.iter().map(table).collect::<Vec<_>>() })
    }
}
