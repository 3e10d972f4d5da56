//! Where everything of a [`Timeline`] goes in its picture.
//!
//! ```text
//!   what it is, what went wrong, legend
//!   ┌ names ┬── the whole run ──────┬─ the last second (of a run that failed) ─┐
//!   │ node  │ a row a lane          │                                          │
//!   │ client│                       │                                          │
//!   │ …     │                       │                                          │
//!   │ network a row a fault            │                                          │
//!   └───────┴── seconds ────────────┴──────────────────────────────────────────┘
//! ```

mod header;
mod look;
mod panel;

use super::svg::Svg;
use super::{FAULTS_MAX, Lane, NetworkFault, SPANS_MAX, Span, Timeline, Track};
use header::Header;
use look::{class_of_fault, class_of_state, short};
use panel::{Axis, Tenths};

/// Pixels of the column of names.
const NAMES_WIDTH: u64 = 170;
/// Pixels of a second, where the run is neither very short nor very long.
const SECOND_WIDTH: u64 = 56;
/// Narrower, and the words of a short run find no place.
const RUN_WIDTH_MIN: u64 = 760;
/// Wider, and nobody finds his way; a minute has 48 pixels a second.
const RUN_WIDTH_MAX: u64 = 2_880;
/// How much of the end is also shown larger: some leases, whose length is 150 to 500 ms.
const END_MS: u64 = 1_000;
/// Pixels of that.
const END_WIDTH: u64 = 520;
/// Pixels between the two, and on the right.
const GAP: u64 = 36;
/// Pixels of a failed run's last states, in words.
const LAST_WIDTH: u64 = 150;

const BAR: u64 = 14;
const ROW: u64 = 18;
/// Between two nodes.
const GROUP_GAP: u64 = 12;
const TEXT_LINE: u64 = 16;

/// Width of a letter, on average, in a font that is rather wide.
const LETTER_TENTHS: u64 = 68;

impl Timeline {
    /// A picture of it, for a browser. The same timeline gives the same bytes.
    #[must_use]
    pub fn svg(&self) -> String {
        Picture::new(self).draw()
    }

    /// What came of the run, in a line.
    fn headline(&self) -> String {
        let seed = self.seed;
        match self.failures.first() {
            Some(failure) => format!("seed {seed}: {} at {}", failure.oracle, seconds(self.end_ms)),
            None => format!("seed {seed}: clean, {}", seconds(self.end_ms)),
        }
    }
}

fn seconds(at_ms: u64) -> String {
    format!("{}.{:03} s", at_ms / 1000, at_ms % 1000)
}

/// Row of a lane in its group; a failing disk is a strip in the row of the process.
const fn row(lane: Lane) -> u64 {
    match lane {
        Lane::Process | Lane::Disk | Lane::Session => 0,
        Lane::Lease | Lane::Publish => 1,
        Lane::View => 2,
        Lane::Consensus => 3,
    }
}

/// Names of the rows of a node or client.
fn rows(track: &Track) -> &'static [&'static str] {
    if track.rate_ppm.is_some() {
        &["process", "lease", "view", "consensus"]
    } else {
        &["session", "publishes"]
    }
}

/// What a node or client takes.
fn group(track: &Track) -> u64 {
    rows(track).len() as u64 * ROW + GROUP_GAP
}

struct Picture<'a> {
    timeline: &'a Timeline,
    svg: Svg,
    /// The whole run; and its end, if that is shown too.
    axes: Vec<Axis>,
    width: u64,
    /// Where the nodes begin.
    top: u64,
}

impl<'a> Picture<'a> {
    fn new(timeline: &'a Timeline) -> Self {
        let end_ms = timeline.end_ms.max(1);
        let width = (end_ms * SECOND_WIDTH / 1000).clamp(RUN_WIDTH_MIN, RUN_WIDTH_MAX);
        let mut axes = vec![Axis { left: NAMES_WIDTH, width, from_ms: 0, until_ms: end_ms }];
        if !timeline.failures.is_empty() && end_ms > 2 * END_MS {
            let left = NAMES_WIDTH + width + GAP;
            axes.push(Axis { left, width: END_WIDTH, from_ms: end_ms - END_MS, until_ms: end_ms });
        }
        let right = if timeline.failures.is_empty() { GAP } else { LAST_WIDTH };
        let width = axes.last().map_or(0, |axis| axis.left + axis.width) + right;
        Self { timeline, svg: Svg::default(), axes, width, top: 0 }
    }

    fn draw(mut self) -> String {
        let header = Header::new(self.timeline, self.width);
        // Names of the axes, of the two lines across, and of the seconds; each has a line.
        self.top = header.height + 4 * TEXT_LINE + GROUP_GAP;
        let height = self.bottom() + 2 * TEXT_LINE;
        let view = format!("0 0 {} {height}", self.width);
        self.svg.begin(
            "svg",
            &[
                ("xmlns", &"http://www.w3.org/2000/svg"),
                ("width", &self.width),
                ("height", &height),
                ("viewBox", &view),
                ("role", &"img"),
                ("font-family", &"system-ui, sans-serif"),
                ("font-size", &11),
            ],
        );
        self.svg.words("title", &[], &self.timeline.headline());
        look::definitions(&mut self.svg);
        self.svg.empty("rect", &[("class", &"paper"), ("width", &self.width), ("height", &height)]);
        header.draw(&mut self.svg);
        self.grid();
        let mut y = self.top;
        for track in &self.timeline.tracks {
            self.track(track, y);
            y += group(track);
        }
        self.faults(y);
        self.lines();
        self.svg.end();
        self.svg.finish()
    }

    /// Where the rows end.
    fn bottom(&self) -> u64 {
        let timeline = self.timeline;
        let faults = timeline.faults.len() as u64 + u64::from(timeline.faults_left_out);
        self.top + timeline.tracks.iter().map(group).sum::<u64>() + faults * ROW
    }

    fn grid(&mut self) {
        let (top, bottom) = (self.top, self.bottom());
        let timeline = self.timeline;
        let mut y = top - GROUP_GAP / 2;
        for (index, track) in timeline.tracks.iter().enumerate() {
            let height = group(track);
            if index % 2 == 0 {
                self.svg.empty(
                    "rect",
                    &[("class", &"band"), ("y", &y), ("width", &self.width), ("height", &height)],
                );
            }
            y += height;
        }
        if !timeline.failures.is_empty() {
            let (x, y) = (self.width - LAST_WIDTH + 8, top - 3 * TEXT_LINE - GROUP_GAP);
            self.svg.words("text", &[("class", &"name"), ("x", &x), ("y", &y)], "at the end");
        }
        let names = if self.axes.len() > 1 { ["the whole run", "its last second"] } else { ["", ""] };
        for (axis, name) in self.axes.iter().zip(names) {
            let y = top - 3 * TEXT_LINE - GROUP_GAP;
            self.svg.words("text", &[("class", &"name"), ("x", &axis.left), ("y", &y)], name);
            for (at_ms, words) in axis.ticks() {
                let x = axis.x(at_ms);
                self.svg.empty(
                    "line",
                    &[
                        ("class", &"grid"),
                        ("x1", &x),
                        ("x2", &x),
                        ("y1", &(top - GROUP_GAP / 2)),
                        ("y2", &bottom),
                    ],
                );
                for y in [top - GROUP_GAP, bottom + TEXT_LINE] {
                    self.svg.words("text", &[("class", &"tick"), ("x", &x), ("y", &y)], &words);
                }
            }
        }
    }

    fn track(&mut self, track: &Track, top: u64) {
        self.svg.begin("g", &[]);
        self.svg.words("text", &[("class", &"name"), ("x", &16), ("y", &(top + 12))], &track.name);
        if let Some(rate_ppm) = track.rate_ppm {
            let clock = format!("clock {}.{:02} %", rate_ppm / 10_000, rate_ppm / 100 % 100);
            self.svg.words("text", &[("class", &"quiet"), ("x", &16), ("y", &(top + 12 + ROW))], &clock);
        }
        for (lane, &name) in (0..).zip(rows(track)) {
            let (x, y) = (NAMES_WIDTH - 8, top + lane * ROW + 11);
            self.svg.words("text", &[("class", &"lane"), ("x", &x), ("y", &y)], name);
        }
        for axis in self.axes.clone() {
            // A strip on top of what its row has else.
            let (over, under): (Vec<&Span>, Vec<&Span>) =
                track.spans.iter().partition(|span| span.state.lane() == Lane::Disk);
            for span in under.into_iter().chain(over) {
                self.span(&axis, track, span, top);
            }
            if let Some(full_ms) = track.full_ms {
                self.full(&axis, full_ms, top + (rows(track).len() as u64 - 1) * ROW);
            }
        }
        if !self.timeline.failures.is_empty() {
            let x = self.width - LAST_WIDTH + 8;
            for state in &track.last {
                let y = top + row(state.lane()) * ROW + 11;
                // In the row of the process there is one line for both.
                let y = if state.lane() == Lane::Disk { y - TEXT_LINE } else { y };
                self.svg.words("text", &[("x", &x), ("y", &y)], &state.words());
            }
        }
        self.svg.end();
    }

    fn span(&mut self, axis: &Axis, track: &Track, span: &Span, top: u64) {
        let Some((x, width)) = axis.place(span.from_ms, span.until_ms) else { return };
        let lane = span.state.lane();
        let mut y = top + row(lane) * ROW;
        let mut height = BAR;
        if lane == Lane::Disk {
            (y, height) = (y + BAR - 5, 5);
        }
        let mut told =
            format!("{}: {}, {}", track.name, span.state.words(), during(span.from_ms, span.until_ms));
        if let (Lane::Lease, Some(rate_ppm)) = (lane, track.rate_ppm) {
            let shown = |at_ms: u64| seconds(at_ms * rate_ppm / 1_000_000);
            told += &format!("; its own clock: {} to {}", shown(span.from_ms), shown(span.until_ms));
        }
        let labels =
            if lane == Lane::Disk { Vec::new() } else { vec![span.state.words(), short(span.state)] };
        self.bar(class_of_state(span.state), (x, width), (y, height), &told, &labels);
        if lane == Lane::View && axis.shows(span.from_ms) {
            self.svg.empty(
                "line",
                &[("class", &"epoch"), ("x1", &x), ("x2", &x), ("y1", &(y - 2)), ("y2", &(y + height))],
            );
        }
    }

    /// A bar with a title, and with the first of `labels` that finds room in it. Whether one did.
    fn bar(
        &mut self,
        class: &str,
        (x, width): (Tenths, Tenths),
        (y, height): (u64, u64),
        told: &str,
        labels: &[String],
    ) -> bool {
        self.svg.begin("g", &[]);
        self.svg.words("title", &[], told);
        self.svg.empty(
            "rect",
            &[("class", &class), ("x", &x), ("y", &y), ("width", &width), ("height", &height)],
        );
        let label = labels.iter().find(|label| letters(label) + 60 <= width.0);
        if let Some(label) = label {
            let at = Tenths(x.0 + 30);
            self.svg.words("text", &[("class", &"in"), ("x", &at), ("y", &(y + 11))], label);
        }
        self.svg.end();
        label.is_some()
    }

    /// From `full_ms` on nothing is known.
    fn full(&mut self, axis: &Axis, full_ms: u64, y: u64) {
        let Some((x, width)) = axis.place(full_ms, axis.until_ms) else { return };
        let long = format!("{SPANS_MAX} spans are kept: nothing that began after {}", seconds(full_ms));
        let labels = [long.clone(), "full".to_owned()];
        self.bar("full", (x, width), (y, BAR), &long, &labels);
    }

    fn faults(&mut self, top: u64) {
        let timeline = self.timeline;
        if timeline.faults.is_empty() {
            return;
        }
        self.svg.words("text", &[("class", &"name"), ("x", &16), ("y", &(top + 11))], "network");
        for (at, fault) in (0..).zip(&timeline.faults) {
            for axis in self.axes.clone() {
                self.fault(&axis, fault, top + at * ROW);
            }
        }
        if timeline.faults_left_out {
            let y = top + timeline.faults.len() as u64 * ROW + 11;
            let words = format!("{FAULTS_MAX} faults of the network are kept: more began");
            self.svg.words("text", &[("class", &"quiet"), ("x", &(NAMES_WIDTH + 4)), ("y", &y)], &words);
        }
    }

    fn fault(&mut self, axis: &Axis, fault: &NetworkFault, y: u64) {
        let Some((x, width)) = axis.place(fault.from_ms, fault.until_ms) else { return };
        let missed = if fault.hit { "" } else { " (found nobody when it began)" };
        let words = format!("{}{missed}", fault.words);
        let told = format!("{words}, {}", during(fault.from_ms, fault.until_ms));
        let class = format!("{}{}", class_of_fault(fault.kind), if fault.hit { "" } else { " missed" });
        if self.bar(&class, (x, width), (y, BAR), &told, std::slice::from_ref(&words)) {
            return;
        }
        let right = Tenths(x.0 + width.0 + 40);
        let (class, at) = if right.0 + letters(&words) < (axis.left + axis.width) * 10 {
            ("beside", right)
        } else {
            ("before", Tenths(x.0.saturating_sub(40)))
        };
        self.svg.words("text", &[("class", &class), ("x", &at), ("y", &(y + 11))], &words);
    }

    /// What cuts across all rows.
    fn lines(&mut self) {
        let timeline = self.timeline;
        for axis in self.axes.clone() {
            if let Some(healed_ms) = timeline.healed_ms {
                let words = format!("faults end at {}", seconds(healed_ms));
                self.line(&axis, "healed", healed_ms, self.top - 2 * TEXT_LINE - GROUP_GAP, &words, &words);
            }
            if let Some(failure) = timeline.failures.first() {
                let words = format!("{} at {}", failure.oracle, seconds(timeline.end_ms));
                let told = format!("{words}: {}", failure.detail);
                self.line(&axis, "failure", timeline.end_ms, self.top - TEXT_LINE - GROUP_GAP, &words, &told);
            }
        }
    }

    fn line(&mut self, axis: &Axis, class: &str, at_ms: u64, y: u64, words: &str, told: &str) {
        if !axis.shows(at_ms) {
            return;
        }
        let (x, bottom) = (axis.x(at_ms), self.bottom());
        self.svg.begin("g", &[("class", &class)]);
        self.svg.words("title", &[], told);
        self.svg.empty("line", &[("x1", &x), ("x2", &x), ("y1", &(y + 4)), ("y2", &bottom)]);
        let near_left = x.0 < axis.left * 10 + letters(words);
        let anchor = if near_left { "start" } else { "end" };
        self.svg.words("text", &[("x", &x), ("y", &y), ("text-anchor", &anchor)], words);
        self.svg.end();
    }
}

fn during(from_ms: u64, until_ms: u64) -> String {
    format!("{} to {} ({} ms)", seconds(from_ms), seconds(until_ms), until_ms - from_ms)
}

/// How wide a text is, in tenths of a pixel.
fn letters(text: &str) -> u64 {
    text.chars().count() as u64 * LETTER_TENTHS
}
