//! How lists of revocations reach every member: who is asked when, and what is answered.
//!
//! A request says what its sender has, so it is an announcement too: whoever reads of something
//! newer asks back. A node asks each peer when it meets it, and every peer again whenever its own
//! lists changed. So a list floods over the members' connections, 1 KB a connection, and the list
//! itself goes only where it is missing. (Gossip could carry no list: it is too long.)
//!
//! Of each peer: idle → wanted → asked → idle, or → failed → wanted after [`RETRY_AFTER`].
//! At most [`MAX_ASKS`] are asked at one time. Nothing is believed here: [`SpreadOutput::List`]
//! goes to a roster, and what the roster then holds comes back by [`Spread::update`].

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use protocol::{
    NodeId, Sequence,
    limits::MAX_REVOCATION_LISTS,
    membership::{Chain, Heads, ListHead, RevocationsReply, RevocationsRequest, wire},
};

use super::roster::MAX_REVOKERS;
use crate::core::rate::{Buckets, MAX_BUCKETS, Quota};

/// Peers that are asked at one time: each may answer with 864 KB.
pub const MAX_ASKS: usize = 16;

/// After a request that failed, while the peer stays connected.
const RETRY_AFTER: Duration = Duration::from_secs(30);

/// What one peer may ask: at each change of its lists, which are rare, with room for a meeting
/// after a partition.
const REQUESTS: Quota = Quota {
    burst: 16,
    per_second: 0.2,
};

/// The root's list and each delegate's fit one message.
const _: () = assert!(MAX_REVOKERS < MAX_REVOCATION_LISTS);

type List = Chain<wire::Revocations>;

/// What the owner does, in order. `K` names a peer.
#[derive(Debug, Clone, PartialEq)]
pub enum SpreadOutput<K> {
    /// Send this to a peer, then call [`Spread::on_reply`] or [`Spread::on_failed`].
    Ask {
        /// Whom.
        peer: K,
        /// What this node has.
        request: RevocationsRequest,
    },
    /// A peer has this list: give it to the roster.
    List {
        /// Who.
        peer: K,
        /// Not checked.
        list: Box<List>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Idle,
    Wanted,
    /// And whether it is wanted once more.
    Asked(bool),
    Failed(Instant),
}

/// One node's share in it.
#[derive(Debug)]
pub struct Spread<K> {
    heads: Heads,
    lists: Vec<(NodeId, List)>,
    peers: BTreeMap<K, Stand>,
    requests: Buckets<K>,
    outputs: VecDeque<SpreadOutput<K>>,
}

impl<K: Copy + Ord> Spread<K> {
    /// Nothing is known, nobody is here.
    pub fn new(now: Instant) -> Self {
        Self {
            heads: Heads::new(),
            lists: Vec::new(),
            peers: BTreeMap::new(),
            requests: Buckets::new(REQUESTS, MAX_BUCKETS, now),
            outputs: VecDeque::new(),
        }
    }

    /// The next thing to do.
    pub fn next_output(&mut self) -> Option<SpreadOutput<K>> {
        self.outputs.pop_front()
    }

    /// What the roster holds now. When it changed, every peer hears of it.
    pub fn update<'a>(&mut self, lists: impl IntoIterator<Item = (NodeId, Sequence, &'a List)>) {
        let mut heads = Heads::new();
        self.lists.clear();
        for (author, sequence, list) in lists {
            if let Some(head) = ListHead::of(sequence, list) {
                heads.insert(author, head);
                self.lists.push((author, list.clone()));
            }
        }
        if heads == self.heads {
            return;
        }
        self.heads = heads;
        let peers: Vec<_> = self.peers.keys().copied().collect();
        peers.into_iter().for_each(|peer| self.want(peer));
        self.ask_some();
    }

    /// A member is connected, by its first connection.
    pub fn on_connected(&mut self, peer: K) {
        self.peers.entry(peer).or_insert(Stand::Idle);
        self.want(peer);
        self.ask_some();
    }

    /// A member has no connection any more.
    pub fn on_disconnected(&mut self, peer: K) {
        self.peers.remove(&peer);
        self.ask_some();
    }

    /// Answers a peer. `None` when it asks too often.
    pub fn on_request(
        &mut self,
        peer: K,
        request: &RevocationsRequest,
        now: Instant,
    ) -> Option<RevocationsReply> {
        if !self.requests.try_take(peer, 1, now) {
            return None;
        }
        if has_news(&request.heads, &self.heads) {
            self.want(peer);
            self.ask_some();
        }
        let is_newer = |author: &NodeId| {
            let ours = self.heads.get(author);
            ours.is_some_and(|head| head.is_news_to(request.heads.get(author)))
        };
        let newer = self.lists.iter().filter(|(author, _)| is_newer(author));
        Some(RevocationsReply {
            heads: self.heads.clone(),
            lists: newer.map(|(_, list)| list.clone()).collect(),
        })
    }

    /// A peer answered.
    pub fn on_reply(&mut self, peer: K, reply: RevocationsReply) {
        for list in reply.lists {
            let list = Box::new(list);
            self.outputs.push_back(SpreadOutput::List { peer, list });
        }
        self.on_answered(peer, Stand::Idle);
    }

    /// A peer did not answer, or not so that it could be read.
    pub fn on_failed(&mut self, peer: K, now: Instant) {
        self.on_answered(peer, Stand::Failed(now + RETRY_AFTER));
    }

    /// When [`Spread::on_tick`] is to be called.
    pub fn next_deadline(&self) -> Option<Instant> {
        let retry = |stand: &Stand| match stand {
            Stand::Failed(at) => Some(*at),
            _ => None,
        };
        self.peers.values().filter_map(retry).min()
    }

    /// Asks again where that failed.
    pub fn on_tick(&mut self, now: Instant) {
        for stand in self.peers.values_mut() {
            if matches!(stand, Stand::Failed(at) if *at <= now) {
                *stand = Stand::Wanted;
            }
        }
        self.ask_some();
    }

    fn on_answered(&mut self, peer: K, then: Stand) {
        if let Some(stand) = self.peers.get_mut(&peer) {
            *stand = match *stand {
                Stand::Asked(true) => Stand::Wanted,
                Stand::Asked(false) => then,
                other => other,
            };
        }
        self.ask_some();
    }

    fn want(&mut self, peer: K) {
        if let Some(stand) = self.peers.get_mut(&peer) {
            *stand = match *stand {
                Stand::Asked(_) => Stand::Asked(true),
                _ => Stand::Wanted,
            };
        }
    }

    fn ask_some(&mut self) {
        let asked = self.peers.values().filter(|s| matches!(s, Stand::Asked(_)));
        let places = MAX_ASKS.saturating_sub(asked.count());
        let wanted = self.peers.iter_mut().filter(|(_, s)| **s == Stand::Wanted);
        for (peer, stand) in wanted.take(places) {
            *stand = Stand::Asked(false);
            self.outputs.push_back(SpreadOutput::Ask {
                peer: *peer,
                request: RevocationsRequest {
                    heads: self.heads.clone(),
                },
            });
        }
    }
}

/// Whether one of `theirs` is worth asking for by a node with `ours`.
fn has_news(theirs: &Heads, ours: &Heads) -> bool {
    let mut theirs = theirs.iter();
    theirs.any(|(author, head)| head.is_news_to(ours.get(author)))
}

#[cfg(test)]
mod tests;
