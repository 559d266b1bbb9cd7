//! Peers whose adverts say that they serve, and who do not answer: an advert outlives its author by
//! minutes. It asks nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use protocol::NodeId;

/// How long a peer that did not answer counts as gone: it may come again, and then says so.
const FORGET_AFTER: Duration = Duration::from_secs(120);

/// Peers that are remembered; beyond that the oldest is forgotten.
const MOST: usize = 256;

/// Peers that did not answer. Clones share it; the lock is held for a look-up only.
#[derive(Debug, Clone, Default)]
pub(super) struct Silent {
    since: Arc<Mutex<BTreeMap<NodeId, Instant>>>,
}

impl Silent {
    /// Takes note of whether a peer answered just now.
    pub(super) fn note(&self, node: NodeId, answers: bool, now: Instant) {
        let mut since = self.lock();
        since.retain(|_, at| now < *at + FORGET_AFTER);
        since.remove(&node);
        if answers {
            return;
        }
        if since.len() >= MOST
            && let Some(oldest) = since.iter().min_by_key(|(_, at)| **at)
        {
            let oldest = *oldest.0;
            since.remove(&oldest);
        }
        since.insert(node, now);
    }

    /// Those who did not answer lately.
    pub(super) fn nodes(&self, now: Instant) -> BTreeSet<NodeId> {
        let since = self.lock();
        let lately = since.iter().filter(|(_, at)| now < **at + FORGET_AFTER);
        lately.map(|(node, _)| *node).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Instant>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;

    use super::*;

    #[test]
    fn who_is_silent_is_forgotten_in_time_and_few_are_remembered() {
        let node = |n: u32| {
            let mut secret = [0; 32];
            secret[..4].copy_from_slice(&n.to_be_bytes());
            NodeId::from(&SigningKey::from_bytes(&secret))
        };
        let (silent, now) = (Silent::default(), Instant::now());
        silent.note(node(1), false, now);
        assert!(silent.nodes(now).contains(&node(1)));
        silent.note(node(1), true, now);
        assert!(silent.nodes(now).is_empty());
        for n in 0..600 {
            silent.note(node(n), false, now);
        }
        assert_eq!(silent.nodes(now).len(), MOST);
        assert!(silent.nodes(now + FORGET_AFTER).is_empty());
    }
}
