//! What is known of the swarm at one moment, for whoever asks: routers, commands, pages. Plain
//! data.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use protocol::{
    ModelName, NodeId, Sequence,
    advert::{Deployed, Nat, NodeRole, Profile},
    membership::Role,
};

use crate::core::{adverts::Closeness, groups, join::Report, membership::ClockGap, rtt::Estimate};

/// The swarm as this node sees it.
#[derive(Debug, Clone)]
pub struct View {
    /// How the join stands, and what each way met.
    pub join: Report,
    /// What lies between this node and the Internet.
    pub nat: Nat,
    /// What this node is to the swarm.
    pub role: NodeRole,
    /// Whether it has a group: peers near enough for a chain.
    pub standing: groups::Role,
    /// How many peers the swarm has, as far as this node found by itself.
    pub size: Option<u32>,
    /// How far this machine's clock is off what most peers sign by; `None`: it is not, as far as
    /// anybody was heard.
    pub clock: Option<ClockGap>,
    /// Where this node listens, as multiaddrs with its own peer behind.
    pub listening: Vec<String>,
    /// Where others reach it, as far as that was confirmed.
    pub external: Vec<String>,
    /// Everybody who is connected or known by an advert, by id.
    pub peers: BTreeMap<NodeId, Peer>,
    /// The last advert's sequence number: to be kept for the next run.
    pub sequence: Option<Sequence>,
}

/// One peer.
#[derive(Debug, Clone)]
pub struct Peer {
    /// How it is connected; `None`: it is not.
    pub path: Option<Path>,
    /// The round-trip time by this node's own probes, on a direct connection.
    pub rtt: Option<Estimate>,
    /// What it is to this node.
    pub closeness: Closeness,
    /// What it proved to be in a private swarm, while it is connected.
    pub membership: Option<Role>,
    /// What it says of itself; `None`: nothing so far.
    pub said: Option<Arc<Profile>>,
}

/// How a peer is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// Straight.
    Direct,
    /// Through a relay.
    Relayed,
}

/// A head of a model on another peer.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Who.
    pub node: NodeId,
    /// What it says of the deployment.
    pub deployed: &'a Deployed,
    /// All that is known of the peer.
    pub peer: &'a Peer,
}

impl Peer {
    /// The round-trip time, if it was measured.
    pub fn round_trip(&self) -> Option<Duration> {
        self.rtt.map(|estimate| estimate.rtt)
    }
}

impl View {
    /// Peers that are connected.
    pub fn connected(&self) -> usize {
        self.peers
            .values()
            .filter(|peer| peer.path.is_some())
            .count()
    }

    /// The heads that say that they serve a model, by id: ranking is the router's.
    pub fn heads<'a>(&'a self, model: &'a ModelName) -> impl Iterator<Item = Head<'a>> {
        self.all_heads()
            .filter(move |head| &head.deployed.model == model)
    }

    /// Every head of every model.
    pub fn all_heads(&self) -> impl Iterator<Item = Head<'_>> {
        self.peers.iter().flat_map(|(node, peer)| {
            let deployments = peer.said.iter().flat_map(|said| &said.deployments);
            deployments.map(|deployed| Head {
                node: *node,
                deployed,
                peer,
            })
        })
    }
}
