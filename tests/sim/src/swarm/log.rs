//! What a run is judged by.

use std::{collections::BTreeMap, time::Duration};

use dht::core::{adverts::MAX_AUTHORS, groups, groups::MAX_MEASURED};
use protocol::{NodeId, names::ShardPrefix};

use super::Swarm;
use crate::{
    peer::{Kind, Peer},
    traffic::Traffic,
};

/// How long a peer must be there before it is expected to know and be known: an advert's longest
/// pause, and the time to find a shard.
const SETTLED: Duration = Duration::from_secs(240);

/// What happened in a run.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// How long each join took.
    pub joins: Vec<Duration>,
    /// Adverts that were believed.
    pub believed: u64,
    /// Adverts that were believed and should not have been, in words.
    pub violations: Vec<String>,
    /// Messages that were refused as no honest peer's.
    pub rejected: u64,
    /// Authors that were caught saying two things.
    pub equivocations: u64,
    /// Messages beyond what a neighbour may send.
    pub over_rate: u64,
    /// Messages that flooders sent, those of honest authors not counted.
    pub flood: u64,
    /// How many of them each peer (first) looked at of each flooder (second), rather than drop
    /// them unread.
    pub flooded: BTreeMap<(usize, usize), u64>,
    /// Connections that ended for misbehaviour.
    pub cut_off: u64,
    /// Misdeeds that honest peers found in honest peers.
    pub honest_offences: u64,
    /// Members that left a group.
    pub evictions: u64,
    /// Those that left sooner than the hysteresis allows.
    pub early_evictions: u64,
    /// Dials for the sake of nearness.
    pub dials: u64,
    /// Moves from shard to shard, first ones not counted.
    pub moves: u64,
    /// What each peer last found itself to be.
    pub roles: BTreeMap<usize, groups::Role>,
}

/// How well the peers of each shard know one another.
#[derive(Debug, Clone, Copy, Default)]
pub struct Coverage {
    /// Pairs of settled honest peers of which each is in the other's shard. During a split, whoever
    /// is still in the wider shard hears its own half and is not expected to hear the other.
    pub pairs: usize,
    /// The share of them in which the one knows the other.
    pub share: f64,
    /// The share of its shard that the worst-informed peer knows.
    pub worst: f64,
    /// Age of what is known, the 95th percentile.
    pub age_p95: Duration,
    /// Settled peers, and the mean size of their shards.
    pub peers: usize,
    /// Settled honest peers in a shard, mean.
    pub shard: f64,
}

/// A peer and where it is.
#[derive(Debug, Clone, Copy)]
struct Placed {
    number: usize,
    hash: u32,
    shard: ShardPrefix,
}

impl Swarm {
    /// What the honest peers that have been there for a while know of one another.
    pub fn coverage(&self) -> Coverage {
        let settled = self.settled();
        let placed: Vec<Placed> = settled.iter().filter_map(|n| self.place(*n)).collect();
        let mut found = Coverage {
            worst: 1.0,
            peers: settled.len(),
            ..Coverage::default()
        };
        let (mut known, mut ages) = (0, Vec::new());
        for viewer in settled {
            let (seen, pairs) = self.view_of(viewer, &placed, &mut ages);
            known += seen;
            found.pairs += pairs;
            if pairs > 0 {
                found.worst = found.worst.min(ratio(seen, pairs));
            }
        }
        ages.sort_unstable();
        found.age_p95 = ages.get(ages.len() * 95 / 100).copied().unwrap_or_default();
        found.share = ratio(known, found.pairs);
        found.shard = ratio(found.pairs, found.peers) + 1.0;
        found
    }

    /// How many of its shard a peer knows, and how many there are.
    fn view_of(
        &self,
        viewer: usize,
        placed: &[Placed],
        ages: &mut Vec<Duration>,
    ) -> (usize, usize) {
        let Some(own) = self.place(viewer) else {
            return (0, 1);
        };
        let peer = &self.peers[viewer];
        let now = self.base + self.now;
        let (mut seen, mut pairs) = (0, 0);
        for other in placed {
            let are_mates = own.shard.contains(other.hash) && other.shard.contains(own.hash);
            if other.number == viewer || !are_mates {
                continue;
            }
            pairs += 1;
            if let Some(known) = peer.adverts.known(&self.peers[other.number].id, now) {
                seen += 1;
                ages.push(now.saturating_duration_since(known.heard));
            }
        }
        (seen, pairs)
    }

    fn place(&self, number: usize) -> Option<Placed> {
        let peer = &self.peers[number];
        Some(Placed {
            number,
            hash: ShardPrefix::hash(&peer.id),
            shard: peer.shards.current()?,
        })
    }

    /// Honest peers that have been there for long enough.
    fn settled(&self) -> Vec<usize> {
        let is_settled = |peer: &Peer| {
            let since = peer.joined.map(|joined| self.now.saturating_sub(joined));
            peer.is_up && peer.kind == Kind::Honest && since.is_some_and(|since| since >= SETTLED)
        };
        let peers = self.peers.iter().enumerate();
        let settled = peers.filter(|(_, peer)| is_settled(peer));
        settled.map(|(number, _)| number).collect()
    }

    /// Of a settled honest peer and a peer of this kind in its shard: the chance that the former
    /// believes an advert of the latter.
    pub fn believed(&self, kind: Kind) -> f64 {
        let now = self.base + self.now;
        let of_kind: Vec<NodeId> = (self.peers.iter())
            .filter(|peer| peer.kind == kind)
            .map(|peer| peer.id)
            .collect();
        let (mut pairs, mut believed) = (0, 0);
        for viewer in self.settled() {
            let peer = &self.peers[viewer];
            let mates = of_kind.iter().filter(|id| peer.shards.is_neighbour(id));
            pairs += mates.clone().count();
            believed += mates
                .filter(|id| peer.adverts.known(id, now).is_some())
                .count();
        }
        ratio(believed, pairs)
    }

    /// What settled honest peers think that the swarm's size is, as shares of the truth: the 5th,
    /// 50th and 95th percentile.
    pub fn size_ratios(&self) -> [f64; 3] {
        let truth = ratio(self.ring.len(), 1);
        let settled = self.settled().into_iter();
        let mut ratios: Vec<f64> = settled
            .filter_map(|n| Some(f64::from(self.best_size(n)?) / truth))
            .collect();
        ratios.sort_by(f64::total_cmp);
        [5, 50, 95].map(|p| ratios.get(ratios.len() * p / 100).copied().unwrap_or(0.0))
    }

    /// What settled honest peers sent since the last reset, which was so long ago.
    pub fn traffic(&self, over: Duration) -> Traffic {
        let settled = self.settled().into_iter();
        Traffic::new(settled.map(|n| self.peers[n].sent).collect(), over)
    }

    /// Every table of every peer is within its bounds.
    pub fn is_bounded(&self) -> bool {
        let now = self.base + self.now;
        self.peers.iter().filter(|peer| peer.is_up).all(|peer| {
            let (scores, bans) = peer.scores.len();
            peer.adverts.iter(now).count() <= MAX_AUTHORS
                && peer.groups.len() <= MAX_MEASURED
                && peer.connections.len() <= peer.links.len()
                && (peer.kind == Kind::Bootstrap || peer.links.len() <= 160)
                && peer.limits.len() <= 256
                && scores <= dht::core::score::MAX_SCORES
                && bans <= dht::core::score::MAX_BANS
        })
    }

    /// Connections of honest settled peers, on average, and the share of them to this kind.
    pub fn links_to(&self, kind: Kind) -> (f64, f64) {
        let settled = self.settled();
        let links = || settled.iter().flat_map(|n| self.peers[*n].links.keys());
        let to_kind = links().filter(|n| self.peers[**n].kind == kind).count();
        (
            ratio(links().count(), settled.len()),
            ratio(to_kind, links().count()),
        )
    }

    /// The share of settled honest peers that have an honest one in their group.
    pub fn grouped(&self) -> f64 {
        let settled = self.settled();
        let in_group = |n: &&usize| {
            let mut group = self.peers[**n].groups.group();
            group.any(|member| self.peers[self.numbers[&member]].is_honest())
        };
        ratio(settled.iter().filter(in_group).count(), settled.len())
    }

    /// The shards that the honest peers are in, by their number of bits.
    pub fn shard_bits(&self) -> BTreeMap<u8, usize> {
        let mut bits = BTreeMap::new();
        let settled = self.settled().into_iter();
        for shard in settled.filter_map(|n| self.peers[n].shards.current()) {
            *bits.entry(shard.length()).or_default() += 1;
        }
        bits
    }
}

/// Of small counts, exactly.
fn ratio(part: usize, whole: usize) -> f64 {
    let float = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    float(part) / float(whole).max(1.0)
}
