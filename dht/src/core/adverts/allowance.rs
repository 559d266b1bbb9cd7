//! How often one author is heard: a token bucket.
//!
//! It does not know what is counted.

use std::time::Instant;

use super::publisher::MIN_GAP;

/// Adverts at once: what a slow path may hold back and deliver together.
const BURST: u32 = 4;

/// What an author may still say. It fills at the pace of an honest author's fastest adverts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            since: now,
        }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.since);
        let earned = elapsed.as_secs() / MIN_GAP.as_secs();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(BURST);
            self.since = now;
        }
        self.left.checked_sub(1).is_some_and(|left| {
            self.left = left;
            true
        })
    }
}
