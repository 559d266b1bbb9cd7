//! One request under way: what is still to come, how fast it comes, and when it is too late.

use std::time::{Duration, Instant};

use protocol::weights::Layout;

use super::event::Source;

/// How long nothing may come, beside the time that a chunk takes on the slowest way. A peer whose
/// upload is limited lets its streams wait for one another.
const STALL: Duration = Duration::from_secs(30);

/// The slowest way that is waited for, bytes a second.
const SLOWEST: f64 = 16_384.0;

/// Shorter times are no measurement.
const LEAST_TIME: Duration = Duration::from_millis(1);

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ask {
    pub(super) source: Source,
    /// The chunk that comes now.
    pub(super) next: u32,
    /// The first one that is no longer asked for.
    pub(super) end: u32,
    begun: Instant,
    bytes: u64,
    pub(super) progress_at: Instant,
}

impl Ask {
    pub(super) fn new(source: Source, chunks: std::ops::Range<u32>, now: Instant) -> Self {
        Self {
            source,
            next: chunks.start,
            end: chunks.end,
            begun: now,
            bytes: 0,
            progress_at: now,
        }
    }

    pub(super) fn advance(&mut self, bytes: u64, now: Instant) {
        self.next += 1;
        self.bytes += bytes;
        self.progress_at = now;
    }

    /// Bytes a second since it began.
    pub(super) fn rate(&self, now: Instant) -> f64 {
        let time = now.saturating_duration_since(self.begun).max(LEAST_TIME);
        as_f64(self.bytes) / time.as_secs_f64()
    }

    /// When it is broken off.
    pub(super) fn deadline(&self, layout: &Layout) -> Instant {
        let slowest = as_f64(layout.chunk_bytes()) / SLOWEST;
        self.progress_at + STALL + Duration::from_secs_f64(slowest)
    }

    /// Chunks that have not come, with the one under way.
    pub(super) fn missing(&self) -> u32 {
        self.end.saturating_sub(self.next)
    }
}

#[expect(clippy::cast_precision_loss, reason = "rates need no more digits")]
pub(super) fn as_f64(bytes: u64) -> f64 {
    bytes as f64
}
