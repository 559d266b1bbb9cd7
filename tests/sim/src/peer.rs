//! One simulated peer: the cores of a node, and what stands in for the rest of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use dht::core::{
    adverts::{Adverts, Moment, Publisher},
    connections::{Config as Room, ConnectionId, Connections},
    groups::Groups,
    join::{Address, Candidate, Family, Join, Transport, Way},
    rate::{Buckets, Quota},
    score::Scores,
    shards::Shards,
    size::{HashedKey, Size},
};
use ed25519_dalek::SigningKey;
use protocol::{
    NodeId, Sequence, Signed, UnixMillis,
    advert::{Abilities, Advert, NodeRole, Profile},
    names::{ShardPrefix, SwarmName},
    record_key::node_key,
};
use rand::{Rng, RngExt, rngs::StdRng};

use crate::{terrain::Spot, traffic::Sent};

/// Gossip messages that one neighbour may send: ten times what a full shard's mesh sends.
const GOSSIP: Quota = Quota {
    burst: 300,
    per_second: 20.0,
};

/// The time at which a simulation begins on honest clocks.
const UNIX: UnixMillis = UnixMillis(1_800_000_000_000);

/// The largest error of an honest clock, milliseconds.
const SKEW_MS: i64 = 40_000;

/// By how much a wrong clock is ahead, milliseconds.
const WRONG_MS: i64 = 600_000;

/// What a peer is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing but its own.
    Honest,
    /// Honest, and always there: the first of the bootstrap list that still lives.
    Bootstrap,
    /// One of many identities of one owner: it says that the swarm is huge and that it is near to
    /// everybody, and passes on only a share of what it hears.
    Sybil,
    /// It sends again what it heard, in its topic and in others.
    Replayer,
    /// It says two things under one sequence number.
    Equivocator,
    /// It sends as fast as it can: adverts of its own, and forged ones.
    Flooder,
    /// Its clock is ten minutes ahead.
    WrongClock,
}

/// One peer.
pub(crate) struct Peer {
    pub(crate) key: SigningKey,
    pub(crate) id: NodeId,
    pub(crate) hashed: HashedKey,
    pub(crate) kind: Kind,
    pub(crate) spot: Spot,
    skew_ms: i64,
    pub(crate) is_up: bool,
    pub(crate) is_dialable: bool,
    /// IPv6 packets from here vanish.
    pub(crate) is_black_holed: bool,
    pub(crate) address: IpAddr,
    pub(crate) started: Duration,
    pub(crate) joined: Option<Duration>,
    pub(crate) next_lookup: Duration,
    pub(crate) lookups: usize,
    pub(crate) groups_at: Option<Duration>,
    pub(crate) join_at: Option<Duration>,
    pub(crate) join: Join,
    pub(crate) groups: Groups,
    pub(crate) adverts: Adverts,
    pub(crate) publisher: Publisher,
    pub(crate) size: Size,
    pub(crate) shards: Shards,
    pub(crate) scores: Scores,
    pub(crate) limits: Buckets<NodeId>,
    pub(crate) connections: Connections,
    pub(crate) profile: Profile,
    pub(crate) topics: BTreeSet<ShardPrefix>,
    pub(crate) links: BTreeMap<usize, ConnectionId>,
    /// When the last direct connection to a peer ended.
    pub(crate) lost: BTreeMap<usize, Duration>,
    /// Who is in the group.
    pub(crate) members: BTreeSet<usize>,
    /// The newest sequence number that was believed of each author.
    pub(crate) believed: BTreeMap<usize, Sequence>,
    /// The last advert, for a topic that is new.
    pub(crate) said: Option<Signed<Advert>>,
    /// Neighbours that its adverts would name.
    pub(crate) unsaid: usize,
    /// What an adversary keeps for later.
    pub(crate) captured: Vec<(ShardPrefix, Vec<u8>)>,
    /// Until when each topic has something to announce.
    pub(crate) announces: BTreeMap<ShardPrefix, Duration>,
    pub(crate) sent: Sent,
}

impl Peer {
    pub(crate) fn new(number: usize, kind: Kind, base: Instant, rng: &mut StdRng) -> Self {
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        let key = SigningKey::from_bytes(&secret);
        let id = NodeId::from(&key);
        let swarm = SwarmName::public();
        rng.fill_bytes(&mut secret);
        Self {
            id,
            hashed: node_key(&id),
            kind,
            spot: Spot::new(rng),
            skew_ms: match kind {
                Kind::WrongClock => WRONG_MS,
                _ => rng.random_range(-SKEW_MS..=SKEW_MS) / 2,
            },
            is_up: false,
            is_dialable: kind != Kind::Honest || rng.random_bool(0.85),
            is_black_holed: rng.random_bool(0.2),
            address: address(number, kind),
            started: Duration::ZERO,
            joined: None,
            next_lookup: Duration::ZERO,
            lookups: 0,
            groups_at: None,
            join_at: None,
            join: Join::new(&Way::ALL, base),
            groups: Groups::new(dht::core::coordinates::Coordinate::default(), base),
            adverts: Adverts::new(id, swarm.clone(), secret),
            publisher: Publisher::new(None),
            size: Size::new(node_key(&id)),
            shards: Shards::new(&id),
            scores: Scores::default(),
            limits: Buckets::new(GOSSIP, 256, base),
            connections: Connections::new(id, room(kind)),
            profile: profile(swarm),
            topics: BTreeSet::new(),
            links: BTreeMap::new(),
            lost: BTreeMap::new(),
            members: BTreeSet::new(),
            believed: BTreeMap::new(),
            said: None,
            unsaid: 0,
            captured: Vec::new(),
            announces: BTreeMap::new(),
            sent: Sent::default(),
            key,
        }
    }

    /// The time on this peer's clocks.
    pub(crate) fn moment(&self, base: Instant, now: Duration) -> Moment {
        let unix = UNIX.saturating_add(now);
        let unix = UnixMillis(unix.0.saturating_add_signed(self.skew_ms));
        Moment {
            now: base + now,
            unix,
        }
    }

    pub(crate) fn is_honest(&self) -> bool {
        matches!(self.kind, Kind::Honest | Kind::Bootstrap)
    }

    /// What stands in a bootstrap list: the peer over both families.
    pub(crate) fn candidate(&self) -> Candidate {
        let address = |family| Address {
            text: format!("{family:?}"),
            family,
            transport: Transport::Quic,
        };
        Candidate {
            peer: self.id,
            addresses: vec![address(Family::V6), address(Family::V4)],
        }
    }
}

/// Each honest peer has a neighbourhood of its own; identities of one owner share a few.
fn address(number: usize, kind: Kind) -> IpAddr {
    let network = match kind {
        Kind::Sybil => number / 64,
        _ => number,
    };
    let [.., b, c, d] = u32::try_from(network).unwrap_or(0).to_be_bytes();
    let first = if kind == Kind::Sybil { 90 } else { 20 };
    IpAddr::V4(Ipv4Addr::new(first + b, c, d, 1))
}

/// A bootstrap node is there to be connected to.
fn room(kind: Kind) -> Room {
    match kind {
        Kind::Bootstrap => Room {
            high: 1024,
            low: 768,
            ceiling: 2048,
            ..Room::default()
        },
        _ => Room::default(),
    }
}

/// An ordinary peer with a model: 400 bytes as they travel.
fn profile(swarm: SwarmName) -> Profile {
    let address = "/ip4/203.0.113.7/udp/40123/quic-v1";
    Profile {
        version: "0.1.0".into(),
        addresses: vec![address.parse().expect("an address as text")],
        deployments: vec![protocol::advert::Deployed {
            model: "org/model-8b:Q4_K_M".parse().expect("a model's name"),
            context_tokens: 8192,
            parallel: 4,
            running: 0,
            queued: 0,
            prefill_tokens_per_second: Some(900.0),
            decode_tokens_per_second: Some(30.0),
            abilities: Abilities::default(),
        }],
        ..Profile::new(swarm, NodeRole::Server)
    }
}
