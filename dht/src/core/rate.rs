//! Token buckets: how often a peer may ask for something, in all and in each protocol.
//!
//! A table of buckets is bounded, and that bound is no way out for strangers: a bucket is only
//! forgotten once it is full again (forgetting it changes nothing), and while the table has no
//! room, all newcomers share one bucket. So whoever is in debt stays in debt, however many
//! identities appear.
//!
//! It does not know what a token stands for: the caller names the cost and the quota.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use protocol::NodeId;

/// Buckets in one table: ten times the connections that a node ever has, 100 bytes each.
pub const MAX_BUCKETS: usize = 4096;

/// The least time between two searches of a full table for buckets to forget: a flood of new
/// keys does not make each of its messages cost a walk over the table.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How much, how fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quota {
    /// Tokens that may be spent at once.
    pub burst: u32,
    /// Tokens that come back in a second.
    pub per_second: f64,
}

/// One bucket, full at first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenBucket {
    quota: Quota,
    tokens: f64,
    at: Instant,
}

impl TokenBucket {
    /// A full bucket. A rate that is no number or negative is none.
    pub fn new(quota: Quota, now: Instant) -> Self {
        let per_second = quota.per_second.max(0.0);
        Self {
            quota: Quota {
                per_second,
                ..quota
            },
            tokens: f64::from(quota.burst),
            at: now,
        }
    }

    /// Takes `cost` tokens, or none if there are fewer.
    pub fn try_take(&mut self, cost: u32, now: Instant) -> bool {
        let has = self.has(cost, now);
        if has {
            self.tokens -= f64::from(cost);
        }
        has
    }

    /// Whether `cost` tokens are there.
    pub fn has(&mut self, cost: u32, now: Instant) -> bool {
        self.refill(now);
        self.tokens >= f64::from(cost)
    }

    /// Whether nothing was taken that did not come back.
    pub fn is_full(&mut self, now: Instant) -> bool {
        self.has(self.quota.burst, now)
    }

    /// How long until `cost` tokens are there; `None` if they never will be.
    pub fn wait(&mut self, cost: u32, now: Instant) -> Option<Duration> {
        if self.has(cost, now) {
            return Some(Duration::ZERO);
        }
        if cost > self.quota.burst {
            return None;
        }
        let missing = f64::from(cost) - self.tokens;
        Duration::try_from_secs_f64(missing / self.quota.per_second).ok()
    }

    /// A clock that goes back gives nothing.
    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        self.at = self.at.max(now);
        let back = passed.as_secs_f64() * self.quota.per_second;
        self.tokens = (self.tokens + back).min(f64::from(self.quota.burst));
    }
}

/// A bounded table of buckets with one quota.
#[derive(Debug, Clone)]
pub struct Buckets<K> {
    quota: Quota,
    capacity: usize,
    buckets: BTreeMap<K, TokenBucket>,
    /// What newcomers share while the table has no room.
    overflow: TokenBucket,
    swept: Option<Instant>,
}

impl<K: Ord + Copy> Buckets<K> {
    /// An empty table of at most `capacity` buckets, itself at most [`MAX_BUCKETS`].
    pub fn new(quota: Quota, capacity: usize, now: Instant) -> Self {
        Self {
            quota,
            capacity: capacity.min(MAX_BUCKETS),
            buckets: BTreeMap::new(),
            overflow: TokenBucket::new(quota, now),
            swept: None,
        }
    }

    /// Takes `cost` tokens of this key, or none if there are fewer.
    pub fn try_take(&mut self, key: K, cost: u32, now: Instant) -> bool {
        self.bucket(key, now).try_take(cost, now)
    }

    /// Whether this key has `cost` tokens.
    pub fn has(&mut self, key: K, cost: u32, now: Instant) -> bool {
        self.bucket(key, now).has(cost, now)
    }

    /// Buckets that are kept.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    fn bucket(&mut self, key: K, now: Instant) -> &mut TokenBucket {
        let is_new = !self.buckets.contains_key(&key);
        if is_new && self.buckets.len() >= self.capacity {
            self.sweep(now);
            if self.buckets.len() >= self.capacity {
                return &mut self.overflow;
            }
        }
        let quota = self.quota;
        let fresh = || TokenBucket::new(quota, now);
        self.buckets.entry(key).or_insert_with(fresh)
    }

    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now < swept + SWEEP_EVERY) {
            return;
        }
        self.swept = Some(now);
        self.buckets.retain(|_, bucket| !bucket.is_full(now));
    }
}

/// What each peer may do, in all and in each protocol; `P` names a protocol.
#[derive(Debug, Clone)]
pub struct PeerLimits<P> {
    in_all: Buckets<NodeId>,
    protocols: BTreeMap<P, Buckets<NodeId>>,
}

impl<P: Ord + Copy> PeerLimits<P> {
    /// These protocols, each with a quota a peer, and a quota for a peer's protocols together.
    pub fn new(in_all: Quota, protocols: &[(P, Quota)], now: Instant) -> Self {
        let table = |quota| Buckets::new(quota, MAX_BUCKETS, now);
        let protocols = protocols.iter().map(|(name, quota)| (*name, table(*quota)));
        Self {
            in_all: table(in_all),
            protocols: protocols.collect(),
        }
    }

    /// Takes `cost` tokens of the peer, in all and in this protocol, or none of either. A
    /// protocol without a quota is never allowed.
    pub fn try_take(&mut self, peer: NodeId, protocol: P, cost: u32, now: Instant) -> bool {
        let Some(bucket) = self.protocols.get_mut(&protocol) else {
            return false;
        };
        self.in_all.has(peer, cost, now)
            && bucket.try_take(peer, cost, now)
            && self.in_all.try_take(peer, cost, now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const QUOTA: Quota = Quota {
        burst: 10,
        per_second: 2.0,
    };

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(asks in vec((0_u64..2000, 0_u32..15), 0..200)) {
            let start = Instant::now();
            let mut bucket = TokenBucket::new(QUOTA, start);
            let (mut now, mut taken) = (start, 0);
            for (wait_ms, cost) in asks {
                now += Duration::from_millis(wait_ms);
                if bucket.try_take(cost, now) {
                    taken += cost;
                }
                let seconds = (now - start).as_secs_f64();
                prop_assert!(f64::from(taken) <= 10.0 + 2.0 * seconds + 1e-6);
            }
        }

        #[test]
        fn the_wait_is_long_enough(spent in 0_u32..10, cost in 0_u32..20) {
            let now = Instant::now();
            let mut bucket = TokenBucket::new(QUOTA, now);
            prop_assert!(bucket.try_take(spent, now));
            match bucket.wait(cost, now) {
                None => prop_assert!(cost > QUOTA.burst),
                // A nanosecond for the rounding.
                Some(wait) => prop_assert!(bucket.has(cost, now + wait + Duration::from_nanos(1))),
            }
        }

        #[test]
        fn a_flood_of_names_pays_no_debt(
            names in vec((1_u32..500, 0_u64..50), 0..400),
        ) {
            let mut now = Instant::now();
            let slow = Quota { burst: 4, per_second: 0.0 };
            let mut buckets = Buckets::new(slow, 8, now);
            prop_assert!(buckets.try_take(0, 4, now));
            let mut granted = 0;
            for (name, wait_ms) in names {
                now += Duration::from_millis(wait_ms);
                granted += u32::from(buckets.try_take(name, 1, now));
                prop_assert!(buckets.len() <= 8);
                prop_assert!(!buckets.try_take(0, 1, now), "the debt was forgotten");
            }
            // Seven buckets beside the first, and the shared one.
            prop_assert!(granted <= 8 * 4);
        }
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let now = Instant::now() + Duration::from_secs(10);
        let mut bucket = TokenBucket::new(QUOTA, now);
        assert!(bucket.try_take(10, now));
        assert!(!bucket.has(1, now - Duration::from_secs(5)));
        assert!(!bucket.has(1, now));
    }

    #[test]
    fn both_limits_count_and_neither_pays_for_the_other() {
        let now = Instant::now();
        let peer = NodeId::from(&ed25519_dalek::SigningKey::from_bytes(&[1; 32]));
        let quota = |burst| Quota {
            burst,
            per_second: 0.0,
        };
        let mut limits = PeerLimits::new(quota(5), &[("a", quota(3)), ("b", quota(3))], now);
        assert!(limits.try_take(peer, "a", 3, now));
        assert!(!limits.try_take(peer, "a", 1, now));
        assert!(!limits.try_take(peer, "b", 3, now), "2 are left in all");
        assert!(limits.try_take(peer, "b", 2, now), "and none was spent");
        assert!(!limits.try_take(peer, "c", 0, now));
    }
}
