//! What others said of themselves, and what is kept of it.
//!
//! One entry for each author, its newest advert. A message's way: form, swarm, author, time,
//! sequence, rate, seat; the first that fails decides the [`Outcome`], and with it whether gossip
//! passes the message on. Two different adverts under one sequence number are equivocation: their
//! author is shunned for [`SHUN`], both are kept as the proof, and the second is passed on once, so
//! that whoever saw only the other learns of it too.
//!
//! Seats are limited. Peers near to us and of our group go before strangers, and strangers hold
//! theirs by lot: the lot is a hash of the author's id under a secret of this node, so who comes
//! first, often or in crowds gains nothing, and a crowd gets at most its share of the strangers'
//! seats (as in Brahms: Bortnikov, Gurevich, Keidar, Kliot and Shraer, 2009).
//!
//! It does not know sockets, who is ranked first, nor whether a claim is true.

mod allowance;
mod material;
mod outcome;
mod publisher;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use protocol::{
    ModelName, NodeId, Sequence, Signed, UnixMillis, Verified,
    advert::{Advert, Deployed, Profile},
    digest::digest,
    limits::{ADVERT_LIFETIME, MAX_CLOCK_SKEW},
    names::SwarmName,
};

use allowance::{Allowance, HEARD_AT_ONCE};
pub use material::is_material;
pub use outcome::{Outcome, Proof, Verdict};
pub use publisher::{MIN_GAP, Publisher, Stamp};

/// Authors in the view: five shards of the largest size, or a shard and the providers of a hundred
/// models; at 600 bytes an advert below 2 MiB, at the largest below 16 MiB.
pub const MAX_AUTHORS: usize = 1024;

/// How long the adverts of a peer that said two things at once are not heard: long enough that
/// nobody still keeps one of the two, short enough for a node that was restored from a backup.
pub const SHUN: Duration = Duration::from_secs(30 * 60);

/// Shunned authors; beyond it the one whose time ends first goes. Making a new identity is as
/// cheap as having an old one forgotten.
pub const MAX_SHUNNED: usize = 256;

/// The label of the hash that draws the strangers' seats.
const SEAT_LABEL: &str = "shoal/advert-seat/1";

/// One moment on both clocks: deadlines here, and what stands in messages.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For deadlines.
    pub now: Instant,
    /// For what authors say.
    pub unix: UnixMillis,
}

/// What an author is to this node, by its own measurements; the greater keeps its seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closeness {
    /// Never measured, or far.
    Stranger,
    /// Within the bounds of a group.
    Near,
    /// In the same group.
    Group,
}

/// An author and the newest of what it said.
#[derive(Debug, Clone)]
pub struct Known {
    /// The advert as it was signed.
    pub advert: Verified<Advert>,
    /// The advert, checked. Shared with whoever looks at the view, which is drawn often.
    pub profile: Arc<Profile>,
    /// What the author is to this node.
    pub closeness: Closeness,
    /// Since when the author is in the view.
    pub since: Instant,
    /// When this advert came.
    pub heard: Instant,
    /// When it ends.
    expires: Instant,
    lot: u64,
    allowance: Allowance,
}

/// A head that says that it serves a model: what a router ranks.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The head.
    pub node: NodeId,
    /// What it says of the deployment.
    pub deployment: &'a Deployed,
    /// All that is known of it.
    pub known: &'a Known,
}

/// The sequence number below which an author without a live advert is not heard: one that it
/// replaced may still hold.
#[derive(Debug, Clone, Copy)]
struct Floor {
    sequence: Sequence,
    until: Instant,
}

#[derive(Debug, Clone)]
struct Shunned {
    until: Instant,
    proof: Proof,
}

/// The view of the swarm.
#[derive(Debug)]
pub struct Adverts {
    own: NodeId,
    swarm: SwarmName,
    capacity: usize,
    secret: [u8; 32],
    known: BTreeMap<NodeId, Known>,
    floors: BTreeMap<NodeId, Floor>,
    shunned: BTreeMap<NodeId, Shunned>,
    /// Nothing ends before this; asked for after every event, so it is not looked up each time.
    soonest: Option<Instant>,
}

impl Adverts {
    /// An empty view. `secret` draws the strangers' lots: random, and told to nobody.
    pub fn new(own: NodeId, swarm: SwarmName, secret: [u8; 32]) -> Self {
        Self {
            own,
            swarm,
            capacity: MAX_AUTHORS,
            secret,
            known: BTreeMap::new(),
            floors: BTreeMap::new(),
            shunned: BTreeMap::new(),
            soonest: None,
        }
    }

    /// The same with fewer seats than [`MAX_AUTHORS`], at least one.
    #[must_use]
    pub fn with_capacity(mut self, authors: usize) -> Self {
        self.capacity = authors.clamp(1, MAX_AUTHORS);
        self
    }

    /// Whether an advert whose signature was not checked yet is no news whoever made it: it is the
    /// one that is held, or claims to be older. Most answers of a new neighbour are.
    pub fn is_no_news(&self, author: &NodeId, advert: &Signed<Advert>) -> bool {
        self.known.get(author).is_some_and(|known| {
            let (held, claimed) = (known.advert.sequence(), advert.claimed_sequence());
            claimed < held || (claimed == held && advert == known.advert.signed())
        })
    }

    /// Takes an advert, by gossip or as the answer to a query; `closeness` is what its author is
    /// to this node now.
    pub fn handle(
        &mut self,
        advert: Verified<Advert>,
        closeness: Closeness,
        at: Moment,
    ) -> Outcome {
        let profile = match Profile::try_from(advert.message()) {
            Ok(profile) if profile.swarm == self.swarm => profile,
            Ok(_) => return Outcome::OtherSwarm,
            Err(error) => return Outcome::Malformed(error),
        };
        if let Some(outcome) = self.refuse(&advert, at) {
            return outcome;
        }
        let author = advert.author();
        let known = Known {
            lot: self.lot(&author),
            profile: Arc::new(profile),
            closeness,
            since: at.now,
            heard: at.now,
            expires: at.now + remaining(&advert, at.unix),
            allowance: Allowance::new(HEARD_AT_ONCE, at.now),
            advert,
        };
        self.note(known.expires);
        match self.known.get_mut(&author) {
            Some(held) => update(held, known, at.now),
            None => self.seat(author, known),
        }
    }

    /// Everything that speaks against an advert before it is weighed against the others.
    fn refuse(&mut self, advert: &Verified<Advert>, at: Moment) -> Option<Outcome> {
        let (author, sequence) = (advert.author(), advert.sequence());
        if author == self.own {
            return Some(Outcome::Own(sequence));
        }
        if advert.expires() <= at.unix {
            return Some(Outcome::Expired);
        }
        if (self.shunned.get(&author)).is_some_and(|shunned| at.now < shunned.until) {
            return Some(Outcome::Shunned);
        }
        if (self.floors.get(&author)).is_some_and(|floor| sequence <= floor.sequence) {
            return Some(Outcome::Duplicate);
        }
        let held = &self.known.get(&author)?.advert;
        if sequence > held.sequence() {
            return None;
        }
        if sequence < held.sequence() || advert.signed() == held.signed() {
            return Some(Outcome::Duplicate);
        }
        let proof = Proof {
            first: held.signed().clone(),
            second: advert.signed().clone(),
        };
        Some(self.shun(author, proof, at.now))
    }

    fn shun(&mut self, author: NodeId, proof: Proof, now: Instant) -> Outcome {
        self.known.remove(&author);
        if self.shunned.len() >= MAX_SHUNNED {
            let first = self.shunned.iter().min_by_key(|(_, s)| s.until);
            if let Some(node) = first.map(|(node, _)| *node) {
                self.shunned.remove(&node);
            }
        }
        let shunned = Shunned {
            until: now + SHUN,
            proof: proof.clone(),
        };
        self.note(shunned.until);
        self.shunned.insert(author, shunned);
        Outcome::Equivocation(Box::new(proof))
    }

    /// A newcomer takes a free seat, or that of the least, if that is less than itself.
    fn seat(&mut self, author: NodeId, mut newcomer: Known) -> Outcome {
        if self.known.len() >= self.capacity {
            let now = newcomer.heard;
            let weight = |known: &Known| (known.expires > now, known.closeness, known.lot);
            let least = self.known.iter().min_by_key(|(_, known)| weight(known));
            match least.map(|(node, known)| (*node, weight(known))) {
                Some((node, least)) if least < weight(&newcomer) => self.known.remove(&node),
                _ => return Outcome::NoSeat,
            };
        }
        newcomer.allowance.take(newcomer.heard);
        self.floors.remove(&author);
        self.known.insert(author, newcomer);
        Outcome::New
    }

    fn lot(&self, author: &NodeId) -> u64 {
        let hash = digest(SEAT_LABEL, &[&self.secret, author.as_bytes()]);
        let [a, b, c, d, e, f, g, h, ..] = hash;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// Takes note of what an author is to this node, by a new measurement.
    pub fn set_closeness(&mut self, author: &NodeId, closeness: Closeness) {
        if let Some(known) = self.known.get_mut(author) {
            known.closeness = closeness;
        }
    }

    /// Drops what an author said, as one that is put out. What it says anew counts again.
    pub fn forget(&mut self, author: NodeId) {
        if let Some(known) = self.known.remove(&author) {
            self.remember_floor(author, &known);
        }
    }

    /// When [`Adverts::handle_timeout`] may have something to do, and never later than that.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.soonest
    }

    fn note(&mut self, until: Instant) {
        self.soonest = self.soonest.into_iter().chain([until]).min();
    }

    /// Drops what ended, and answers whose adverts did.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<NodeId> {
        self.shunned.retain(|_, shunned| now < shunned.until);
        let ended = self.known.extract_if(.., |_, known| known.expires <= now);
        let ended: Vec<(NodeId, Known)> = ended.collect();
        for (node, known) in &ended {
            self.remember_floor(*node, known);
        }
        // Last: after a late timer a floor may have ended before it was laid.
        self.floors.retain(|_, floor| now < floor.until);
        let expiries = self.known.values().map(|known| known.expires);
        let floors = self.floors.values().map(|floor| floor.until);
        let shunned = self.shunned.values().map(|shunned| shunned.until);
        self.soonest = expiries.chain(floors).chain(shunned).min();
        ended.into_iter().map(|(node, _)| node).collect()
    }

    /// Until every advert that the author may have signed before has ended.
    fn remember_floor(&mut self, author: NodeId, known: &Known) {
        let until = known.heard + ADVERT_LIFETIME + MAX_CLOCK_SKEW;
        if self.floors.len() >= MAX_AUTHORS {
            let first = self.floors.iter().min_by_key(|(_, floor)| floor.until);
            if let Some(node) = first.map(|(node, _)| *node) {
                self.floors.remove(&node);
            }
        }
        let sequence = known.advert.sequence();
        self.note(until);
        self.floors.insert(author, Floor { sequence, until });
    }

    /// What is known of a peer.
    pub fn known(&self, node: &NodeId, now: Instant) -> Option<&Known> {
        self.known.get(node).filter(|known| known.expires > now)
    }

    /// Everybody in the view, by id.
    pub fn iter(&self, now: Instant) -> impl Iterator<Item = (NodeId, &Known)> {
        let live = move |(_, known): &(&NodeId, &Known)| known.expires > now;
        let entries = self.known.iter().filter(live);
        entries.map(|(node, known)| (*node, known))
    }

    /// The heads that say that they serve a model, by id: ranking is the router's.
    pub fn serving<'a>(
        &'a self,
        model: &'a ModelName,
        now: Instant,
    ) -> impl Iterator<Item = Candidate<'a>> {
        self.iter(now).filter_map(move |(node, known)| {
            let deployment = known.profile.deployment(model)?;
            Some(Candidate {
                node,
                deployment,
                known,
            })
        })
    }

    /// The models that somebody serves, each with the number of its heads.
    pub fn models(&self, now: Instant) -> BTreeMap<&ModelName, usize> {
        let mut heads = BTreeMap::new();
        for (_, known) in self.iter(now) {
            for deployment in &known.profile.deployments {
                *heads.entry(&deployment.model).or_default() += 1;
            }
        }
        heads
    }

    /// What proves that the shunned are, by id.
    pub fn proofs(&self) -> impl Iterator<Item = (NodeId, &Proof)> {
        let shunned = self.shunned.iter();
        shunned.map(|(node, shunned)| (*node, &shunned.proof))
    }

    /// The peers most worth dialling after a restart, at most `limit`: the closest first, and
    /// those first whom we know longest, for they will be there longest (Maymounkov and Mazières,
    /// Kademlia, 2002).
    pub fn remembered(&self, limit: usize, now: Instant) -> Vec<(NodeId, &Known)> {
        let mut peers: Vec<_> = self
            .iter(now)
            .filter(|(_, known)| !known.profile.addresses.is_empty())
            .collect();
        peers.sort_by_key(|(node, known)| (std::cmp::Reverse(known.closeness), known.since, *node));
        peers.truncate(limit);
        peers
    }
}

/// A newer advert replaces the older; who the author is stays.
fn update(held: &mut Known, newer: Known, now: Instant) -> Outcome {
    if !held.allowance.take(now) {
        return Outcome::TooOften;
    }
    let (since, allowance) = (held.since, held.allowance);
    *held = Known {
        since,
        allowance,
        ..newer
    };
    Outcome::Updated
}

/// How long an advert still holds; bounded by its type, as it was verified.
fn remaining(advert: &Verified<Advert>, unix: UnixMillis) -> Duration {
    let longest = ADVERT_LIFETIME + MAX_CLOCK_SKEW;
    advert.expires().saturating_since(unix).min(longest)
}

#[cfg(test)]
mod tests;
