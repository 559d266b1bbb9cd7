//! The network between peers: how long a message takes, and whether it arrives.

use std::time::Duration;

use rand::{RngExt, rngs::StdRng};

/// Where towns lie, milliseconds: some within 80 of one another, some not.
const TOWNS: [(f64, f64); 7] = [
    (0.0, 0.0),
    (12.0, 8.0),
    (35.0, -10.0),
    (90.0, 20.0),
    (105.0, 30.0),
    (160.0, -80.0),
    (210.0, 60.0),
];

/// The chance that a new peer lives outside of every town, far from everybody.
const HERMIT: f64 = 0.02;

/// What congestion adds to a path's time.
const CONGESTED_MS: f64 = 120.0;

/// Where a peer is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot {
    x_ms: f64,
    y_ms: f64,
    access_ms: f64,
    /// On which side of a partition.
    pub(crate) side: bool,
    /// Its access is slow until then.
    pub(crate) congested_until: Duration,
}

/// The network's state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terrain {
    pub(crate) loss: f64,
    pub(crate) is_parted: bool,
}

impl Spot {
    pub(crate) fn new(rng: &mut StdRng) -> Self {
        let (x, y) = TOWNS[rng.random_range(0..TOWNS.len())];
        let far = if rng.random_bool(HERMIT) { 400.0 } else { 0.0 };
        Self {
            x_ms: x + far + rng.random_range(-5.0..5.0),
            y_ms: y - far + rng.random_range(-5.0..5.0),
            access_ms: rng.random_range(0.5..12.0),
            side: rng.random_bool(0.5),
            congested_until: Duration::ZERO,
        }
    }

    /// The path's own round-trip time.
    pub(crate) fn rtt(&self, other: &Self) -> Duration {
        millis(self.rtt_ms(other))
    }

    fn rtt_ms(&self, other: &Self) -> f64 {
        let plane = (self.x_ms - other.x_ms).hypot(self.y_ms - other.y_ms);
        plane + self.access_ms + other.access_ms
    }
}

impl Terrain {
    pub(crate) fn are_parted(&self, one: &Spot, other: &Spot) -> bool {
        self.is_parted && one.side != other.side
    }

    /// How long one message takes one way; `None`: it is lost.
    pub(crate) fn one_way(
        &self,
        ends: (&Spot, &Spot),
        now: Duration,
        rng: &mut StdRng,
    ) -> Option<Duration> {
        let (from, to) = ends;
        if self.are_parted(from, to) || rng.random_bool(self.loss) {
            return None;
        }
        let busy = now < from.congested_until || now < to.congested_until;
        let queue = if busy { CONGESTED_MS } else { 0.0 };
        // Most messages wait for little, a few for long.
        let jitter = 2.0 * -f64::ln(rng.random_range(0.001..1.0));
        Some(millis((from.rtt_ms(to) + queue + jitter) / 2.0))
    }
}

fn millis(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1000.0)
}
