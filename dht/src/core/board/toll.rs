//! How many notes are looked at: of one neighbour, and of all together.
//!
//! What a node passes on in all is less than what it takes of one neighbour, so that an honest
//! neighbour never pays for what others make it pass on. What is left out comes by reconciling.
//! How often an author may write is not known here.

use std::time::Instant;

use protocol::NodeId;

use crate::core::rate::{Buckets, MAX_BUCKETS, Quota, TokenBucket};

/// Notes that are looked at in all: 16 a second are a hundred and sixty agents that write as often
/// as they may; at 1 KB and five neighbours that is 80 KB/s of upload.
const OF_ALL: Quota = Quota {
    burst: 256,
    per_second: 16.0,
};

/// Of one neighbour: twice as many, so that no honest one reaches it.
const OF_ONE: Quota = Quota {
    burst: 512,
    per_second: 32.0,
};

/// What is done with a note that came by gossip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// It is looked at.
    Free,
    /// Too many come: it is dropped, and nobody is to blame.
    Full,
    /// The neighbour sends more than any honest one passes on.
    Excess,
}

/// Both limits.
#[derive(Debug, Clone)]
pub struct Toll {
    of_one: Buckets<NodeId>,
    of_all: TokenBucket,
}

impl Toll {
    /// Nothing came yet.
    pub fn new(now: Instant) -> Self {
        Self {
            of_one: Buckets::new(OF_ONE, MAX_BUCKETS, now),
            of_all: TokenBucket::new(OF_ALL, now),
        }
    }

    /// A neighbour brings a note.
    pub fn on_note(&mut self, neighbour: NodeId, now: Instant) -> Passage {
        if !self.of_one.try_take(neighbour, 1, now) {
            return Passage::Excess;
        }
        match self.of_all.try_take(1, now) {
            true => Passage::Free,
            false => Passage::Full,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ed25519_dalek::SigningKey;

    use super::*;

    fn node(seed: u8) -> NodeId {
        NodeId::from(&SigningKey::from_bytes(&[seed; 32]))
    }

    #[test]
    fn who_passes_on_what_passes_here_is_never_over_the_limit() {
        let start = Instant::now();
        let (mut here, mut there) = (Toll::new(start), Toll::new(start));
        let mut passed = 0;
        for step in 0..20_000_u32 {
            let now = start + Duration::from_millis(5) * step;
            let from = node(u8::try_from(step % 8).unwrap());
            if here.on_note(from, now) == Passage::Free {
                passed += 1;
                assert_ne!(there.on_note(node(9), now), Passage::Excess);
            }
        }
        // Bursts, and 16 a second over 100 s.
        assert!((1800..=1900).contains(&passed), "{passed}");
    }

    #[test]
    fn who_floods_is_told_apart() {
        let now = Instant::now();
        let mut toll = Toll::new(now);
        let flood: Vec<Passage> = (0..1000).map(|_| toll.on_note(node(1), now)).collect();
        let count = |passage| flood.iter().filter(|p| **p == passage).count();
        let counts = [Passage::Free, Passage::Full, Passage::Excess].map(count);
        assert_eq!(counts, [256, 256, 488]);
        assert_eq!(toll.on_note(node(2), now), Passage::Full);
    }
}
