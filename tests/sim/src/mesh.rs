//! Gossip topics: who listens, who is linked to whom, and the messages under way.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use protocol::{Verified, advert::Advert, names::ShardPrefix};

/// Links that a peer aims at in each topic. These three are what a node sets gossipsub up with.
pub(crate) const DEGREE: usize = 5;

/// Below this many new ones are made.
pub(crate) const DEGREE_LOW: usize = 4;

/// A peer with this many takes no more.
pub(crate) const DEGREE_HIGH: usize = 8;

/// Peers to whom it announces, beside the mesh, what it passed on.
pub(crate) const LAZY: u32 = 4;

/// What a message says.
#[derive(Debug)]
pub(crate) enum Content {
    /// An honest author's advert, verified when it was made.
    Sound(Box<Verified<Advert>>),
    /// Bytes of an adversary's, verified by each receiver.
    Raw(Vec<u8>),
}

/// A message under way.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) topic: ShardPrefix,
    pub(crate) content: Content,
    pub(crate) bytes: usize,
    /// When it comes to whom first; `None`: it was handled there.
    pub(crate) arrivals: RefCell<BTreeMap<usize, Option<Duration>>>,
}

impl Message {
    pub(crate) fn new(topic: ShardPrefix, content: Content, bytes: usize) -> Self {
        Self {
            topic,
            content,
            bytes,
            arrivals: RefCell::default(),
        }
    }

    pub(crate) fn is_raw(&self) -> bool {
        matches!(self.content, Content::Raw(_))
    }

    /// Whether it is the first copy at this peer, which it is once.
    pub(crate) fn take(&self, peer: usize) -> bool {
        let mut arrivals = self.arrivals.borrow_mut();
        arrivals.insert(peer, None) != Some(None)
    }

    /// Whether a copy at this time comes before any other.
    pub(crate) fn comes_first(&self, peer: usize, at: Duration) -> bool {
        let mut arrivals = self.arrivals.borrow_mut();
        let is_first = match arrivals.get(&peer) {
            None => true,
            Some(None) => false,
            Some(Some(earlier)) => at < *earlier,
        };
        if is_first {
            arrivals.insert(peer, Some(at));
        }
        is_first
    }
}

type Links = BTreeMap<usize, BTreeSet<usize>>;

/// All topics and their meshes.
#[derive(Default)]
pub(crate) struct Meshes {
    topics: BTreeMap<ShardPrefix, Links>,
}

impl Meshes {
    pub(crate) fn join(&mut self, topic: ShardPrefix, peer: usize) {
        let links = self.topics.entry(topic).or_default();
        links.entry(peer).or_default();
    }

    pub(crate) fn leave(&mut self, topic: ShardPrefix, peer: usize) {
        let Some(links) = self.topics.get_mut(&topic) else {
            return;
        };
        for other in links.remove(&peer).unwrap_or_default() {
            links.entry(other).and_modify(|l| {
                l.remove(&peer);
            });
        }
        if links.is_empty() {
            self.topics.remove(&topic);
        }
    }

    pub(crate) fn links(&self, topic: ShardPrefix, peer: usize) -> Vec<usize> {
        let links = self.topics.get(&topic).and_then(|links| links.get(&peer));
        links
            .map(|l| l.iter().copied().collect())
            .unwrap_or_default()
    }

    pub(crate) fn listens(&self, topic: ShardPrefix, peer: usize) -> bool {
        let links = self.topics.get(&topic);
        links.is_some_and(|links| links.contains_key(&peer))
    }

    pub(crate) fn is_linked(&self, topic: ShardPrefix, one: usize, other: usize) -> bool {
        let links = self.topics.get(&topic).and_then(|links| links.get(&one));
        links.is_some_and(|l| l.contains(&other))
    }

    /// Links two listeners; `false` if one has enough links or does not listen.
    pub(crate) fn link(&mut self, topic: ShardPrefix, one: usize, other: usize) -> bool {
        let Some(links) = self.topics.get_mut(&topic) else {
            return false;
        };
        let has_room = |peer| links.get(&peer).is_some_and(|l| l.len() < DEGREE_HIGH);
        if one == other || !has_room(one) || !has_room(other) {
            return false;
        }
        links.entry(one).or_default().insert(other);
        links.entry(other).or_default().insert(one);
        true
    }

    /// Takes the link between two peers away.
    pub(crate) fn unlink(&mut self, topic: ShardPrefix, one: usize, other: usize) {
        let Some(links) = self.topics.get_mut(&topic) else {
            return;
        };
        for (from, to) in [(one, other), (other, one)] {
            if let Some(l) = links.get_mut(&from) {
                l.remove(&to);
            }
        }
    }
}
