//! Which shard of the adverts this node is in, and when it moves to another.
//!
//! A shard is the peers whose hash begins with the same bits; the more peers, the more bits, so
//! that a shard has 50 to 200 peers, and what a node hears does not grow with the swarm. By the
//! estimated size (see [`crate::core::size`]):
//! - no shard → a shard: the first estimate, at once, near [`TARGET`] peers; for [`ARRIVAL`] it
//!   publishes also where else the others may be;
//! - split: more than [`SPLIT_ABOVE`] peers in the shard for [`DWELL`] without a break;
//! - merge: fewer than [`MERGE_BELOW`] for as long;
//! - follow: beside [`BETWEEN`] others may be in the next wider or narrower shard. Its topic is
//!   listened to, so whatever side of a split somebody is on, it hears the other; and once half of
//!   its peers are heard there and no longer here, this node moves too. So nobody stays behind
//!   because its own estimate is a little off.
//!
//! After a move the old topic is listened to and published on for [`OVERLAP`]: whoever has not
//! moved yet is heard, and hears.
//!
//! A topic belongs to the authors whose hash begins with its bits: nobody can speak in a shard that
//! it was not drawn into, unless it makes up identities until one fits, and then it is one author
//! there. A cell of network coordinates could bring near peers together, but a coordinate is a
//! claim that nobody can check, and a newcomer has none: so there is one cell, [`CELL`], until
//! there is a way to prove a place.
//!
//! It does not know gossip: it is told what was heard, and says which topics there should be.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    time::{Duration, Instant},
};

use protocol::{
    NodeId, Sequence,
    limits::{ADVERT_HEARTBEAT, ADVERT_LIFETIME},
    names::{ShardPrefix, Topic},
};

use super::adverts::MAX_AUTHORS;

/// The one cell that there is.
pub const CELL: u16 = 0;

/// Peers of a shard at best: choice enough of neighbours and models, and one advert a second.
pub const TARGET: f64 = 100.0;

/// Above this many peers a shard splits: each half has 80. The design's bound is 200, and
/// estimates are off by a tenth.
pub const SPLIT_ABOVE: f64 = 160.0;

/// Below this many it merges: into 120.
pub const MERGE_BELOW: f64 = 60.0;

/// With so many peers a shard is the only one that they can be in: with fewer, one twice as large
/// may not have split yet ([`SPLIT_ABOVE`]), with more, ones half as large may not have merged
/// ([`MERGE_BELOW`]); and a tenth for the error of estimates.
pub const BETWEEN: Range<f64> = 90.0..110.0;

/// How long a bound must be passed: two lookups, so that no single one moves a node.
pub const DWELL: Duration = Duration::from_secs(120);

/// How long the topic before a move is kept: everybody's advert comes twice in this time, whoever
/// listened for one heartbeat only included, and those who follow have followed.
pub const OVERLAP: Duration = Duration::from_secs(2 * ADVERT_LIFETIME.as_secs());

/// How long a topic must be listened to before its authors can be counted: the longest pause
/// between an author's adverts.
pub const COUNT_AFTER: Duration = Duration::from_secs(ADVERT_HEARTBEAT.as_secs() * 6 / 5);

/// How long a newcomer publishes in two shards: until it has heard everybody's claim of the size,
/// and a wrong first estimate has led to a move.
pub const ARRIVAL: Duration = Duration::from_secs(COUNT_AFTER.as_secs() + DWELL.as_secs());

/// Earlier topics that are kept at a time: a swarm that grows a thousandfold in [`OVERLAP`] moves
/// in one step, so three are already rare.
pub const MAX_EARLIER: usize = 3;

/// Authors of whom it is known on which topics they were heard: as many as the view of adverts has.
pub const MAX_HEARD: usize = MAX_AUTHORS;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Subscribe to this shard's topic.
    Listen(ShardPrefix),
    /// Unsubscribe from it.
    Leave(ShardPrefix),
    /// This is the shard that the node is in from now on: publish there soon.
    Moved(ShardPrefix),
}

/// Why an advert does not belong to the topic that it came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShardError {
    /// The author's hash does not begin with the topic's bits; no honest peer publishes it there.
    #[error("the advert's author belongs to another shard")]
    Foreign,
    /// This node no longer listens to the topic, or never did.
    #[error("the topic is not listened to")]
    NotListening,
}

#[derive(Debug, Clone, Copy)]
struct Shard {
    bits: u8,
    since: Instant,
}

/// An author's newest advert.
#[derive(Debug, Clone, Copy)]
struct Heard {
    sequence: Sequence,
    /// On which topics: the bit at each one's number of bits.
    topics: u64,
    at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Split,
    Merge,
}

/// The shards of one node.
#[derive(Debug, Clone)]
pub struct Shards {
    hash: u32,
    current: Option<Shard>,
    /// Left, and published on until then; oldest first.
    earlier: Vec<(u8, Instant)>,
    /// Listened to only.
    peek: Option<u8>,
    heard: BTreeMap<NodeId, Heard>,
    /// The bound that is passed, since when.
    passed: Option<(Bound, Instant)>,
    /// The topics that the shell was told of.
    listening: BTreeSet<u8>,
}

impl Shards {
    /// In no shard yet.
    pub fn new(own: &NodeId) -> Self {
        Self {
            hash: ShardPrefix::hash(own),
            current: None,
            earlier: Vec::new(),
            peek: None,
            heard: BTreeMap::new(),
            passed: None,
            listening: BTreeSet::new(),
        }
    }

    /// The shard that this node is in.
    pub fn current(&self) -> Option<ShardPrefix> {
        self.current.map(|shard| self.prefix(shard.bits))
    }

    /// Where the own adverts are published.
    pub fn publishes(&self) -> Vec<Topic> {
        let bits = self.published_bits();
        let topic = |bits| Topic::Adverts {
            cell: CELL,
            prefix: self.prefix(bits),
        };
        bits.map(topic).collect()
    }

    /// Since when the own shard is heard completely enough to count its authors: the number of its
    /// bits, or `None` until then.
    pub fn countable_bits(&self, now: Instant) -> Option<u8> {
        let shard = self.current?;
        let listened = now.saturating_duration_since(shard.since);
        (listened >= COUNT_AFTER).then_some(shard.bits)
    }

    /// Whether an author is of the own shard.
    pub fn is_neighbour(&self, author: &NodeId) -> bool {
        let current = self.current();
        current.is_some_and(|shard| shard.contains(ShardPrefix::hash(author)))
    }

    /// Whether an advert of this author may come on this shard's topic; checked before it is
    /// looked at any closer, let alone passed on.
    ///
    /// # Errors
    /// Every [`ShardError`].
    pub fn check(&self, topic: ShardPrefix, author: &NodeId) -> Result<(), ShardError> {
        if !topic.contains(ShardPrefix::hash(author)) {
            return Err(ShardError::Foreign);
        }
        let bits = topic.length();
        if self.prefix(bits) != topic || !self.listening.contains(&bits) {
            return Err(ShardError::NotListening);
        }
        Ok(())
    }

    /// Takes note that a checked and verified advert came on a topic. Whether it is the first time
    /// on this topic: an advert that is known already from another one is passed on then, or in a
    /// transition each half of the peers would be deaf to the other's topic.
    pub fn on_heard(
        &mut self,
        topic: ShardPrefix,
        author: NodeId,
        sequence: Sequence,
        now: Instant,
    ) -> bool {
        let bit = 1 << topic.length();
        let is_known = self.heard.contains_key(&author);
        if !is_known && self.heard.len() >= MAX_HEARD {
            let oldest = self.heard.iter().min_by_key(|(_, heard)| heard.at);
            if let Some(author) = oldest.map(|(author, _)| *author) {
                self.heard.remove(&author);
            }
        }
        let heard = self.heard.entry(author).or_insert(Heard {
            sequence,
            topics: 0,
            at: now,
        });
        if sequence < heard.sequence || (sequence == heard.sequence && heard.topics & bit != 0) {
            return false;
        }
        if sequence > heard.sequence {
            heard.topics = 0;
        }
        *heard = Heard {
            sequence,
            topics: heard.topics | bit,
            at: now,
        };
        true
    }

    /// When [`Self::poll`] is due, if the estimate does not change before.
    pub fn next_deadline(&self) -> Option<Instant> {
        let dwelt = self.passed.map(|(_, since)| since + DWELL);
        let ends = self.earlier.iter().map(|(_, until)| *until);
        ends.chain(dwelt).min()
    }

    /// Takes the estimated size of the swarm; what is to be done is appended to `out`. Call it
    /// with each new estimate, and at the deadline.
    pub fn poll(&mut self, size: Option<u32>, now: Instant, out: &mut Vec<Output>) {
        self.earlier.retain(|(_, until)| now < *until);
        let lives = |heard: &Heard| now.saturating_duration_since(heard.at) < ADVERT_LIFETIME;
        self.heard.retain(|_, heard| lives(heard));
        match size {
            Some(size) => self.on_size(f64::from(size), now, out),
            None => self.passed = None,
        }
        self.show_topics(out);
    }

    fn on_size(&mut self, size: f64, now: Instant, out: &mut Vec<Output>) {
        let Some(shard) = self.current else {
            self.arrive(size, now, out);
            return;
        };
        let peers = peers_of(size, shard.bits);
        self.note_bound(peers, shard.bits, now);
        // Who comes from there still publishes there: that is no crowd to follow.
        let is_left = |bits: &u8| self.earlier.iter().any(|(left, _)| left == bits);
        let next = next_bits(peers, shard.bits).filter(|bits| !is_left(bits));
        self.peek = next;
        let dwelt = self.passed.is_some_and(|(_, since)| now >= since + DWELL);
        let follows = self.peek.filter(|bits| self.has_moved(size, *bits));
        if dwelt {
            self.enter(best_bits(size), now, out);
        } else if let Some(bits) = follows {
            self.enter(bits, now, out);
        }
    }

    fn note_bound(&mut self, peers: f64, bits: u8, now: Instant) {
        let bound = if peers > SPLIT_ABOVE && bits < ShardPrefix::MAX_LENGTH {
            Some(Bound::Split)
        } else if peers < MERGE_BELOW && bits > 0 {
            Some(Bound::Merge)
        } else {
            None
        };
        self.passed = bound.map(|bound| match self.passed {
            Some((held, since)) if held == bound => (held, since),
            _ => (bound, now),
        });
    }

    /// Whether half of the peers that both shards would have are heard there only. Whoever is heard
    /// here too is on its way, nobody knows in which direction: following those, everybody would
    /// go to and fro. And whoever belongs to one of the two only says nothing of the other.
    fn has_moved(&self, size: f64, bits: u8) -> bool {
        let current = self.current.map_or(0, |current| current.bits);
        let narrower = bits.max(current);
        let shard = self.prefix(narrower);
        let here: u64 = 1 << current;
        let there: u64 = 1 << bits;
        let is_there = |(author, heard): &(&NodeId, &Heard)| {
            heard.topics & (there | here) == there && shard.contains(ShardPrefix::hash(author))
        };
        let moved = self.heard.iter().filter(is_there).count();
        let moved = f64::from(u32::try_from(moved).unwrap_or(u32::MAX));
        moved >= peers_of(size, narrower) / 2.0
    }

    /// A newcomer's shard. A first estimate is rough: where the others may be in another one, it
    /// is in that one too for a while, as if it came from there.
    fn arrive(&mut self, size: f64, now: Instant, out: &mut Vec<Output>) {
        let bits = best_bits(size);
        let other = next_bits(peers_of(size, bits), bits);
        self.earlier.extend(other.map(|bits| (bits, now + ARRIVAL)));
        self.enter(bits, now, out);
    }

    fn enter(&mut self, bits: u8, now: Instant, out: &mut Vec<Output>) {
        self.passed = None;
        if self.current.is_some_and(|shard| shard.bits == bits) {
            return;
        }
        if let Some(left) = self.current {
            self.earlier.push((left.bits, now + OVERLAP));
        }
        self.earlier.retain(|(earlier, _)| *earlier != bits);
        if self.earlier.len() > MAX_EARLIER {
            self.earlier.remove(0);
        }
        self.current = Some(Shard { bits, since: now });
        self.peek = None;
        // Whoever publishes on a topic hears there what others say of it.
        self.show_topics(out);
        out.push(Output::Moved(self.prefix(bits)));
    }

    fn show_topics(&mut self, out: &mut Vec<Output>) {
        let wanted: BTreeSet<u8> = self.published_bits().chain(self.peek).collect();
        let new = wanted.difference(&self.listening);
        out.extend(new.map(|bits| Output::Listen(self.prefix(*bits))));
        let old = self.listening.difference(&wanted);
        out.extend(old.map(|bits| Output::Leave(self.prefix(*bits))));
        self.listening = wanted;
    }

    fn published_bits(&self) -> impl Iterator<Item = u8> {
        let current = self.current.map(|shard| shard.bits);
        let earlier = self.earlier.iter().map(|(bits, _)| *bits);
        current.into_iter().chain(earlier)
    }

    fn prefix(&self, bits: u8) -> ShardPrefix {
        ShardPrefix::new(self.hash, bits)
    }
}

/// Peers in one shard of so many bits.
fn peers_of(size: f64, bits: u8) -> f64 {
    size / f64::from(bits).exp2()
}

/// The number of bits with which a shard comes nearest to [`TARGET`], in factors.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0..=32 before"
)]
fn best_bits(size: f64) -> u8 {
    let bits = (size / TARGET).log2().round();
    bits.clamp(0.0, f64::from(ShardPrefix::MAX_LENGTH)) as u8
}

/// The other shard that some may be in.
fn next_bits(peers: f64, bits: u8) -> Option<u8> {
    if peers > BETWEEN.end {
        bits.checked_add(1)
            .filter(|b| *b <= ShardPrefix::MAX_LENGTH)
    } else if peers < BETWEEN.start {
        bits.checked_sub(1)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
