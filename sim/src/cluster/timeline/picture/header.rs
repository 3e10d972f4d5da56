//! What stands above the rows: what came of the run, what went wrong, and what the bars mean.

use super::look::{CLASSES, class_of_fault, class_of_state};
use super::{LETTER_TENTHS, TEXT_LINE, letters};
use crate::cluster::timeline::Timeline;
use crate::cluster::timeline::svg::Svg;

/// Failures that are written out.
const FAILURES_SHOWN: usize = 3;
/// Lines of each.
const FAILURE_LINES: usize = 6;
/// Letters of a line: what an eye follows, in wider pictures too.
const FAILURE_LETTERS: usize = 160;

const MARGIN: u64 = 16;
const LEGEND_LINE: u64 = 18;

/// Words and bars by their places.
pub(super) struct Header {
    /// Class, y, words.
    lines: Vec<(&'static str, u64, String)>,
    /// Class, x, y, words.
    legend: Vec<(&'static str, u64, u64, &'static str)>,
    pub(super) height: u64,
}

impl Header {
    /// What stands above the rows of `timeline`, in a picture of that width.
    pub(super) fn new(timeline: &Timeline, width: u64) -> Self {
        let mut header = Self { lines: Vec::new(), legend: Vec::new(), height: 30 };
        header.lines.push(("headline", 26, timeline.headline()));
        let letters = ((width - 2 * MARGIN) * 10 / LETTER_TENTHS) as usize;
        for failure in timeline.failures.iter().take(FAILURES_SHOWN) {
            let words = format!("{}: {}", failure.oracle, failure.detail);
            for line in wrapped(&words, letters.min(FAILURE_LETTERS)) {
                header.height += TEXT_LINE;
                header.lines.push(("failed", header.height, line));
            }
        }
        header.height += 8;
        header.add_legend(timeline, width);
        header
    }

    /// Only what there is in the picture.
    fn add_legend(&mut self, timeline: &Timeline, width: u64) {
        let spans = timeline.tracks.iter().flat_map(|track| &track.spans);
        let mut seen: Vec<&str> = spans.map(|span| class_of_state(span.state)).collect();
        seen.extend(timeline.faults.iter().map(|fault| class_of_fault(fault.kind)));
        let mut x = MARGIN;
        for (class, words) in CLASSES.iter().filter(|(class, _)| seen.contains(class)) {
            let own = 23 + letters(words) / 10;
            if x + own > width {
                x = MARGIN;
                self.height += LEGEND_LINE;
            }
            self.legend.push((*class, x, self.height, *words));
            x += own + 12;
        }
        self.height += LEGEND_LINE;
    }

    pub(super) fn draw(&self, svg: &mut Svg) {
        for (class, y, words) in &self.lines {
            svg.words("text", &[("class", class), ("x", &MARGIN), ("y", y)], words);
        }
        for (class, x, y, words) in &self.legend {
            svg.empty(
                "rect",
                &[("class", class), ("x", x), ("y", &(y + 3)), ("width", &18), ("height", &11)],
            );
            svg.words("text", &[("x", &(x + 23)), ("y", &(y + 13))], words);
        }
    }
}

/// Words in lines of at most so many letters, and no word longer than a line; what does not fit in the last of
/// them is left out.
fn wrapped(text: &str, letters: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > letters {
            lines.push(String::new());
        }
        if let Some(last) = lines.last_mut() {
            if !last.is_empty() {
                last.push(' ');
            }
            last.extend(word.chars().take(letters));
        }
        if lines.len() > FAILURE_LINES {
            break;
        }
    }
    if lines.len() > FAILURE_LINES {
        lines.truncate(FAILURE_LINES);
        if let Some(last) = lines.last_mut() {
            last.push_str(" …");
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_told_in_lines_up_to_a_bound() {
        assert_eq!(wrapped("a broken promise", 8), ["a broken", "promise"]);
        assert_eq!(wrapped("abcdefghijkl", 8), ["abcdefgh"]);
        let long = wrapped(&"word ".repeat(1_000), 10);
        assert_eq!(long.len(), FAILURE_LINES);
        assert_eq!(long.last().map(String::as_str), Some("word word …"));
    }
}
