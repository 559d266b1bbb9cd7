//! The lots by which peers that all see the same need do not all act on it, and the order among
//! those who did at the same time. Pure functions of chance that is handed in.
//!
//! Whoever sees a need waits a random time in which the chance to act grows exponentially: timers as
//! multicast feedback uses them (Nonnenmacher and Biersack, "Scalable Feedback for Large Groups",
//! 1999; RFC 5740, section 3.2). With the expected number of those who acted by `t` being
//! `exp(GROWTH · (t − t₀))`, those who act within a latency `L` after the first are
//! `exp(GROWTH · L) − 1` in the mean, **however many peers there are and however wrong their number
//! is estimated**: an error of it by a factor moves the first one by `ln(factor) / GROWTH` only.

use std::time::Duration;

use protocol::{ModelName, NodeId};
use rand::{Rng, RngExt};

/// By `e` each 1.7 s: of a thousand peers one or two act within what an announcement takes to be
/// heard, and a number of peers that is wrong four times moves the first by two seconds.
const GROWTH_PER_SECOND: f64 = 0.6;

/// When one peer is expected to have acted.
const ONE_AFTER_SECONDS: f64 = 1.5;

/// The mean time between two servers that leave a model that has one too many: longer than an
/// advert takes to be heard by all.
const LEAVE_SECONDS: f64 = 60.0;

/// The longest lot: nobody waits for it, but it is a time.
const LONGEST_SECONDS: f64 = 3600.0;

/// When a peer acts on a need of so many servers that `rivals` peers see, itself one of them.
pub fn to_take<R: Rng>(rivals: u32, servers: u32, rng: &mut R) -> Duration {
    let share = f64::from(rivals.max(1)) / f64::from(servers.max(1));
    let grown = (share * exponential(rng)).max(f64::MIN_POSITIVE).ln();
    seconds(ONE_AFTER_SECONDS + grown / GROWTH_PER_SECOND)
}

/// When one of `servers` leaves, of which `surplus` are too many.
pub fn to_leave<R: Rng>(servers: u32, surplus: u32, rng: &mut R) -> Duration {
    let share = f64::from(servers.max(1)) / f64::from(surplus.max(1));
    seconds(LEAVE_SECONDS * share * exponential(rng))
}

/// Who stays of those that announced the same: the smaller goes before the greater. Another order
/// for each model.
pub fn rank(model: &ModelName, node: &NodeId) -> u64 {
    // FNV-1a, then the finaliser of SplitMix64: an order, not a secret.
    let bytes = model
        .as_str()
        .bytes()
        .chain(node.as_bytes().iter().copied());
    let mut x = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Exponentially distributed with mean 1.
fn exponential<R: Rng>(rng: &mut R) -> f64 {
    let uniform: f64 = rng.random_range(0.0..1.0);
    -(1.0 - uniform).ln()
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_SECONDS))
}
