//! How many peers the swarm has, out of three sources of which none is trusted alone.
//!
//! 1. **Density.** Keys are hashes, so the k peers closest to a point lie the closer the more
//!    there are: with the i-th at the share d of the key space, about (i − 1) / d. The median over
//!    the farther half of one lookup's peers is one estimate; the median of the last
//!    [`MAX_LOOKUPS`] lookups and of the routing table around the own key is the source's. Targets
//!    of lookups must be drawn at random: identities are easily made close to a point that is
//!    known beforehand, as the own key is, so that one counts as one among all.
//! 2. **Authors.** Everybody in a shard of `b` bits is heard there, so there are about 2^b times
//!    as many. An adversary adds its own identities and no more.
//! 3. **Claims.** Each advert says what its author found by 1 and 2. Their median is better than
//!    one's own estimate and, what matters more, the same for all who hear the same authors; so
//!    neighbours split and merge together. A crowd that lies moves it, but not beyond
//!    [`CLAIM_SPAN`] times what this node found by itself. What a node claims is without the
//!    claims of others, or an error would feed itself.
//!
//! What nobody can tell: identities of one owner that take part like any other peer are peers.
//! It knows no routing table and no view of adverts, only what they say.

mod lookups;

use std::collections::VecDeque;

use protocol::limits::MAX_SWARM_SIZE;

pub use lookups::{FIRST_EVERY, LOOKUP_EVERY, Lookups};

/// Lookups that count: their median is off by a tenth, and a day's growth is followed.
pub const MAX_LOOKUPS: usize = 8;

/// Peers that a lookup finds if there are as many: Kademlia's k. Fewer are all that there are.
pub const CLOSEST: usize = 20;

/// Claims below which they are not heard: fewer may all be one owner's.
pub const MIN_CLAIMS: usize = 8;

/// How far the claims of others move the own estimate at most, either way: one split too early or
/// too late, which a shard can bear.
pub const CLAIM_SPAN: f64 = 2.0;

/// A key of the distributed hash table as it is compared: the hash, not what it is of.
pub type HashedKey = [u8; 32];

/// What one node knows of the swarm's size.
#[derive(Debug, Clone)]
pub struct Size {
    own: HashedKey,
    around_own: Option<f64>,
    /// Oldest first.
    lookups: VecDeque<f64>,
    authors: Option<f64>,
}

impl Size {
    /// Knows nothing yet; `own` is this node's key in the table.
    pub fn new(own: HashedKey) -> Self {
        Self {
            own,
            around_own: None,
            lookups: VecDeque::with_capacity(MAX_LOOKUPS),
            authors: None,
        }
    }

    /// Takes what a lookup, or for the own key the routing table, found: the peers closest to
    /// `target`, this node left out, in any order; those beyond [`CLOSEST`] do not count.
    pub fn on_closest(&mut self, target: &HashedKey, peers: &[HashedKey]) {
        let Some(estimate) = density(target, peers) else {
            return;
        };
        if *target == self.own {
            self.around_own = Some(estimate);
            return;
        }
        if self.lookups.len() == MAX_LOOKUPS {
            self.lookups.pop_front();
        }
        self.lookups.push_back(estimate);
    }

    /// Takes how many other authors are heard in the own shard of so many bits; `None`: it was
    /// not listened to for long enough.
    pub fn on_authors(&mut self, authors: Option<usize>, bits: u8) {
        self.authors = authors.map(|count| (float(count) + 1.0) * f64::from(bits).exp2());
    }

    /// What this node found by itself, for its advert; `None`: nothing yet.
    pub fn local(&self) -> Option<u32> {
        self.own_estimate().map(whole)
    }

    /// The best estimate, with what others claim; one claim of each author.
    pub fn estimate(&self, claims: &[u32]) -> Option<u32> {
        let own = self.own_estimate()?;
        if claims.len() < MIN_CLAIMS {
            return Some(whole(own));
        }
        let mut all: Vec<f64> = claims.iter().map(|claim| f64::from(*claim)).collect();
        all.push(own);
        let claimed = median(&mut all)?;
        Some(whole(claimed.clamp(own / CLAIM_SPAN, own * CLAIM_SPAN)))
    }

    /// Both sources are off by factors, so they meet in their geometric mean.
    fn own_estimate(&self) -> Option<f64> {
        let mut densities: Vec<f64> = self.lookups.iter().copied().collect();
        densities.extend(self.around_own);
        match (median(&mut densities), self.authors) {
            (Some(density), Some(authors)) => Some((density * authors).sqrt()),
            (one, other) => one.or(other),
        }
    }
}

/// How many peers there are, this node included, by those closest to one point.
fn density(target: &HashedKey, peers: &[HashedKey]) -> Option<f64> {
    let mut distances: Vec<f64> = peers.iter().map(|peer| distance(target, peer)).collect();
    distances.sort_unstable_by(f64::total_cmp);
    if distances.len() < CLOSEST {
        return (!distances.is_empty()).then(|| float(distances.len()) + 1.0);
    }
    let farther = (CLOSEST / 2..CLOSEST).filter_map(|index| {
        // The one at `index` is the (index + 1)-th.
        distances.get(index).map(|d| float(index) / d)
    });
    let mut estimates: Vec<f64> = farther.collect();
    median(&mut estimates)
}

/// The share of the key space between two keys by the XOR metric, never zero.
fn distance(one: &HashedKey, other: &HashedKey) -> f64 {
    let high = |key: &HashedKey| {
        let [a, b, c, d, e, f, g, h, ..] = *key;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    };
    // The upper half of the bits is exact in f64, and enough for 2^31 peers.
    let gap = (high(one) ^ high(other)) >> 11;
    let gap = f64::from(u32::try_from(gap >> 21).unwrap_or(u32::MAX)) * f64::from(1 << 21)
        + f64::from(u32::try_from(gap & 0x1F_FFFF).unwrap_or(u32::MAX));
    (gap + 1.0) / 53_f64.exp2()
}

/// The middle one, or the mean of the two in the middle.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *values.get(values.len() / 2 - 1)?;
    Some(f64::midpoint(lower, upper))
}

fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// As it stands in an advert: at least one peer, and no more than anybody may claim.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 1..=2^31 before"
)]
fn whole(size: f64) -> u32 {
    size.round().clamp(1.0, f64::from(MAX_SWARM_SIZE)) as u32
}

#[cfg(test)]
mod tests;
