//! What a peer does every few seconds: its shard, its advert, its meshes, its lookups.

use std::time::Duration;

use dht::core::{
    connections::Protection,
    coordinates::Claim,
    groups::{self, Role},
    shards::{self, CELL},
    size::{FIRST_EVERY, HashedKey, LOOKUP_EVERY, MAX_LOOKUPS},
};
use protocol::{
    Signed,
    advert::{Advert, NodeRole, Place},
    limits::MAX_SWARM_SIZE,
    names::{ShardPrefix, Topic},
};
use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};

use super::Swarm;
use crate::{
    mesh::{Content, DEGREE, DEGREE_LOW},
    peer::Kind,
    ring::high,
    traffic::Purpose,
};

/// Between two rounds of upkeep.
const UPKEEP_EVERY: Duration = Duration::from_secs(10);

/// A query of a lookup and its answer: twenty peers with addresses.
const QUERY_BYTES: usize = 1_800;

/// A neighbour in an advert. They are left out of the messages and counted all the same: nothing
/// here follows from them, their keys are points of a curve, and checking them would take half of
/// a run.
const NEIGHBOUR_BYTES: usize = 42;

/// A message that makes or ends a link.
const GRAFT_BYTES: usize = 60;

/// Connections that a peer looks for when it joins.
const FIRST_CONNECTIONS: usize = 3;

impl Swarm {
    pub(super) fn upkeep(&mut self, number: usize) {
        if !self.peers[number].is_up {
            return;
        }
        let jitter = self.rng.random_range(0.9..1.1);
        let next = crate::schedule::Event::Upkeep(number);
        self.schedule
            .push(self.now + UPKEEP_EVERY.mul_f64(jitter), next);
        self.keep_tables(number);
        if self.peers[number].joined.is_none() {
            return;
        }
        if self.peers[number].next_lookup <= self.now {
            self.look_around(number);
            self.mix(number);
        }
        self.keep_shard(number);
        self.publish_if_due(number);
        for topic in self.peers[number].topics.clone() {
            self.mend(number, topic);
        }
    }

    fn keep_tables(&mut self, number: usize) {
        let now = self.base + self.now;
        let peer = &mut self.peers[number];
        let mut closes = Vec::new();
        peer.connections.poll(now, &mut closes);
        let ended = peer.adverts.handle_timeout(now);
        for node in ended {
            self.groups(number, groups::Input::Silent(node));
        }
        self.close(closes);
    }

    /// One lookup at a random target; who is found may become a connection.
    pub(super) fn look_around(&mut self, number: usize) {
        let pause = if self.peers[number].lookups < MAX_LOOKUPS {
            FIRST_EVERY
        } else {
            LOOKUP_EVERY.mul_f64(self.rng.random_range(0.8..1.2))
        };
        self.peers[number].next_lookup = self.now + pause;
        self.peers[number].lookups += 1;
        let target = self.rng.random();
        let found = self.look_up(number, target);
        let own = self.look_up_locally(number);
        let peer = &mut self.peers[number];
        peer.size.on_closest(&key_at(target), &found.keys);
        let own_key = peer.hashed;
        peer.size.on_closest(&own_key, &own.keys);
        for _ in 0..FIRST_CONNECTIONS {
            let links = self.peers[number].links.len();
            if links < 3 * FIRST_CONNECTIONS
                && let Some(other) = found.peers.choose(&mut self.rng)
            {
                self.connect(number, *other);
            }
        }
    }

    /// A lookup: the closest that can be reached, at the cost of the queries on the way.
    fn look_up(&mut self, number: usize, target: u64) -> Found {
        let hops = usize::try_from(self.ring.len().max(1).ilog2()).unwrap_or(0);
        let queries = dht::core::size::CLOSEST + hops;
        let messages = u64::try_from(2 * queries).unwrap_or(0);
        let sent = &mut self.peers[number].sent;
        sent.count(Purpose::Lookup, messages, queries * QUERY_BYTES);
        self.closest(number, target)
    }

    /// What the routing table holds around the own key: kept up by the lookups of others.
    fn look_up_locally(&self, number: usize) -> Found {
        self.closest(number, high(&self.peers[number].hashed))
    }

    fn closest(&self, number: usize, target: u64) -> Found {
        let spot = &self.peers[number].spot;
        let parted = |other: usize| self.terrain.are_parted(spot, &self.peers[other].spot);
        let peers = self
            .ring
            .closest(target, |other| other != number && !parted(other));
        let keys = peers.iter().map(|other| self.peers[*other].hashed);
        let keys = keys.collect();
        Found { peers, keys }
    }

    /// The size as a peer sees it now.
    pub(super) fn best_size(&self, number: usize) -> Option<u32> {
        let peer = &self.peers[number];
        let now = self.base + self.now;
        let known = peer.adverts.iter(now);
        let claims: Vec<u32> = known.filter_map(|(_, k)| k.profile.swarm_size).collect();
        peer.size.estimate(&claims)
    }

    fn keep_shard(&mut self, number: usize) {
        let now = self.base + self.now;
        let peer = &mut self.peers[number];
        let bits = peer.shards.countable_bits(now);
        let authors = peer.adverts.iter(now);
        let neighbours = authors
            .filter(|(author, _)| peer.shards.is_neighbour(author))
            .count();
        peer.size
            .on_authors(bits.map(|_| neighbours), bits.unwrap_or(0));
        let size = self.best_size(number);
        let mut out = Vec::new();
        let peer = &mut self.peers[number];
        let is_first = peer.shards.current().is_none();
        peer.shards.poll(size, now, &mut out);
        for output in out {
            match output {
                shards::Output::Listen(topic) => self.listen(number, topic),
                shards::Output::Leave(topic) => self.leave(number, topic),
                shards::Output::Moved(topic) => self.on_moved(number, topic, is_first),
            }
        }
    }

    fn listen(&mut self, number: usize, topic: ShardPrefix) {
        self.peers[number].topics.insert(topic);
        self.meshes.join(topic, number);
        self.mend(number, topic);
    }

    fn leave(&mut self, number: usize, topic: ShardPrefix) {
        let links = self.meshes.links(topic, number);
        self.peers[number].topics.remove(&topic);
        self.meshes.leave(topic, number);
        let messages = links.len().try_into().unwrap_or(0);
        let sent = &mut self.peers[number].sent;
        sent.count(Purpose::Link, messages, GRAFT_BYTES * links.len());
        for other in links {
            self.protect_mesh(number, other);
        }
    }

    fn on_moved(&mut self, number: usize, topic: ShardPrefix, is_first: bool) {
        if is_first {
            return;
        }
        self.log.moves += 1;
        if let Some(said) = self.peers[number].said.clone() {
            self.publish(number, &said, &[topic]);
        }
    }

    /// New links where there are too few: to authors of the shard and to those around a point in
    /// it, since either alone may be all in one corner.
    fn mend(&mut self, number: usize, topic: ShardPrefix) {
        if self.meshes.links(topic, number).len() >= DEGREE_LOW {
            return;
        }
        let candidates = self.candidates(number, topic);
        for _ in 0..4 * DEGREE {
            if self.meshes.links(topic, number).len() >= DEGREE {
                return;
            }
            let Some(other) = candidates.choose(&mut self.rng).copied() else {
                return;
            };
            self.link(number, other, topic);
        }
    }

    /// One link in each topic is changed for one to somebody whom a lookup finds: meshes that are
    /// full do not grow together by themselves after a partition. In a node it is the announcements
    /// to peers beside the mesh that bring messages across.
    fn mix(&mut self, number: usize) {
        for topic in self.peers[number].topics.clone() {
            let own = high(&self.peers[number].hashed);
            let point = point_in(own, topic, &mut self.rng);
            let found = self.closest(number, point);
            let others = found.peers.choose(&mut self.rng).copied();
            if let Some(other) = others.filter(|other| self.meshes.listens(topic, *other)) {
                self.prune(number, topic);
                self.link(number, other, topic);
            }
        }
    }

    /// A peer with more links than it aims at gives one up, to somebody who can spare it.
    fn prune(&mut self, number: usize, topic: ShardPrefix) {
        let links = self.meshes.links(topic, number);
        let is_spare = |other: &usize| self.meshes.links(topic, *other).len() > DEGREE;
        let spare: Vec<usize> = links.iter().copied().filter(is_spare).collect();
        let Some(other) = spare.choose(&mut self.rng).copied() else {
            return;
        };
        if links.len() > DEGREE {
            self.meshes.unlink(topic, number, other);
            self.protect_mesh(number, other);
            self.peers[number].sent.count(Purpose::Link, 1, GRAFT_BYTES);
        }
    }

    fn link(&mut self, number: usize, other: usize, topic: ShardPrefix) {
        let is_there = self.meshes.listens(topic, other)
            && (self.peers[number].links.contains_key(&other) || self.connect(number, other));
        if is_there && self.meshes.link(topic, number, other) {
            self.protect_mesh(number, other);
            for end in [number, other] {
                self.peers[end].sent.count(Purpose::Link, 1, GRAFT_BYTES);
            }
        }
    }

    fn candidates(&mut self, number: usize, topic: ShardPrefix) -> Vec<usize> {
        let point = point_in(high(&self.peers[number].hashed), topic, &mut self.rng);
        let peer = &self.peers[number];
        let authors = peer.adverts.iter(self.base + self.now);
        let in_shard = authors.filter(|(author, _)| topic.contains(ShardPrefix::hash(author)));
        let mut candidates: Vec<usize> = in_shard.map(|(id, _)| self.numbers[&id]).collect();
        candidates.extend(peer.links.keys());
        candidates.extend(self.closest(number, point).peers);
        candidates
    }

    fn protect_mesh(&mut self, one: usize, other: usize) {
        let topics = self.peers[one].topics.clone();
        let mut topics = topics.into_iter();
        let is_linked = topics.any(|topic| self.meshes.is_linked(topic, one, other));
        for (at, whom) in [(one, other), (other, one)] {
            let id = self.peers[whom].id;
            let connections = &mut self.peers[at].connections;
            if is_linked {
                connections.protect(id, Protection::Mesh);
            } else {
                connections.unprotect(id, Protection::Mesh);
            }
        }
    }

    fn publish_if_due(&mut self, number: usize) {
        self.describe(number);
        let peer = &mut self.peers[number];
        if peer.shards.current().is_none() {
            return;
        }
        let at = peer.moment(self.base, self.now);
        let stamp = peer.publisher.poll(&peer.profile, at, &mut self.rng);
        let Some(stamp) = stamp else {
            return;
        };
        let advert = Advert::fitting(&peer.profile);
        let signed = Signed::sign(&peer.key, stamp.sequence, stamp.expires, &advert)
            .expect("a fitting advert is not too long");
        peer.said = Some(signed.clone());
        let topics = self.published_topics(number);
        self.publish(number, &signed, &topics);
    }

    pub(super) fn published_topics(&self, number: usize) -> Vec<ShardPrefix> {
        let topics = self.peers[number].shards.publishes().into_iter();
        let prefixes = topics.filter_map(|topic| match topic {
            Topic::Adverts { cell: CELL, prefix } => Some(prefix),
            _ => None,
        });
        prefixes.collect()
    }

    pub(super) fn publish(
        &mut self,
        number: usize,
        signed: &Signed<Advert>,
        topics: &[ShardPrefix],
    ) {
        let at = self.peers[number].moment(self.base, self.now);
        let unsaid = self.peers[number].unsaid * NEIGHBOUR_BYTES;
        let bytes = signed.encode().len() + unsaid;
        for topic in topics {
            // What its own author signed is sound, and still within its time.
            let Ok(verified) = signed.clone().verify(at.unix) else {
                continue;
            };
            self.originate(number, *topic, Content::Sound(Box::new(verified)), bytes);
        }
    }

    /// What the peer says of itself now.
    fn describe(&mut self, number: usize) {
        let peer = &mut self.peers[number];
        let place = peer.groups.coordinate();
        peer.profile.place = (place.error() < 1.0).then(|| Place::from(place));
        peer.profile.swarm_size = peer.size.local();
        let shard = peer.adverts.iter(self.base + self.now);
        let shard = shard.filter(|(author, _)| peer.shards.is_neighbour(author));
        peer.unsaid = peer.groups.neighbours(shard.count()).len();
        peer.profile.role = match peer.groups.role() {
            Role::ApiClient => NodeRole::ApiClient,
            Role::Undecided | Role::Member => NodeRole::Server,
        };
        if peer.kind == Kind::Sybil {
            let near = Claim {
                x_ms: 0.0,
                y_ms: 0.0,
                height_ms: 0.1,
                error: 0.0,
            };
            let near = dht::core::coordinates::Coordinate::try_from(near);
            peer.profile.place = near.ok().map(Place::from);
            peer.profile.swarm_size = Some(MAX_SWARM_SIZE);
        }
    }
}

struct Found {
    peers: Vec<usize>,
    keys: Vec<HashedKey>,
}

fn key_at(point: u64) -> HashedKey {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&point.to_be_bytes());
    key
}

/// A point anywhere in the own shard.
fn point_in(own: u64, shard: ShardPrefix, rng: &mut StdRng) -> u64 {
    let free = u64::MAX
        .checked_shr(shard.length().into())
        .unwrap_or_default();
    (own & !free) | (rng.random::<u64>() & free)
}
