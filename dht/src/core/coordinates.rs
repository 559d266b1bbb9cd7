//! Network coordinates: a guess at the round-trip time between peers that never met.
//!
//! Vivaldi (Dabek, Cox, Kaashoek and Morris, SIGCOMM 2004) in two dimensions and a height: the
//! plane stands for the core of the network, the height for a peer's own access link, which every
//! path to it pays. Each peer moves its own coordinate along each measured path as a spring
//! would, by a step weighted with how sure both ends are.
//!
//! Others' coordinates and errors are claims. What is refused or bounded, so that a liar costs
//! little: a coordinate beyond [`MAX_EXTENT_MS`] is none; nobody counts as surer than
//! [`MIN_ERROR`]; one measurement moves a coordinate by [`MAX_STEP_MS`] at most. A guess only
//! chooses whom to dial and probe; the probe decides (see [`crate::core::rtt`]).
//!
//! It does not know peers, nor how a coordinate travels.

use std::time::Duration;

use protocol::advert::Place;
use rand::{Rng, RngExt};

/// The farthest that a coordinate may lie from the origin on either axis, and the greatest
/// height, in milliseconds: beyond any path on Earth.
pub const MAX_EXTENT_MS: f64 = 2_000.0;

/// The most that one measurement moves a coordinate on the plane, and its height, milliseconds.
pub const MAX_STEP_MS: f64 = 25.0;

/// The least error that anybody is credited with; relative, as all errors here.
pub const MIN_ERROR: f64 = 0.02;

/// The error of a peer that knows nothing.
pub const MAX_ERROR: f64 = 1.0;

/// The least height, milliseconds: even a data centre's access costs something, and a height of
/// zero could not grow again.
const MIN_HEIGHT_MS: f64 = 0.1;

/// The paper's `c_c`: how far of the way to the spring's rest a step goes.
const STEP_GAIN: f64 = 0.25;

/// The paper's `c_e`: how fast the error follows the samples.
const ERROR_GAIN: f64 = 0.25;

/// The least round-trip time that counts, milliseconds: below it only noise is measured.
const MIN_RTT_MS: f64 = 0.1;

/// A place in the network, and how sure its owner is of it. Always finite and within bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coordinate {
    x_ms: f64,
    y_ms: f64,
    height_ms: f64,
    error: f64,
}

/// A coordinate as somebody claims it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Claim {
    /// First axis, milliseconds.
    pub x_ms: f64,
    /// Second axis, milliseconds.
    pub y_ms: f64,
    /// Height, milliseconds.
    pub height_ms: f64,
    /// Relative error, 0..=1.
    pub error: f64,
}

/// Why a claim is no coordinate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CoordinateError {
    /// Not a number, or beyond [`MAX_EXTENT_MS`].
    #[error("a coordinate beyond the network's bounds")]
    Place,
    /// Negative, not a number, or beyond [`MAX_EXTENT_MS`].
    #[error("a height beyond the network's bounds")]
    Height,
    /// Outside 0..=1.
    #[error("an error outside 0..=1")]
    Error,
}

impl Default for Coordinate {
    /// Where everybody begins: at the origin, sure of nothing.
    fn default() -> Self {
        Self {
            x_ms: 0.0,
            y_ms: 0.0,
            height_ms: MIN_HEIGHT_MS,
            error: MAX_ERROR,
        }
    }
}

impl TryFrom<Claim> for Coordinate {
    type Error = CoordinateError;

    fn try_from(claim: Claim) -> Result<Self, CoordinateError> {
        let plane = -MAX_EXTENT_MS..=MAX_EXTENT_MS;
        if !plane.contains(&claim.x_ms) || !plane.contains(&claim.y_ms) {
            return Err(CoordinateError::Place);
        }
        if !(0.0..=MAX_EXTENT_MS).contains(&claim.height_ms) {
            return Err(CoordinateError::Height);
        }
        if !(0.0..=MAX_ERROR).contains(&claim.error) {
            return Err(CoordinateError::Error);
        }
        Ok(Self {
            x_ms: claim.x_ms,
            y_ms: claim.y_ms,
            height_ms: claim.height_ms.max(MIN_HEIGHT_MS),
            error: claim.error.max(MIN_ERROR),
        })
    }
}

impl From<Coordinate> for Claim {
    fn from(coordinate: Coordinate) -> Self {
        Self {
            x_ms: coordinate.x_ms,
            y_ms: coordinate.y_ms,
            height_ms: coordinate.height_ms,
            error: coordinate.error,
        }
    }
}

impl TryFrom<Place> for Coordinate {
    type Error = CoordinateError;

    /// What stands in an advert, widened.
    fn try_from(place: Place) -> Result<Self, CoordinateError> {
        Self::try_from(Claim {
            x_ms: place.x_ms.into(),
            y_ms: place.y_ms.into(),
            height_ms: place.height_ms.into(),
            error: place.error.into(),
        })
    }
}

impl From<Coordinate> for Place {
    /// What is said in an advert: rounded to 0.1 microseconds at a second's distance.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "rounded; the values are bounded far within the range of f32"
    )]
    fn from(coordinate: Coordinate) -> Self {
        Self {
            x_ms: coordinate.x_ms as f32,
            y_ms: coordinate.y_ms as f32,
            height_ms: coordinate.height_ms as f32,
            error: coordinate.error as f32,
        }
    }
}

impl Coordinate {
    /// The guessed round-trip time between two peers.
    pub fn distance(&self, other: &Self) -> Duration {
        Duration::from_secs_f64(self.distance_ms(other) / 1000.0)
    }

    /// How far the own guesses are off, as a share of the true time: 0..=1.
    pub fn error(&self) -> f64 {
        self.error
    }

    /// Moves after a measured round-trip time to a peer at `other`; `rng` chooses a direction
    /// for two that are at the same place.
    pub fn observe<R: Rng>(&mut self, other: &Self, rtt: Duration, rng: &mut R) {
        let rtt_ms = (rtt.as_secs_f64() * 1000.0).clamp(MIN_RTT_MS, MAX_EXTENT_MS);
        let guess_ms = self.distance_ms(other);
        let weight = self.error / (self.error + other.error);
        let sample_error = ((guess_ms - rtt_ms).abs() / rtt_ms).min(MAX_ERROR);
        let gain = ERROR_GAIN * weight;
        self.error = (sample_error * gain + self.error * (1.0 - gain)).clamp(MIN_ERROR, MAX_ERROR);
        self.step_by(STEP_GAIN * weight * (rtt_ms - guess_ms), other, rng);
    }

    /// Moves `force` milliseconds away from `other` (towards it when negative), shared between
    /// plane and height as the path is.
    fn step_by<R: Rng>(&mut self, force: f64, other: &Self, rng: &mut R) {
        let force = force.clamp(-MAX_STEP_MS, MAX_STEP_MS);
        let (dx, dy) = (self.x_ms - other.x_ms, self.y_ms - other.y_ms);
        let plane = dx.hypot(dy);
        let length = plane + self.height_ms + other.height_ms;
        let (unit_x, unit_y) = if plane > f64::EPSILON {
            (dx / length, dy / length)
        } else {
            random_direction(rng)
        };
        let unit_height = (self.height_ms + other.height_ms) / length;
        let within = |value: f64| value.clamp(-MAX_EXTENT_MS, MAX_EXTENT_MS);
        self.x_ms = within(self.x_ms + force * unit_x);
        self.y_ms = within(self.y_ms + force * unit_y);
        let height = self.height_ms + force * unit_height;
        self.height_ms = height.clamp(MIN_HEIGHT_MS, MAX_EXTENT_MS);
    }

    fn distance_ms(&self, other: &Self) -> f64 {
        let plane = (self.x_ms - other.x_ms).hypot(self.y_ms - other.y_ms);
        plane + self.height_ms + other.height_ms
    }
}

fn random_direction<R: Rng>(rng: &mut R) -> (f64, f64) {
    let angle = rng.random_range(0.0..std::f64::consts::TAU);
    (angle.cos(), angle.sin())
}

#[cfg(test)]
mod tests;
