//! Where the messages of `pub` come from: the command line, a file, or the standard input.
//!
//! Lines are read by a thread of its own, for neither a file nor the standard input can be polled. It is
//! a few lines ahead at the most, and no line is held that is longer than a message may be.

use super::pace::Pace;
use crate::commands::Failure;
use multibeam_wire::limits::BODY_BYTES_MAX;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Lines read ahead of what was asked for. Times the longest message: 4 MiB.
const LINES_AHEAD: usize = 64;

/// What becomes of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A message.
    Body(Vec<u8>),
    /// It is longer than a message may be.
    TooLong,
}

/// Messages, paced if asked.
#[derive(Debug)]
pub(super) struct Source {
    from: From,
    pace: Option<Pace>,
    start: Instant,
}

#[derive(Debug)]
enum From {
    Repeated { body: Vec<u8>, left: u64 },
    Lines(mpsc::Receiver<io::Result<Line>>),
}

impl Source {
    /// `body`, `count` times.
    pub(super) fn repeated(body: &str, count: u64) -> Self {
        Self::new(From::Repeated { body: body.as_bytes().to_vec(), left: count })
    }

    /// The lines of the standard input.
    pub(super) fn stdin() -> Self {
        let (sender, lines) = mpsc::channel(LINES_AHEAD);
        std::thread::spawn(move || send_lines(io::stdin().lock(), &sender));
        Self::new(From::Lines(lines))
    }

    /// The lines of a file.
    pub(super) fn file(path: &Path) -> Result<Self, Failure> {
        let wrong = |error| Failure::Failed(format!("can't read {}: {error}", path.display()));
        let file = File::open(path).map_err(wrong)?;
        // A folder can be opened, but not read.
        if file.metadata().map_err(wrong)?.is_dir() {
            return Err(wrong(io::ErrorKind::IsADirectory.into()));
        }
        let (sender, lines) = mpsc::channel(LINES_AHEAD);
        std::thread::spawn(move || send_lines(BufReader::new(file), &sender));
        Ok(Self::new(From::Lines(lines)))
    }

    fn new(from: From) -> Self {
        Self { from, pace: None, start: Instant::now() }
    }

    /// At most so many a second.
    pub(super) fn paced(self, per_second: Option<f64>) -> Self {
        Self { pace: per_second.map(Pace::new), ..self }
    }

    /// How many messages there are, where that is known.
    pub(super) const fn len(&self) -> Option<u64> {
        match self.from {
            From::Repeated { left, .. } => Some(left),
            From::Lines(_) => None,
        }
    }

    /// The next message, when it may go; `None` behind the last one. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Option<io::Result<Line>> {
        if let Some(pace) = &mut self.pace {
            let now = self.start.elapsed();
            let due = pace.due(now);
            if due > now {
                tokio::time::sleep_until(self.start + due).await;
            }
        }
        let next = match &mut self.from {
            From::Repeated { left: 0, .. } => None,
            From::Repeated { body, left } => {
                *left -= 1;
                Some(Ok(Line::Body(body.clone())))
            }
            From::Lines(lines) => lines.recv().await,
        };
        if let Some(pace) = &mut self.pace {
            pace.take();
        }
        next
    }
}

/// Why a line is no message.
pub(super) fn too_long() -> String {
    format!("the line is too long: a message has at most {BODY_BYTES_MAX} bytes")
}

fn send_lines(mut reader: impl BufRead, sender: &mpsc::Sender<io::Result<Line>>) {
    loop {
        let line = match next_line(&mut reader) {
            Ok(None) => return,
            Ok(Some(line)) => Ok(line),
            Err(error) => Err(error),
        };
        let last = line.is_err();
        if sender.blocking_send(line).is_err() || last {
            return;
        }
    }
}

/// A line without its end; `None` at the end of all.
fn next_line(reader: &mut impl BufRead) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let most = BODY_BYTES_MAX as u64 + 1;
    if reader.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() > BODY_BYTES_MAX {
        reader.skip_until(b'\n')?;
        return Ok(Some(Line::TooLong));
    }
    Ok(Some(Line::Body(line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_bytes_and_have_a_longest() {
        let longest = vec![b'x'; BODY_BYTES_MAX];
        let mut text = b"one\n\n\xff\r\n".to_vec();
        text.extend_from_slice(&longest);
        text.extend_from_slice(b"\nx");
        text.extend_from_slice(&longest);
        text.extend_from_slice(b" and more\nlast");
        // A reader that hands out a few bytes at a time.
        let mut reader = BufReader::with_capacity(7, &text[..]);
        let mut found = Vec::new();
        while let Some(line) = next_line(&mut reader).unwrap() {
            found.push(line);
        }
        let body = |bytes: &[u8]| Line::Body(bytes.to_vec());
        let expected =
            [body(b"one"), body(b""), body(b"\xff\r"), body(&longest), Line::TooLong, body(b"last")];
        assert_eq!(found, expected);
    }
}
