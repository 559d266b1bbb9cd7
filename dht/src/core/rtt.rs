//! The round-trip time to one peer, out of our own probes, and whether the peer is near.
//!
//! The estimate is the 20th percentile of the last probes: queueing only ever adds to a path's
//! time, so the low end is the path and the high end is the day's traffic. Jitter and loss are
//! reported beside it, for the planner.
//!
//! Transitions of [`Proximity`]:
//! - unknown → near or far, as soon as there are [`MIN_REPLIES`] replies;
//! - far → near when the estimate is ≤ [`JOIN_MAX`];
//! - near → far when the estimate was > [`LEAVE_MIN`], or there was none for lack of replies,
//!   without a break for [`LEAVE_AFTER`].
//!
//! Between the two bounds a peer stays what it is, so that it does not come and go. The probes
//! must run on a direct connection: a relayed one measures the relay. That, and when to probe,
//! is not known here.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Probes that count: enough for a percentile, few enough that a moved peer is noticed soon.
pub const WINDOW: usize = 16;

/// Replies below which there is no estimate: fewer say more about chance than about the path.
pub const MIN_REPLIES: usize = 5;

/// The estimate up to which a peer becomes near. A chain pays one way for each token and hop, so
/// three stages at this bound still give 8 tokens/s before speculation.
pub const JOIN_MAX: Duration = Duration::from_millis(80);

/// The estimate above which a near peer may become far.
pub const LEAVE_MIN: Duration = Duration::from_millis(95);

/// How long a near peer must be beyond [`LEAVE_MIN`]: a chain is not torn down for a burst.
pub const LEAVE_AFTER: Duration = Duration::from_secs(20);

/// A reply later than this is a loss: no chain could use such a path.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether a peer is near enough for a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proximity {
    /// Too few replies so far.
    Unknown,
    /// Within the bounds of a group.
    Near,
    /// Beyond them.
    Far,
}

/// What the last probes say of the path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The 20th percentile of the replies' times (nearest rank).
    pub rtt: Duration,
    /// Mean difference between a reply's time and the one's before it.
    pub jitter: Duration,
    /// Probes without a reply in time, as a share of all: 0..=1.
    pub loss: f32,
}

/// The probes of one peer.
#[derive(Debug, Clone)]
pub struct RttEstimator {
    /// Oldest first; `None`: lost.
    probes: VecDeque<Option<Duration>>,
    proximity: Proximity,
    /// Since when a near peer is beyond the bound.
    beyond_since: Option<Instant>,
}

impl Default for RttEstimator {
    fn default() -> Self {
        Self {
            probes: VecDeque::with_capacity(WINDOW),
            proximity: Proximity::Unknown,
            beyond_since: None,
        }
    }
}

impl RttEstimator {
    /// Takes a reply that came `rtt` after its probe; a late one is a loss.
    pub fn on_reply(&mut self, rtt: Duration, now: Instant) {
        self.push((rtt <= PROBE_TIMEOUT).then_some(rtt), now);
    }

    /// Takes note that a probe had no reply within [`PROBE_TIMEOUT`].
    pub fn on_loss(&mut self, now: Instant) {
        self.push(None, now);
    }

    /// Whether the peer is near.
    pub fn proximity(&self) -> Proximity {
        self.proximity
    }

    /// What the last probes say; `None` below [`MIN_REPLIES`] replies among them.
    pub fn estimate(&self) -> Option<Estimate> {
        let times: Vec<Duration> = self.probes.iter().flatten().copied().collect();
        if times.len() < MIN_REPLIES {
            return None;
        }
        Some(Estimate {
            rtt: percentile_20(&times),
            jitter: mean_step(&times),
            loss: share(self.probes.len() - times.len(), self.probes.len()),
        })
    }

    fn push(&mut self, probe: Option<Duration>, now: Instant) {
        if self.probes.len() == WINDOW {
            self.probes.pop_front();
        }
        self.probes.push_back(probe);
        self.judge(now);
    }

    fn judge(&mut self, now: Instant) {
        let rtt = self.estimate().map(|estimate| estimate.rtt);
        self.proximity = match (self.proximity, rtt) {
            (Proximity::Unknown, None) => Proximity::Unknown,
            (Proximity::Unknown | Proximity::Far, Some(rtt)) if rtt <= JOIN_MAX => Proximity::Near,
            (Proximity::Unknown | Proximity::Far, _) => Proximity::Far,
            (Proximity::Near, rtt) => self.judge_near(rtt, now),
        };
    }

    fn judge_near(&mut self, rtt: Option<Duration>, now: Instant) -> Proximity {
        if rtt.is_some_and(|rtt| rtt <= LEAVE_MIN) {
            self.beyond_since = None;
            return Proximity::Near;
        }
        let since = *self.beyond_since.get_or_insert(now);
        if now.saturating_duration_since(since) < LEAVE_AFTER {
            return Proximity::Near;
        }
        self.beyond_since = None;
        Proximity::Far
    }
}

/// The 20th percentile by nearest rank: the least of 5, the fourth least of 16.
fn percentile_20(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = sorted.len().div_ceil(5).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn mean_step(times: &[Duration]) -> Duration {
    let steps = times.windows(2).map(|pair| pair[0].abs_diff(pair[1]));
    let sum: Duration = steps.sum();
    let count = u32::try_from(times.len().saturating_sub(1)).unwrap_or(u32::MAX);
    sum.checked_div(count).unwrap_or_default()
}

fn share(part: usize, whole: usize) -> f32 {
    let float = |n: usize| f32::from(u16::try_from(n).unwrap_or(u16::MAX));
    float(part) / float(whole).max(1.0)
}

#[cfg(test)]
mod tests;
