//! Batches on their way around a ring: how many, and when the next one should be back. It knows no
//! stage, and does not say what a batch that is late means.

use std::time::{Duration, Instant};

/// A batch is not late before this: whoever is asked for it is asked over the network.
pub const OVERDUE_FLOOR: Duration = Duration::from_millis(150);

/// A batch is late after this, whatever those before it took: asking costs little.
pub const OVERDUE_CEILING: Duration = Duration::from_secs(1);

/// A batch is late when it takes so many times as long as the slowest of late.
const FACTOR: u32 = 3;

/// A batch that takes so long does not come back, whatever its stages say: batches of prompts take
/// some tens of seconds on slow machines.
pub const STUCK_AFTER: Duration = Duration::from_secs(60);

/// Of the slowest one's time so much is forgotten with each batch that comes back: a prompt's large
/// pieces are followed by hundreds of small ones.
const FORGOTTEN: u32 = 8;

/// The batches of one ring.
#[derive(Debug)]
pub struct Flow {
    under_way: u32,
    back: u64,
    /// When the oldest that is under way became the oldest.
    moved_at: Instant,
    slowest: Duration,
}

impl Flow {
    /// Nothing is under way.
    pub fn new(now: Instant) -> Self {
        Self {
            under_way: 0,
            back: 0,
            moved_at: now,
            slowest: Duration::ZERO,
        }
    }

    /// A batch leaves.
    pub fn on_sent(&mut self, now: Instant) {
        if self.under_way == 0 {
            self.moved_at = now;
        }
        self.under_way = self.under_way.saturating_add(1);
    }

    /// The oldest is back.
    pub fn on_back(&mut self, now: Instant) {
        let took = now.saturating_duration_since(self.moved_at);
        let before = self.slowest - self.slowest / FORGOTTEN;
        self.slowest = took.max(before);
        self.moved_at = now;
        self.under_way = self.under_way.saturating_sub(1);
        self.back += 1;
    }

    /// How many came back.
    pub fn back(&self) -> u64 {
        self.back
    }

    /// When the oldest is late; `None`: nothing is under way.
    pub fn overdue_at(&self) -> Option<Instant> {
        let patience = self.slowest.saturating_mul(FACTOR);
        let patience = patience.clamp(OVERDUE_FLOOR, OVERDUE_CEILING);
        (self.under_way > 0).then(|| self.moved_at + patience)
    }
}

impl Flow {
    /// Whether the oldest does not come back any more.
    pub fn is_stuck(&self, now: Instant) -> bool {
        let patience = self.slowest.saturating_mul(FACTOR).max(STUCK_AFTER);
        self.under_way > 0 && self.moved_at + patience <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn nothing_is_late_that_is_not_under_way() {
        let now = Instant::now();
        let mut flow = Flow::new(now);
        assert_eq!(flow.overdue_at(), None);
        flow.on_sent(now);
        assert_eq!(flow.overdue_at(), Some(now + OVERDUE_FLOOR));
        assert!(!flow.is_stuck(now + STUCK_AFTER - MILLI) && flow.is_stuck(now + STUCK_AFTER));
        flow.on_back(now + MILLI);
        assert_eq!((flow.overdue_at(), flow.back()), (None, 1));
    }

    #[test]
    fn the_oldest_counts_from_when_the_one_before_it_came_back() {
        let now = Instant::now();
        let mut flow = Flow::new(now);
        flow.on_sent(now);
        flow.on_sent(now + MILLI);
        flow.on_back(now + 40 * MILLI);
        assert_eq!(flow.overdue_at(), Some(now + 40 * MILLI + OVERDUE_FLOOR));
    }

    #[test]
    fn slow_batches_make_patient_and_fast_ones_impatient_again() {
        let mut now = Instant::now();
        let mut flow = Flow::new(now);
        for (count, took, patience) in [(1, 200, 600), (1, 900, 1000), (60, 1, 150)] {
            for _ in 0..count {
                flow.on_sent(now);
                now += took * MILLI;
                flow.on_back(now);
            }
            flow.on_sent(now);
            assert_eq!(flow.overdue_at(), Some(now + patience * MILLI), "{took}");
            flow.on_back(now);
        }
    }
}
