//! How often one author is heard, and speaks: a token bucket.
//!
//! It does not know what is counted.

use std::time::Instant;

use super::publisher::MIN_GAP;

/// Adverts at once that others hear: one more than an author says, for a slow path may hold some
/// back and deliver them together.
pub(super) const HEARD_AT_ONCE: u32 = 8;

/// What an author may still say. It fills at the pace of an honest author's fastest adverts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowance {
    most: u32,
    left: u32,
    since: Instant,
}

impl Allowance {
    /// As many as there can be.
    pub(super) fn new(most: u32, now: Instant) -> Self {
        Self {
            most,
            left: most,
            since: now,
        }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.since);
        let earned = elapsed.as_secs() / MIN_GAP.as_secs();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(self.most);
            self.since = now;
        }
        self.left.checked_sub(1).is_some_and(|left| {
            self.left = left;
            true
        })
    }

    /// Since when, or from when on, there is one to take.
    pub(super) fn ready(&self) -> Instant {
        match self.left {
            0 => self.since + MIN_GAP,
            _ => self.since,
        }
    }
}
