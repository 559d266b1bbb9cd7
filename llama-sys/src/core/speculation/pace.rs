//! How fast an engine is: its steps, its drafts, and what a trip around the ring takes beside
//! them. It knows no clock.

use std::time::Duration;

use super::Costs;

/// What of a longer and of a shorter trip counts. Waiting behind others' batches makes trips
/// longer and says nothing of the ring; nothing makes them shorter but the ring itself.
const LONGER_PART: f64 = 0.05;
const SHORTER_PART: f64 = 0.5;

/// How far a trip may lie above what is known, as with steps.
const FARTHEST: f64 = 2.0;

/// The estimates of one engine.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    costs: Costs,
    /// Seconds; `None`: a whole model, or not measured yet.
    ring: Option<f64>,
    /// Nothing is learnt: the tests' way to have drafts where they would not pay.
    is_fixed: bool,
}

impl Pace {
    /// A batch of `rows` decoded or drafted rows, and of nothing else, was computed in `spent`.
    pub fn on_step(&mut self, rows: usize, spent: Duration) {
        if !self.is_fixed && !spent.is_zero() {
            self.costs.on_step(rows, spent);
        }
    }

    /// It came back `took` after it had left.
    pub fn on_trip(&mut self, took: Duration, spent: Duration) {
        if self.is_fixed {
            return;
        }
        let new = took.saturating_sub(spent).as_secs_f64();
        self.ring = Some(match self.ring {
            None => new,
            Some(old) if new < old => old + SHORTER_PART * (new - old),
            Some(old) => old + LONGER_PART * (new.min(old * FARTHEST) - old),
        });
    }

    /// Drafting `tokens` with the draft model took so long.
    pub fn on_draft(&mut self, tokens: usize, took: Duration) {
        self.costs.on_draft(tokens, took);
    }

    /// Another ring: nothing is known of its way.
    pub fn forget_ring(&mut self) {
        if !self.is_fixed {
            *self = Self::default();
        }
    }

    /// Steps take the same time whatever their rows, and the ring takes `latency`, for ever.
    #[cfg(test)]
    pub(crate) fn fixed(latency: Duration) -> Self {
        let mut pace = Self {
            ring: Some(latency.as_secs_f64()),
            is_fixed: true,
            ..Self::default()
        };
        for rows in [1, 128] {
            pace.costs.on_step(rows, Duration::from_millis(10));
        }
        pace.costs.on_draft(1, Duration::ZERO);
        pace
    }

    /// What steps and drafts take.
    #[must_use]
    pub fn costs(&self) -> &Costs {
        &self.costs
    }

    /// A trip around the ring, the computing not counted.
    #[must_use]
    pub fn latency(&self) -> Duration {
        self.ring.map_or(Duration::ZERO, Duration::from_secs_f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ring_is_what_is_left_of_a_trip_and_waiting_hardly_counts() {
        let ms = Duration::from_millis;
        let mut pace = Pace::default();
        assert_eq!(pace.latency(), Duration::ZERO);
        pace.on_trip(ms(60), ms(20));
        assert_eq!(pace.latency(), ms(40));
        for _ in 0..5 {
            pace.on_trip(ms(400), ms(20));
        }
        assert!(pace.latency() < ms(60), "{:?}", pace.latency());
        for _ in 0..8 {
            pace.on_trip(ms(60), ms(20));
        }
        assert!(pace.latency() < ms(42), "{:?}", pace.latency());
        // A stage that claims more than the trip took changes nothing for the worse.
        pace.on_trip(ms(10), ms(20));
        pace.forget_ring();
        assert_eq!(pace.latency(), Duration::ZERO);
    }
}
