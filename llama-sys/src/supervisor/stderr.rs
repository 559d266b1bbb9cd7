//! A worker's standard error: its lines go to the log under the model's name, as many as a log
//! can take, and the last ones are kept as the cause of a death.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;

#[cfg(test)]
mod tests;

/// Bytes of a line at most; the rest of it is dropped.
const LINE_BYTES: usize = 1024;

/// Lines logged a second at most: llama.cpp says some hundreds while it loads, and a worker
/// gone wild must not fill its owner's disk.
const LINES_PER_SECOND: u32 = 500;

/// Lines kept.
const KEPT_LINES: usize = 16;

/// Bytes of a cause at most: it stands in a state that people read.
const CAUSE_BYTES: usize = 400;

/// Words by which a line is known to say why a process died.
const TELLING: [&str; 8] = [
    "GGML_ASSERT",
    "GGML_ABORT",
    "panicked",
    "terminate",
    "what():",
    "allocat",
    "error",
    "failed",
];

/// The last lines that a worker wrote.
#[derive(Debug, Clone, Default)]
pub(super) struct LastLines(Arc<Mutex<VecDeque<String>>>);

impl LastLines {
    fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    /// The last line that says why, else the last line.
    pub(super) fn cause(&self) -> Option<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tells = |line: &&String| TELLING.iter().any(|word| line.contains(word));
        let line = lines.iter().rev().find(tells).or(lines.back())?;
        let end = line.floor_char_boundary(CAUSE_BYTES);
        Some(line[..end].to_owned())
    }
}

/// Reads until the worker has closed it.
pub(super) async fn run(model: String, mut stream: impl AsyncRead + Unpin, last: LastLines) {
    let mut splitter = Splitter::default();
    let mut budget = Budget::new(Instant::now());
    let mut chunk = vec![0; 8 << 10];
    while let Ok(read) = stream.read(&mut chunk).await {
        if read == 0 {
            break;
        }
        for line in splitter.push(&chunk[..read]) {
            last.push(&line);
            match budget.take(Instant::now()) {
                Take::Log => tracing::debug!(target: "shoal::worker", %model, "{line}"),
                Take::LogAfter(0) | Take::Drop => {}
                Take::LogAfter(dropped) => {
                    tracing::warn!(target: "shoal::worker", %model, dropped, "lines of the worker were dropped");
                }
            }
        }
    }
    if let Some(line) = splitter.rest() {
        last.push(&line);
        tracing::debug!(target: "shoal::worker", %model, "{line}");
    }
}

/// Cuts bytes into lines of bounded length.
#[derive(Debug, Default)]
struct Splitter {
    line: Vec<u8>,
}

impl Splitter {
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_BYTES.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                lines.extend(self.rest());
            }
        }
        lines
    }

    /// The line so far, without what a terminal would obey.
    fn rest(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let clean: String = line
            .trim_end()
            .chars()
            .filter(|c| !c.is_control())
            .collect();
        Some(clean).filter(|line| !line.is_empty())
    }
}

/// Lines that may still be logged in this second.
#[derive(Debug)]
struct Budget {
    second: Instant,
    left: u32,
    dropped: u64,
}

#[derive(Debug, PartialEq)]
enum Take {
    Log,
    Drop,
    /// A new second begins, and this many lines of the last one were dropped.
    LogAfter(u64),
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self {
            second: now,
            left: LINES_PER_SECOND,
            dropped: 0,
        }
    }

    fn take(&mut self, now: Instant) -> Take {
        let mut dropped = 0;
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            dropped = std::mem::take(&mut self.dropped);
            *self = Self::new(now);
        }
        match self.left.checked_sub(1) {
            None => {
                self.dropped += 1;
                Take::Drop
            }
            Some(left) => {
                self.left = left;
                if dropped > 0 {
                    Take::LogAfter(dropped)
                } else {
                    Take::Log
                }
            }
        }
    }
}
