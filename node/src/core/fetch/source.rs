//! What is known of one source: its chunks, its speed, and whether it is left alone now.

use std::time::{Duration, Instant};

use protocol::weights::ChunkSet;

use super::event::Offer;

/// Failures in a row, without a chunk between them, before a source is dropped: with the rests
/// between them a minute, longer than a peer takes to start again.
pub const MAX_FAILURES: u32 = 6;

/// The longest rest, whatever a source wishes.
pub const MAX_REST: Duration = Duration::from_secs(60);

/// The rest after a first failure, or a refusal that names none; each failure doubles it.
const FIRST_REST: Duration = Duration::from_secs(1);

/// The speed of one ask that is guessed before anything came: a home's line.
const GUESS: f64 = 4_000_000.0;

/// The weight of a new measurement.
const WEIGHT: f64 = 0.25;

/// The slowest that anybody is taken to be: it is divided by.
const LEAST_RATE: f64 = 1.0;

/// One source.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) held: ChunkSet,
    /// Bytes a second of one ask.
    pub(super) rate: f64,
    failures: u32,
    pub(super) rests_until: Option<Instant>,
}

impl Known {
    pub(super) fn new(offer: Offer) -> Self {
        let guess = offer.bytes_per_second.filter(|rate| rate.is_finite());
        Self {
            held: offer.held,
            rate: guess.unwrap_or(GUESS).max(LEAST_RATE),
            failures: 0,
            rests_until: None,
        }
    }

    pub(super) fn is_usable(&self, now: Instant) -> bool {
        self.rests_until.is_none_or(|until| until <= now)
    }

    /// A chunk came, at this speed.
    pub(super) fn on_bytes(&mut self, rate: f64) {
        self.failures = 0;
        self.rate = (self.rate + WEIGHT * (rate - self.rate)).max(LEAST_RATE);
    }

    /// It wants to be left alone.
    pub(super) fn rest(&mut self, wish: Option<Duration>, now: Instant) {
        let rest = wish.unwrap_or(FIRST_REST).clamp(FIRST_REST, MAX_REST);
        self.rests_until = Some(now + rest);
    }

    /// An ask of it failed; false: once too often.
    pub(super) fn fail(&mut self, now: Instant) -> bool {
        let doubled = FIRST_REST.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures += 1;
        self.rests_until = Some(now + doubled.min(MAX_REST));
        self.failures < MAX_FAILURES
    }
}
