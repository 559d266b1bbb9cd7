//! Messages of gossip: their ways, and what each peer does with one.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use bytes::Bytes;
use dht::core::{
    adverts,
    board::{Passage, Verdict},
    score::Offence,
};
use protocol::{NodeId, board::Entry, limits::MAX_ENTRY_BYTES};

use super::BoardSwarm;
use crate::mesh::DEGREE;

/// Peers, by their number, as bits.
pub(super) struct Seen(Vec<u64>);

/// One message.
pub(super) struct Message {
    pub(super) bytes: Bytes,
    /// An honest author's, verified when it was made.
    pub(super) sound: Option<Rc<Entry>>,
    /// Whom it reached by gossip.
    pub(super) seen: Seen,
    /// When its first copy comes to whom; later ones change nothing.
    arrivals: BTreeMap<usize, Duration>,
}

impl Seen {
    pub(super) fn insert(&mut self, number: usize) -> bool {
        let bit = 1 << (number % 64);
        let word = &mut self.0[number / 64];
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.0[number / 64] & (1 << (number % 64)) != 0
    }
}

impl Message {
    pub(super) fn new(bytes: Bytes, sound: Option<Rc<Entry>>, peers: usize) -> Self {
        Self {
            bytes,
            sound,
            seen: Seen(vec![0; peers.div_ceil(64)]),
            arrivals: BTreeMap::new(),
        }
    }

    /// Whether a copy comes before any other that is under way.
    pub(super) fn comes_first(&mut self, to: usize, at: Duration) -> bool {
        if self.seen.contains(to) {
            return false;
        }
        let earlier = self.arrivals.get(&to);
        let is_first = earlier.is_none_or(|earlier| at < *earlier);
        if is_first {
            self.arrivals.insert(to, at);
        }
        is_first
    }
}

impl BoardSwarm {
    /// To the mesh, and to more while it has too few.
    pub(super) fn publish(&mut self, number: usize, message: usize) {
        let member = &self.members[number];
        let more = member.links.difference(&member.mesh);
        let missing = DEGREE.saturating_sub(member.mesh.len());
        let to: Vec<usize> = member
            .mesh
            .iter()
            .chain(more.take(missing))
            .copied()
            .collect();
        self.members[number].recent.push((self.now, message));
        for to in to {
            self.send(number, to, message, Duration::ZERO);
        }
    }

    pub(super) fn on_gossip(&mut self, from: usize, to: usize, message: usize) {
        let is_linked = self.members[to].links.contains(&from);
        if !self.members[to].is_online || !is_linked || !self.messages[message].seen.insert(to) {
            return;
        }
        if !self.members[to].is_honest() {
            return;
        }
        let verdict = self.judge(from, to, message);
        match verdict.gossip() {
            adverts::Verdict::Accept => {
                self.members[to].recent.push((self.now, message));
                for next in self.members[to].mesh.clone() {
                    if next != from {
                        self.send(to, next, message, Duration::ZERO);
                    }
                }
            }
            adverts::Verdict::Ignore => {}
            adverts::Verdict::Reject => self.blame(to, from, Offence::InvalidMessage, false),
        }
    }

    fn judge(&mut self, from: usize, to: usize, message: usize) -> Verdict {
        let (now, neighbour) = (self.at(), self.members[from].node);
        match self.members[to].toll.on_note(neighbour, now) {
            Passage::Free => {}
            Passage::Full => return Verdict::Ignored,
            Passage::Excess => {
                self.blame(to, from, Offence::RateExcess, false);
                return Verdict::Ignored;
            }
        }
        let message = &self.messages[message];
        let (bytes, sound) = (message.bytes.clone(), message.sound.clone());
        let entry = match self.check(&bytes, sound) {
            Ok(entry) => entry,
            Err(verdict) => return verdict,
        };
        let member = &mut self.members[to];
        if member.has(&entry.id) {
            return Verdict::Known;
        }
        if !member.authors.try_take(entry.author, 1, now) {
            return Verdict::Ignored;
        }
        if !self.members[to].keep(&entry) {
            return Verdict::Ignored;
        }
        self.arrived(to, &entry.id);
        Verdict::New
    }

    /// What a ledger checks of bytes that came from anywhere.
    pub(super) fn check(
        &mut self,
        bytes: &Bytes,
        sound: Option<Rc<Entry>>,
    ) -> Result<Rc<Entry>, Verdict> {
        if let Some(entry) = sound {
            return Ok(entry);
        }
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(Verdict::Invalid);
        }
        self.log.looked_at += 1;
        match Entry::decode(bytes, &self.swarm, self.unix()) {
            Ok(entry) => Ok(Rc::new(entry)),
            Err(error) if error.blames_sender() => {
                self.log.refused += 1;
                Err(Verdict::Invalid)
            }
            Err(_) => Err(Verdict::Ignored),
        }
    }

    /// The number of a node, if it is anybody's.
    pub(super) fn number(&self, node: &NodeId) -> Option<usize> {
        self.members.iter().position(|member| member.node == *node)
    }
}
