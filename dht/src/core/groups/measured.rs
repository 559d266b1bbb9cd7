//! One connected peer: its probes, and when the next one is due.

use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

use super::event::Path;
use crate::core::{
    adverts::Closeness,
    coordinates::Coordinate,
    rtt::{LEAVE_AFTER, LEAVE_MIN, PROBE_TIMEOUT, Proximity, RttEstimator},
};

/// Between the probes of a peer of which too little is known yet.
pub const FRESH_EVERY: Duration = Duration::from_millis(500);

/// So many probes in quick succession; a peer that answers none of them is then probed seldom.
pub const FRESH_PROBES: u32 = 16;

/// Between the probes of a member of the group while all is well.
pub const MEMBER_EVERY: Duration = Duration::from_secs(15);

/// Between the probes of a member whose last one was lost or too slow: the estimate follows after
/// 13 of them, and leaving takes [`LEAVE_AFTER`] more, so a member that moved away is out in
/// about a minute.
pub const SUSPECT_EVERY: Duration = Duration::from_secs(2);

/// Between the probes of everybody else.
pub const SELDOM_EVERY: Duration = Duration::from_secs(60);

/// The share by which these vary, either way, so that peers do not probe in step.
const JITTER: f64 = 0.2;

/// A connected peer, or a member that lost its connection a moment ago.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) estimator: RttEstimator,
    pub(super) place: Option<Coordinate>,
    pub(super) closeness: Closeness,
    /// `None`: not connected since then.
    path: Result<Path, Instant>,
    /// When the probe under way counts as lost.
    in_flight: Option<Instant>,
    due: Instant,
    probes: u32,
    is_suspect: bool,
}

impl Measured {
    pub(super) fn new(path: Path, place: Option<Coordinate>, now: Instant) -> Self {
        Self {
            estimator: RttEstimator::default(),
            place,
            closeness: Closeness::Stranger,
            path: Ok(path),
            in_flight: None,
            due: now,
            probes: 0,
            is_suspect: false,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.path.is_ok()
    }

    pub(super) fn is_direct(&self) -> bool {
        self.path == Ok(Path::Direct)
    }

    /// Within the bounds of a group, by its probes.
    pub(super) fn is_near(&self) -> bool {
        self.estimator.proximity() == Proximity::Near
    }

    /// The connection came, went or changed; a probe under way went with the old one.
    pub(super) fn set_path(&mut self, path: Option<Path>, now: Instant) {
        let was_direct = self.is_direct();
        self.path = match (path, self.path) {
            (Some(path), _) => Ok(path),
            (None, Err(since)) => Err(since),
            (None, Ok(_)) => Err(now),
        };
        if !self.is_direct() {
            self.in_flight = None;
        } else if !was_direct {
            self.due = now;
        }
    }

    /// When a peer without a direct connection is forgotten; a member is given as long as one
    /// that is too slow.
    pub(super) fn ends(&self) -> Option<Instant> {
        let grace = if self.closeness == Closeness::Group {
            LEAVE_AFTER
        } else {
            Duration::ZERO
        };
        self.path.err().map(|since| since + grace)
    }

    /// When a probe may be sent.
    pub(super) fn probe_due(&self) -> Option<Instant> {
        (self.is_direct() && self.in_flight.is_none()).then_some(self.due)
    }

    /// When the probe under way counts as lost.
    pub(super) fn loss_due(&self) -> Option<Instant> {
        self.in_flight
    }

    pub(super) fn on_probe(&mut self, now: Instant) {
        self.in_flight = Some(now + PROBE_TIMEOUT);
        self.probes = self.probes.saturating_add(1);
    }

    /// A probe's outcome, `None` for a loss; `false`: none was under way.
    pub(super) fn on_outcome<R: Rng>(
        &mut self,
        rtt: Option<Duration>,
        now: Instant,
        rng: &mut R,
    ) -> bool {
        if self.in_flight.take().is_none() {
            return false;
        }
        match rtt {
            Some(rtt) => self.estimator.on_reply(rtt, now),
            None => self.estimator.on_loss(now),
        }
        self.is_suspect = rtt.is_none_or(|rtt| rtt > LEAVE_MIN);
        let jitter = rng.random_range(1.0 - JITTER..=1.0 + JITTER);
        self.due = now + self.every().mul_f64(jitter);
        true
    }

    fn every(&self) -> Duration {
        let is_fresh = self.estimator.estimate().is_none() && self.probes < FRESH_PROBES;
        match self.closeness {
            Closeness::Group if self.is_suspect => SUSPECT_EVERY,
            _ if is_fresh => FRESH_EVERY,
            Closeness::Group => MEMBER_EVERY,
            Closeness::Near | Closeness::Stranger => SELDOM_EVERY,
        }
    }
}
