//! Whether a ring that works is to be replaced by another: only where that is clearly better, and
//! wins more than the change costs.

use std::ops::Range;
use std::time::Duration;

use protocol::NodeId;

use super::ring::Ring;
use super::{Question, Vacancy, plan, stand_ins};

/// A token must take this part of its time at most: predictions are right within a quarter.
const CLEARLY: f64 = 0.75;

/// A change must pay within this time of answering: a peer that became slow may be fast again.
const HORIZON: Duration = Duration::from_secs(60);

/// What a change costs beside replaying: linking, and one token around the ring.
const CHANGE_COST: Duration = Duration::from_secs(1);

/// Of a token's time a token of a prompt takes this part: prompts are computed in batches.
const REPLAY_PART: f64 = 0.1;

/// Slices in the order of a ring.
pub type Slices = Vec<(NodeId, Range<u32>)>;

/// Whether a ring with this time of a token is worth changing over to from one with that, when so
/// many tokens are to be replayed.
pub fn is_clearly_better(new: Duration, now: Duration, replayed: u64) -> bool {
    let (new, now) = (new.as_secs_f64(), now.as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let replay = new * REPLAY_PART * replayed as f64;
    let gained = HORIZON.as_secs_f64() * (1.0 - new / now.max(f64::MIN_POSITIVE));
    new <= now * CLEARLY && gained > CHANGE_COST.as_secs_f64() + replay
}

/// Rings that may be better than one with slow stages: with a spare or somebody else in the place of
/// these, and the best plan of all.
pub fn others(
    question: &Question<'_>,
    ring: &[(NodeId, Range<u32>)],
    spares: &[(NodeId, Range<u32>)],
    is_slow: &dyn Fn(&NodeId) -> bool,
) -> Vec<Slices> {
    let (slow, kept): (Slices, Slices) = ring.iter().cloned().partition(|(node, _)| is_slow(node));
    let layers: Vec<Range<u32>> = slow.into_iter().map(|(_, layers)| layers).collect();
    let vacancy = Vacancy {
        ring: ring.to_vec(),
        layers: layers.clone(),
        is_for_ring: true,
    };
    let found = stand_ins(question, &vacancy);
    let ready = |layers: &Range<u32>| {
        let mut alike = spares.iter().filter(|(_, spare)| spare == layers);
        alike.find(|(node, _)| !is_slow(node)).cloned()
    };
    let ready: Option<Slices> = layers.iter().map(ready).collect();
    let filled = [ready.unwrap_or_default(), found].into_iter();
    let filled = filled.filter(|filled| filled.len() == layers.len());
    let rings = filled.map(|filled| {
        let mut ring: Slices = kept.iter().cloned().chain(filled).collect();
        ring.sort_by_key(|(_, layers)| layers.start);
        ring
    });
    let planned = plan(question).into_iter();
    let planned = planned.map(|plan| {
        let stages = plan.stages.into_iter();
        stages.map(|stage| (stage.peer, stage.layers)).collect()
    });
    let all = rings.chain(planned);
    all.filter(|stages| fits_beside(ring, stages)).collect()
}

/// Whether both can be held at once: nobody of the ring gets other layers.
fn fits_beside(ring: &[(NodeId, Range<u32>)], stages: &[(NodeId, Range<u32>)]) -> bool {
    let mut stages = stages.iter();
    stages.all(|(node, layers)| {
        let mut held = ring.iter().filter(|(holder, _)| holder == node);
        held.all(|(_, held)| held == layers)
    })
}

/// The best of these rings, if it is clearly better than the one that works.
pub fn change(
    question: &Question<'_>,
    ring: &[(NodeId, Range<u32>)],
    others: impl IntoIterator<Item = Slices>,
    replayed: u64,
) -> Option<Slices> {
    let now = token(question, ring)?;
    let timed = others
        .into_iter()
        .filter_map(|other| Some((token(question, &other)?, other)));
    // Of equally good ones the first: it changes least.
    let (new, best) = timed.min_by_key(|(time, _)| *time)?;
    is_clearly_better(new, now, replayed).then_some(best)
}

/// A token's time; `None`: of one of the peers nothing is known.
fn token(question: &Question<'_>, slices: &[(NodeId, Range<u32>)]) -> Option<Duration> {
    let ring = Ring::of(question, slices);
    (ring.stages.len() == slices.len()).then(|| ring.token())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn a_little_better_is_not_better_enough() {
        assert!(is_clearly_better(75 * MILLI, 100 * MILLI, 0));
        assert!(!is_clearly_better(76 * MILLI, 100 * MILLI, 0));
    }

    #[test]
    fn what_must_be_replayed_counts() {
        // Half of a minute is won; a token of the prompt takes 5 ms.
        assert!(is_clearly_better(50 * MILLI, 100 * MILLI, 5000));
        assert!(!is_clearly_better(50 * MILLI, 100 * MILLI, 6000));
    }

    proptest! {
        /// Of two rings none is better than the other and worse: no change is undone at once.
        #[test]
        fn nothing_is_changed_there_and_back(a in 1..100_000_u64, b in 1..100_000_u64, replayed in 0..10_000_u64) {
            let (a, b) = (Duration::from_micros(a), Duration::from_micros(b));
            let there = is_clearly_better(a, b, replayed);
            prop_assert!(!(there && is_clearly_better(b, a, 0)));
            // More to replay makes no change better.
            prop_assert!(there || !is_clearly_better(a, b, replayed + 1));
        }
    }
}
