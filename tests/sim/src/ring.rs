//! Who is in the distributed hash table, and who is closest to a point: the table as it would be
//! if every lookup were perfect.

use std::collections::BTreeMap;

use dht::core::size::{CLOSEST, HashedKey};

/// Peers by the beginning of their hashed keys.
#[derive(Default)]
pub(crate) struct Ring {
    peers: BTreeMap<u64, usize>,
}

/// The beginning of a key, which no two peers share.
pub(crate) fn high(key: &HashedKey) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *key;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

impl Ring {
    pub(crate) fn insert(&mut self, key: &HashedKey, peer: usize) {
        self.peers.insert(high(key), peer);
    }

    pub(crate) fn remove(&mut self, key: &HashedKey) {
        self.peers.remove(&high(key));
    }

    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    /// The closest among those that can be seen, by the XOR metric: they share the longest
    /// beginnings with the target, so the smallest subtree with enough of them holds them all.
    pub(crate) fn closest(&self, target: u64, is_seen: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut found = Vec::new();
        for bits in (0..=u64::BITS).rev() {
            let free = u64::MAX.checked_shr(bits).unwrap_or(0);
            let subtree = self.peers.range(target & !free..=target | free);
            let seen = subtree.filter(|(_, peer)| is_seen(**peer));
            if bits > 0 && seen.clone().take(CLOSEST).count() < CLOSEST {
                continue;
            }
            found = seen.map(|(key, peer)| (key ^ target, *peer)).collect();
            break;
        }
        found.sort_unstable();
        found.truncate(CLOSEST);
        found.into_iter().map(|(_, peer)| peer).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn the_closest_are_those_of_a_search_through_all() {
        let mut rng = StdRng::seed_from_u64(1);
        for size in [0, 1, 19, 20, 21, 300] {
            let mut ring = Ring::default();
            let keys: Vec<HashedKey> = (0..size).map(|_| rng.random()).collect();
            for (peer, key) in keys.iter().enumerate() {
                ring.insert(key, peer);
            }
            for _ in 0..50 {
                let target: u64 = rng.random();
                let is_seen = |peer: usize| !peer.is_multiple_of(3);
                let peers = keys.iter().enumerate().filter(|(peer, _)| is_seen(*peer));
                let mut all: Vec<_> = peers.map(|(p, key)| (high(key) ^ target, p)).collect();
                all.sort_unstable();
                let nearest: Vec<usize> = all.into_iter().map(|(_, p)| p).take(CLOSEST).collect();
                assert_eq!(ring.closest(target, is_seen), nearest);
            }
        }
    }
}
