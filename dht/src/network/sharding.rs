//! Which shard of the adverts this node is in, as [`Shards`] and [`Size`] decide: the topics that
//! are listened to, where the own advert goes, and the lookups by which the swarm's size is known.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use libp2p::{
    gossipsub::{IdentTopic, TopicHash},
    kad,
};
use protocol::{
    NodeId,
    names::{ShardPrefix, SwarmName, Topic},
    record_key::node_key,
};
use rand::RngExt;

use super::{actor::Actor, config::Config, gossip::score_topic};
use crate::core::{
    shards::{CELL, Output, Shards},
    size::{CLOSEST, HashedKey, Lookups, Size},
};

/// Changes of the crowd are looked at together: they come by the hundred, and each look counts all
/// that are known. A node in no shard hears nobody, so its first look is not long in coming; later
/// ones move the median of many by a little.
const SETTLE_FIRST: Duration = Duration::from_millis(100);
const SETTLE: Duration = Duration::from_secs(2);

/// The cores, and the lookup that is under way.
pub(super) struct Sharding {
    pub(super) shards: Shards,
    size: Size,
    lookups: Lookups,
    looking: Option<(kad::QueryId, HashedKey)>,
    topics: BTreeMap<TopicHash, ShardPrefix>,
    swarm: SwarmName,
    /// What the size follows from may have changed; it is looked at then.
    stale: Option<Instant>,
}

impl Sharding {
    /// In no shard yet.
    pub(super) fn new(config: &Config, own: NodeId, now: Instant) -> Self {
        Self {
            shards: Shards::new(&own),
            size: Size::new(node_key(&own)),
            lookups: Lookups::new(now),
            looking: None,
            topics: BTreeMap::new(),
            swarm: config.swarm.clone(),
            stale: None,
        }
    }

    /// What this node found of the swarm's size by itself, for its advert.
    pub(super) fn local_size(&self) -> Option<u32> {
        self.size.local()
    }

    /// The shard of a topic that is listened to.
    pub(super) fn prefix(&self, topic: &TopicHash) -> Option<ShardPrefix> {
        self.topics.get(topic).copied()
    }

    /// The topics on which the own adverts are published.
    pub(super) fn publishes(&self) -> Vec<IdentTopic> {
        let topics = self.shards.publishes();
        let topics = topics.into_iter();
        topics
            .map(|topic| IdentTopic::new(topic.of(&self.swarm)))
            .collect()
    }

    fn topic(&self, prefix: ShardPrefix) -> IdentTopic {
        IdentTopic::new(Topic::Adverts { cell: CELL, prefix }.of(&self.swarm))
    }
}

impl Actor {
    /// When there is something to do. Without peers there is nothing to look up.
    pub(super) fn sharding_deadline(&self) -> Option<Instant> {
        let may_look = self.linking.has_peers() && self.sharding.looking.is_none();
        let lookup = may_look.then(|| self.sharding.lookups.next_deadline());
        lookup
            .into_iter()
            .chain(self.sharding.shards.next_deadline())
            .chain(self.sharding.stale)
            .min()
    }

    /// Somebody was heard, came or went: the size may be another.
    pub(super) fn on_crowd_changed(&mut self) {
        let settle = match self.sharding.shards.current() {
            Some(_) => SETTLE,
            None => SETTLE_FIRST,
        };
        let soon = || Instant::now() + settle;
        self.sharding.stale.get_or_insert_with(soon);
    }

    pub(super) fn drive_sharding(&mut self, now: Instant) {
        self.look_up(now);
        let is_due = |due: Instant| due <= now;
        let timed = self.sharding.shards.next_deadline();
        if !timed.into_iter().chain(self.sharding.stale).any(is_due) {
            return;
        }
        self.sharding.stale = None;
        let size = self.swarm_size(now);
        let mut outputs = Vec::new();
        self.sharding.shards.poll(size, now, &mut outputs);
        for output in outputs {
            match output {
                Output::Listen(prefix) => self.listen_to(prefix),
                Output::Leave(prefix) => self.leave(prefix),
                Output::Moved(_) => self.publish_again(),
            }
        }
    }

    /// Looks the peers around a random target up, if it is time for that.
    fn look_up(&mut self, now: Instant) {
        let due = self.sharding_deadline().is_some_and(|due| due <= now);
        if !due || self.sharding.looking.is_some() {
            return;
        }
        if !self.sharding.lookups.poll(now, &mut self.rng) {
            return;
        }
        let target: [u8; 32] = self.rng.random();
        let kad = &mut self.swarm.behaviour_mut().inside.inner_mut().kad;
        let query = kad.get_closest_peers(target.to_vec());
        let key = kad::KBucketKey::new(target.to_vec());
        self.sharding.looking = hashed(&key).map(|key| (query, key));
    }

    /// A lookup's answer, whole or as far as it came.
    pub(super) fn on_closest(&mut self, id: kad::QueryId, found: &kad::GetClosestPeersResult) {
        let Some((query, target)) = self.sharding.looking else {
            return;
        };
        if query != id {
            return;
        }
        self.sharding.looking = None;
        let peers = match found {
            Ok(found) => &found.peers,
            Err(kad::GetClosestPeersError::Timeout { peers, .. }) => peers,
        };
        let keys = peers.iter().map(|peer| kad::KBucketKey::from(peer.peer_id));
        let keys: Vec<HashedKey> = keys.filter_map(|key| hashed(&key)).collect();
        self.sharding.size.on_closest(&target, &keys);
        self.on_crowd_changed();
    }

    /// How many others of the own shard are known.
    pub(super) fn shard_authors(&self, now: Instant) -> usize {
        let shards = &self.sharding.shards;
        let known = self.telling.adverts.iter(now);
        known
            .filter(|(author, _)| shards.is_neighbour(author))
            .count()
    }

    /// The best estimate; `None` before the first lookup has ended.
    fn swarm_size(&mut self, now: Instant) -> Option<u32> {
        let around = self.around();
        let count = self.shard_authors(now);
        let bits = self.sharding.shards.countable_bits(now);
        let size = &mut self.sharding.size;
        size.on_closest(&node_key(&self.own), &around);
        size.on_authors(bits.map(|_| count), bits.unwrap_or_default());
        if self.sharding.looking.is_some() && self.sharding.shards.current().is_none() {
            return None;
        }
        let claims = self.telling.adverts.iter(now);
        let claims: Vec<u32> = claims
            .filter_map(|(_, known)| known.profile.swarm_size)
            .collect();
        // Whoever knows nobody is alone.
        Some(size.estimate(&claims).unwrap_or(1))
    }

    /// The peers nearest to this node in the table: those that it holds, and whoever is
    /// connected, for most nodes behind NATs are in nobody's table.
    fn around(&mut self) -> Vec<HashedKey> {
        let connected = self.linking.paths().into_keys();
        let kad = &mut self.swarm.behaviour_mut().inside.inner_mut().kad;
        let mut keys: Vec<HashedKey> = connected.map(|node| node_key(&node)).collect();
        for bucket in kad.kbuckets() {
            let entries = bucket.iter();
            keys.extend(entries.filter_map(|entry| hashed(entry.node.key)));
        }
        let own = node_key(&self.own);
        let distance = |key: &HashedKey| std::array::from_fn::<u8, 32, _>(|at| key[at] ^ own[at]);
        keys.sort_unstable_by_key(distance);
        keys.dedup();
        keys.truncate(CLOSEST);
        keys
    }

    fn listen_to(&mut self, prefix: ShardPrefix) {
        let topic = self.sharding.topic(prefix);
        let gossip = &mut self.swarm.behaviour_mut().inside.inner_mut().gossip;
        gossip
            .subscribe(&topic)
            .expect("the filter allows the swarm's own topics");
        score_topic(gossip, &topic);
        self.sharding.topics.insert(topic.hash(), prefix);
    }

    fn leave(&mut self, prefix: ShardPrefix) {
        let topic = self.sharding.topic(prefix);
        let gossip = &mut self.swarm.behaviour_mut().inside.inner_mut().gossip;
        gossip.unsubscribe(&topic);
        self.sharding.topics.remove(&topic.hash());
    }
}

fn hashed<T>(key: &kad::KBucketKey<T>) -> Option<HashedKey> {
    key.hashed_bytes().try_into().ok()
}
