//! How often drafts are accepted: by source and by depth, which is how far from certain text a
//! draft lies. It knows no costs.

use super::Source;

/// Depths that are told apart; what lies deeper fares like the last.
const DEPTHS: usize = 16;

/// What of an old trial counts after a new one: a dozen trials are remembered, so that a change of
/// the text shows within a sentence.
const KEPT: f64 = 0.92;

/// Trials that what is known beforehand weighs as much as.
const PRIOR_TRIALS: f64 = 1.5;

/// Sources that are told apart: endings of two, three, four to seven, and more tokens agree with
/// the text more and more often; a model.
const PRIORS: [f64; 5] = [0.25, 0.35, 0.5, 0.75, 0.6];

#[derive(Debug, Clone, Copy, Default)]
struct Depth {
    tried: f64,
    accepted: f64,
}

/// The estimates of one session.
#[derive(Debug, Clone, Default)]
pub struct Acceptance {
    classes: [[Depth; DEPTHS]; PRIORS.len()],
}

/// How many of a row of drafts are accepted, by its length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// That a draft is accepted if those before it are.
    chances: [f64; DEPTHS],
}

fn class(source: Source) -> usize {
    match source {
        Source::NGram { agreeing: 0..=2 } => 0,
        Source::NGram { agreeing: 3 } => 1,
        Source::NGram { agreeing: 4..=7 } => 2,
        Source::NGram { .. } => 3,
        Source::Model => 4,
    }
}

impl Acceptance {
    /// Of drafts behind `ahead` others, `tried` were judged, and all of these accepted but the last
    /// where `accepted` is one less.
    pub fn record(&mut self, source: Source, ahead: usize, tried: usize, accepted: usize) {
        let depths = &mut self.classes[class(source)];
        for i in 0..tried {
            let depth = &mut depths[(ahead + i).min(DEPTHS - 1)];
            depth.tried = depth.tried * KEPT + 1.0;
            depth.accepted = depth.accepted * KEPT + f64::from(u8::from(i < accepted));
        }
    }

    /// The chance that the draft at `depth` (from 0) is accepted if those before it are. Few
    /// trials of a depth are filled up with the depth before.
    #[must_use]
    pub fn chance(&self, source: Source, depth: usize) -> f64 {
        self.expected(source).chances[depth.min(DEPTHS - 1)]
    }

    pub(super) fn expected(&self, source: Source) -> Expected {
        let class = class(source);
        let mut chance = PRIORS[class];
        let chances = self.classes[class].map(|depth| {
            let accepted = depth.accepted + PRIOR_TRIALS * chance;
            chance = accepted / (depth.tried + PRIOR_TRIALS);
            chance
        });
        Expected { chances }
    }
}

impl Expected {
    /// Accepted drafts of the first `n`.
    pub(super) fn up_to(&self, n: usize) -> f64 {
        let (mut all, mut sum) = (1.0, 0.0);
        for depth in 0..n {
            all *= self.chances[depth.min(DEPTHS - 1)];
            sum += all;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn estimates_follow_the_trials_of_their_own_class() {
        let (short, long) = (
            Source::NGram { agreeing: 2 },
            Source::NGram { agreeing: 12 },
        );
        let mut acceptance = Acceptance::default();
        for _ in 0..30 {
            acceptance.record(short, 0, 1, 0);
            acceptance.record(long, 0, 4, 4);
        }
        assert!(acceptance.chance(short, 0) < 0.05 && acceptance.chance(short, 5) < 0.05);
        assert!(acceptance.chance(long, 0) > 0.95 && acceptance.chance(long, 9) > 0.9);
        for _ in 0..12 {
            acceptance.record(short, 0, 1, 1);
        }
        assert!(acceptance.chance(short, 0) > 0.5);
    }

    proptest! {
        #[test]
        fn chances_are_chances_and_more_drafts_give_more(
            trials in prop::collection::vec((0usize..40, 0usize..20, any::<bool>()), 0..60)
        ) {
            let mut acceptance = Acceptance::default();
            for (ahead, tried, last) in trials {
                let accepted = tried.saturating_sub(usize::from(!last));
                acceptance.record(Source::Model, ahead, tried, accepted);
            }
            let expected = acceptance.expected(Source::Model);
            for n in 0..40 {
                prop_assert!((0.0..=1.0).contains(&acceptance.chance(Source::Model, n)));
                let more = expected.up_to(n + 1) - expected.up_to(n);
                prop_assert!((0.0..=1.0).contains(&more));
            }
        }
    }
}
