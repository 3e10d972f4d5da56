//! What happened in a run, as one number: two runs of a seed are the same run if they have
//! the same one. Lines for people are kept only where they are asked for.

use std::fmt::Write as _;

/// FNV-1a's prime, with words in place of bytes and a shift that brings high bits down.
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The trace of one run.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// An empty trace; `keep` says whether lines are wanted.
    #[must_use]
    pub fn new(keep: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, events: 0, lines: keep.then(Vec::new) }
    }

    /// The number that stands for everything so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Things that happened.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The lines, if they were kept.
    pub fn take_lines(&mut self) -> Vec<String> {
        self.lines.take().unwrap_or_default()
    }

    fn word(&mut self, word: u64) {
        self.hash = (self.hash ^ word).wrapping_mul(PRIME);
        self.hash ^= self.hash >> 32;
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
        self.word(bytes.len() as u64);
    }

    /// Something happened at `time_us`, with bytes.
    pub fn record(&mut self, time_us: u64, what: &str, numbers: &[u64], bytes: &[u8]) {
        self.events += 1;
        self.word(time_us);
        self.bytes(what.as_bytes());
        for number in numbers {
            self.word(*number);
        }
        self.bytes(bytes);
        let hash = self.hash;
        if let Some(lines) = &mut self.lines {
            let mut line = format!("{hash:016x} {time_us:>9} {what}");
            for number in numbers {
                let _ = write!(line, " {number}");
            }
            if !bytes.is_empty() {
                line.push(' ');
                for byte in bytes {
                    let _ = write!(line, "{byte:02x}");
                }
            }
            lines.push(line);
        }
    }

    /// Something happened at `time_us` that has words for it.
    pub fn text(&mut self, time_us: u64, text: &str) {
        self.events += 1;
        self.word(time_us);
        self.bytes(text.as_bytes());
        let hash = self.hash;
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{hash:016x} {time_us:>9} {text}"));
        }
    }
}
