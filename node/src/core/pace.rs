//! How much of something may go on in a time: a bucket that fills by what is spent and empties at
//! a steady rate. Other than a bucket of tokens it may be overfilled, since what an answer costs
//! is known only when it was given: the debt is then waited for.
//!
//! It knows no unit: requests, bytes.

use std::time::{Duration, Instant};

/// The longest wait that is ever told: beyond it nobody waits.
const MAX_WAIT: Duration = Duration::from_secs(3600);

/// How much, how fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// What may be spent at once.
    pub burst: f64,
    /// What may be spent in a second on end; more than none.
    pub per_second: f64,
}

/// What was spent lately.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    rate: Rate,
    /// Spent and not come back yet.
    level: f64,
    at: Instant,
}

impl Pace {
    /// Nothing was spent yet.
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            level: 0.0,
            at: now,
        }
    }

    /// Spends, also beyond the burst.
    pub fn spend(&mut self, cost: f64, now: Instant) {
        self.recover(now);
        self.level += cost.max(0.0);
    }

    /// How long until this may be spent. What is more than the burst may be spent once everything
    /// came back.
    pub fn wait(&mut self, cost: f64, now: Instant) -> Duration {
        self.recover(now);
        let beyond = self.level + cost.min(self.rate.burst) - self.rate.burst;
        if beyond <= 0.0 {
            return Duration::ZERO;
        }
        let wait = Duration::try_from_secs_f64(beyond / self.rate.per_second);
        wait.map_or(MAX_WAIT, |wait| wait.min(MAX_WAIT))
    }

    /// Whether all that was spent came back.
    pub fn is_rested(&mut self, now: Instant) -> bool {
        self.recover(now);
        self.level <= 0.0
    }

    /// A clock that goes back gives nothing.
    fn recover(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.level = (self.level - passed * self.rate.per_second).max(0.0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate {
        burst: 10.0,
        per_second: 2.0,
    };

    proptest! {
        /// Whoever waits as told never spends more than the burst, the rate, and one excess.
        #[test]
        fn never_more_than_burst_and_rate(
            asks in proptest::collection::vec((0_u64..3000, 1_u32..30), 1..100),
        ) {
            let start = Instant::now();
            let mut pace = Pace::new(RATE, start);
            let (mut now, mut spent) = (start, 0.0);
            for (idle_ms, cost) in asks {
                now += Duration::from_millis(idle_ms);
                let cost = f64::from(cost);
                now += pace.wait(cost, now) + Duration::from_nanos(1);
                pace.spend(cost, now);
                spent += cost;
                let excess = (cost - RATE.burst).max(0.0);
                let allowed = RATE.burst + excess + 2.0 * (now - start).as_secs_f64();
                prop_assert!(spent <= allowed + 1e-3, "{spent} > {allowed}");
            }
        }
    }

    #[test]
    fn a_debt_is_waited_for_and_forgotten_when_paid() {
        let now = Instant::now();
        let mut pace = Pace::new(RATE, now);
        assert!(pace.is_rested(now));
        pace.spend(14.0, now);
        assert_eq!(pace.wait(0.0, now), Duration::from_secs(2));
        assert!(!pace.is_rested(now - Duration::from_secs(100)));
        assert_eq!(pace.wait(1.0, now + Duration::from_secs(6)), Duration::ZERO);
        assert!(pace.is_rested(now + Duration::from_secs(7)));
    }
}
