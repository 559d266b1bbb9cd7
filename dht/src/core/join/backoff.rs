//! How long a way rests after a round that led nowhere: doubled each time, never beyond a bound,
//! never given up, and never in step with other nodes that lost the same thing at the same time.

use std::time::Duration;

use rand::{Rng, RngExt};

/// The longest rest after the first failed round.
pub const BACKOFF_BASE: Duration = Duration::from_secs(1);

/// The longest rest of all: a swarm that comes back finds its nodes within a minute, and a node
/// that is alone for a year sends a few packets a minute.
pub const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// The rest after so many failed rounds in a row; half of it is certain, half is chance.
pub(super) fn pause<R: Rng>(failures: u32, rng: &mut R) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let whole = BACKOFF_BASE.saturating_mul(1 << doublings).min(MAX_BACKOFF);
    whole.mul_f64(rng.random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    proptest! {
        #[test]
        fn rests_stay_within_their_bounds(failures: u32, seed: u64) {
            let mut rng = StdRng::seed_from_u64(seed);
            let rest = pause(failures, &mut rng);
            prop_assert!(rest >= BACKOFF_BASE / 2 && rest <= MAX_BACKOFF);
        }
    }
}
