//! How peers stand: what each may ask for is limited, what it does wrong is counted, and whoever has
//! too many offences is disconnected and kept out. What an offence weighs is the core's.

use std::time::Instant;

use libp2p::PeerId;
use protocol::NodeId;

use super::actor::Actor;
use crate::{
    core::{
        rate::{PeerLimits, Quota},
        score::{self, Offence, Scores},
    },
    peer::node_id,
};

/// Queries of one peer: one at each connection, and one for each provider that it finds.
const QUERIES: Quota = Quota {
    burst: 32,
    per_second: 1.0,
};

/// Messages that one neighbour passes on: everybody's in a shard of the largest size comes in one
/// heartbeat, in two shards while it moves, and at once after a pause.
const GOSSIP: Quota = Quota {
    burst: 512,
    per_second: 10.0,
};

/// Streams that one peer opens: each is a request, and one that serves an office has tens a second.
const STREAMS: Quota = Quota {
    burst: 128,
    per_second: 20.0,
};

/// Requests for leases of one head: each stage that it holds here is renewed every ten seconds, and
/// a chain that is planned anew asks again at once.
const LEASES: Quota = Quota {
    burst: 64,
    per_second: 4.0,
};

/// Streams of one neighbour in chains: there is one at a time, and another when it broke.
const LINKS: Quota = Quota {
    burst: 16,
    per_second: 0.5,
};

/// Streams of one neighbour about boards: one for each board when it comes, and one for each bit of
/// news or attachment later.
const BOARDS: Quota = Quota {
    burst: 64,
    per_second: 4.0,
};

/// All of it together: what an honest peer never reaches at once.
const IN_ALL: Quota = Quota {
    burst: 512,
    per_second: 30.0,
};

/// What is limited, of each peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Limited {
    Queries,
    Gossip,
    Streams,
    Leases,
    Links,
    Boards,
}

/// The limits and the offences of all peers.
pub(super) struct Standing {
    scores: Scores,
    limits: PeerLimits<Limited>,
}

impl Standing {
    /// Nobody did anything yet.
    pub(super) fn new(now: Instant) -> Self {
        let quotas = [
            (Limited::Queries, QUERIES),
            (Limited::Gossip, GOSSIP),
            (Limited::Streams, STREAMS),
            (Limited::Leases, LEASES),
            (Limited::Links, LINKS),
            (Limited::Boards, BOARDS),
        ];
        Self {
            scores: Scores::default(),
            limits: PeerLimits::new(IN_ALL, &quotas, now),
        }
    }
}

impl Actor {
    /// Whether a peer may have one more of these now; if not, that it asked is an offence.
    pub(super) fn is_allowed(&mut self, peer: &PeerId, what: Limited) -> bool {
        let Some(node) = node_id(peer) else {
            return false;
        };
        let limits = &mut self.standing.limits;
        let is_allowed = limits.try_take(node, what, 1, Instant::now());
        if !is_allowed {
            self.on_offence(peer, Offence::RateExcess);
        }
        is_allowed
    }

    /// Takes an offence of a peer, and does what follows.
    pub(super) fn on_offence(&mut self, peer: &PeerId, offence: Offence) {
        use score::Standing as S;
        let Some(node) = node_id(peer) else {
            return;
        };
        let now = Instant::now();
        let standing = self.standing.scores.on_offence(node, offence, now);
        if matches!(standing, S::Disconnect | S::Banned(_)) {
            self.swarm.behaviour_mut().turnstile.on_cut_off(peer, now);
            self.disconnect(node);
        }
    }

    pub(super) fn is_banned(&self, node: NodeId) -> bool {
        let standing = self.standing.scores.standing(node, Instant::now());
        matches!(standing, score::Standing::Banned(_))
    }
}
