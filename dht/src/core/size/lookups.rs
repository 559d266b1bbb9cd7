//! When to look up a random target, so that the swarm's size is known and followed.

use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

use super::MAX_LOOKUPS;

/// Between two lookups: eight of them count, so a day's growth is followed. Each asks two dozen peers,
/// most of whom it has to dial, and each of those pays for a new neighbour.
pub const LOOKUP_EVERY: Duration = Duration::from_secs(600);

/// Between the first ones.
pub const FIRST_EVERY: Duration = Duration::from_secs(15);

/// The share by which the pauses vary, either way, so that peers that began together do not look
/// together.
const JITTER: f64 = 0.2;

/// The lookups of one node.
#[derive(Debug, Clone)]
pub struct Lookups {
    begun: usize,
    next: Instant,
}

impl Lookups {
    /// The first is due at once.
    pub fn new(now: Instant) -> Self {
        Self {
            begun: 0,
            next: now,
        }
    }

    /// When [`Lookups::poll`] has one.
    pub fn next_deadline(&self) -> Instant {
        self.next
    }

    /// Whether a lookup is to begin now.
    pub fn poll<R: Rng>(&mut self, now: Instant, rng: &mut R) -> bool {
        if now < self.next {
            return false;
        }
        let pause = match self.begun {
            begun if begun < MAX_LOOKUPS => FIRST_EVERY,
            _ => LOOKUP_EVERY,
        };
        self.begun = self.begun.saturating_add(1);
        self.next = now + pause.mul_f64(rng.random_range(1.0 - JITTER..=1.0 + JITTER));
        true
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn the_first_come_soon_and_the_others_seldom() {
        let (start, mut rng) = (Instant::now(), StdRng::seed_from_u64(1));
        let mut lookups = Lookups::new(start);
        let mut begun = 0;
        for second in 0..3600 {
            begun += u32::from(lookups.poll(start + Duration::from_secs(second), &mut rng));
        }
        assert!((12..=17).contains(&begun), "{begun}");
        assert!(lookups.next_deadline() > start + Duration::from_secs(3599));
    }
}
