//! Which peers failed here lately: a penalty in the ranking that fades. It knows nobody's
//! reputation beyond this node's own experience.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use protocol::NodeId;

use super::Target;

/// Peers whose failures are remembered; beyond it the one that failed longest ago is forgotten.
/// An attacker with many identities can fill it only by failing with each of them.
pub const MAX_REMEMBERED: usize = 256;

/// What one fresh failure adds to a prediction.
const STRIKE: Duration = Duration::from_secs(10);

/// A failure counts half after this long: a restart takes less, an outage is found again.
const HALF_LIFE: Duration = Duration::from_secs(60);

/// Failures count as this many at most, so that a peer that came back is asked again soon.
const MOST_STRIKES: f64 = 8.0;

/// Below this a mark is forgotten.
const LEAST_STRIKES: f64 = 0.05;

#[derive(Debug, Clone, Copy)]
struct Mark {
    strikes: f64,
    at: Instant,
}

impl Mark {
    fn strikes(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at);
        self.strikes * (-age.div_duration_f64(HALF_LIFE)).exp2()
    }
}

/// The memory of failures.
#[derive(Debug, Default)]
pub struct Failures {
    marks: BTreeMap<NodeId, Mark>,
}

impl Failures {
    /// A peer failed. The own head is not remembered: its failures are its own to tell.
    pub fn blame(&mut self, target: &Target, now: Instant) {
        let Target::Peer(node) = target else { return };
        let before = self.marks.get(node).map_or(0.0, |mark| mark.strikes(now));
        if !self.marks.contains_key(node) {
            self.make_room(now);
        }
        let strikes = (before + 1.0).min(MOST_STRIKES);
        self.marks.insert(*node, Mark { strikes, at: now });
    }

    /// A peer finished an answer: what was before is half forgiven.
    pub fn praise(&mut self, target: &Target, now: Instant) {
        let Target::Peer(node) = target else { return };
        if let Some(mark) = self.marks.get_mut(node) {
            *mark = Mark {
                strikes: mark.strikes(now) / 2.0,
                at: now,
            };
        }
    }

    /// What the peer's failures add to a prediction.
    pub fn penalty(&self, target: &Target, now: Instant) -> Duration {
        let Target::Peer(node) = target else {
            return Duration::ZERO;
        };
        let strikes = self.marks.get(node).map_or(0.0, |mark| mark.strikes(now));
        match strikes < LEAST_STRIKES {
            true => Duration::ZERO,
            false => STRIKE.mul_f64(strikes),
        }
    }

    /// Peers that are remembered.
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Nobody is.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    fn make_room(&mut self, now: Instant) {
        self.marks
            .retain(|_, mark| mark.strikes(now) >= LEAST_STRIKES);
        if self.marks.len() < MAX_REMEMBERED {
            return;
        }
        let oldest = self.marks.iter().min_by_key(|(_, mark)| mark.at);
        if let Some(node) = oldest.map(|(node, _)| *node) {
            self.marks.remove(&node);
        }
    }
}
