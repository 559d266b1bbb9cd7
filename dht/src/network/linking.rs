//! Connections: reported to the core that keeps them, closed as it wishes, measured.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use libp2p::{Multiaddr, PeerId, core::ConnectedPoint, swarm};
use protocol::NodeId;

use super::actor::Actor;
use crate::{
    address::{Direct, Scope},
    core::{
        connections::{
            Close, Config, ConnectionId, Connections, Dialer, Opened, Protection, Traffic, Via,
        },
        join::Input,
        rtt::{Estimate, RttEstimator},
    },
    peer::{node_id, peer_id},
    probe::{ProbeError, Probed},
    view::Path,
};

/// An open connection to somebody who is admitted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) id: ConnectionId,
    pub(super) node: NodeId,
    /// Of the other end; `None`: through a relay.
    pub(super) remote: Option<Direct>,
}

impl Link {
    /// How far addresses that come over it may carry: a peer on the Internet names no address of
    /// our local network, and nobody elsewhere one of this machine.
    pub(super) fn scope(&self) -> Scope {
        self.remote.map_or(Scope::Global, |remote| remote.scope())
    }

    fn path(&self) -> Path {
        self.remote.map_or(Path::Relayed, |_| Path::Direct)
    }
}

/// The core that keeps connections, and libp2p's names for them.
pub(super) struct Linking {
    connections: Connections,
    links: BTreeMap<swarm::ConnectionId, Link>,
    next_id: u64,
    estimators: BTreeMap<NodeId, RttEstimator>,
    mesh: BTreeSet<NodeId>,
}

impl Linking {
    /// No connections yet.
    pub(super) fn new(own: NodeId, config: Config) -> Self {
        Self {
            connections: Connections::new(own, config),
            links: BTreeMap::new(),
            next_id: 0,
            estimators: BTreeMap::new(),
            mesh: BTreeSet::new(),
        }
    }

    pub(super) fn link(&self, connection: swarm::ConnectionId) -> Option<&Link> {
        self.links.get(&connection)
    }

    pub(super) fn is_connected(&self, node: NodeId) -> bool {
        self.links.values().any(|link| link.node == node)
    }

    /// How everybody who is connected is.
    pub(super) fn paths(&self) -> BTreeMap<NodeId, Path> {
        let mut paths = BTreeMap::new();
        for link in self.links.values() {
            let path = paths.entry(link.node).or_insert(Path::Relayed);
            *path = link.path().min(*path);
        }
        paths
    }

    pub(super) fn estimate(&self, node: &NodeId) -> Option<Estimate> {
        self.estimators.get(node)?.estimate()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.connections.next_deadline()
    }

    pub(super) fn protect(&mut self, node: NodeId, protection: Protection) {
        self.connections.protect(node, protection);
    }

    pub(super) fn unprotect(&mut self, node: NodeId, protection: Protection) {
        self.connections.unprotect(node, protection);
    }

    /// The connection for a new stream.
    pub(super) fn choose(&self, node: NodeId, traffic: Traffic) -> Option<swarm::ConnectionId> {
        self.named(self.connections.choose(node, traffic)?)
    }

    pub(super) fn on_stream_opened(&mut self, connection: swarm::ConnectionId, now: Instant) {
        if let Some(link) = self.links.get(&connection) {
            self.connections.on_stream_opened(link.id, now);
        }
    }

    pub(super) fn on_stream_closed(&mut self, connection: swarm::ConnectionId, now: Instant) {
        if let Some(link) = self.links.get(&connection) {
            self.connections.on_stream_closed(link.id, now);
        }
    }

    /// Where a peer is connected straight.
    pub(super) fn direct_address(&self, node: NodeId) -> Option<Multiaddr> {
        let mut links = self.links.values().filter(|link| link.node == node);
        links.find_map(|link| Some(link.remote?.to_multiaddr()))
    }

    /// libp2p's name of a connection.
    fn named(&self, id: ConnectionId) -> Option<swarm::ConnectionId> {
        let mut links = self.links.iter();
        links.find_map(|(name, link)| (link.id == id).then_some(*name))
    }
}

impl Actor {
    pub(super) fn on_connected(
        &mut self,
        peer: PeerId,
        connection: swarm::ConnectionId,
        endpoint: &ConnectedPoint,
    ) {
        let dial = self.joining.take_dial(connection);
        let Some(link) = self.new_link(&peer, endpoint) else {
            self.swarm.close_connection(connection);
            return;
        };
        if let Some(id) = dial {
            self.joining.push(Input::Reached(id));
        }
        let is_new = !self.linking.is_connected(link.node);
        self.linking.links.insert(connection, link);
        let closes = self
            .linking
            .connections
            .on_opened(opened(&link, endpoint), Instant::now());
        self.close(&closes);
        self.on_peers_changed();
        if link.remote.is_some() {
            let probes = &mut self.swarm.behaviour_mut().inside.inner_mut().probes;
            probes.probe(peer, connection);
        }
        if is_new {
            self.ask_for_adverts(peer);
        }
        self.open_waiting(link.node);
    }

    /// `None`: nobody that our protocols are for, or somebody who is banned.
    fn new_link(&mut self, peer: &PeerId, endpoint: &ConnectedPoint) -> Option<Link> {
        let node = node_id(peer)?;
        if self.is_banned(node) {
            return None;
        }
        let remote = if endpoint.is_relayed() {
            None
        } else {
            Some(Direct::parse(endpoint.get_remote_address())?)
        };
        let id = ConnectionId(self.linking.next_id);
        self.linking.next_id += 1;
        Some(Link { id, node, remote })
    }

    pub(super) fn on_disconnected(&mut self, connection: swarm::ConnectionId) {
        let Some(link) = self.linking.links.remove(&connection) else {
            return;
        };
        self.linking.connections.on_closed(link.id);
        if !self.linking.is_connected(link.node) {
            self.linking.estimators.remove(&link.node);
            self.on_peer_gone(link.node);
        }
        self.on_peers_changed();
    }

    fn on_peers_changed(&mut self) {
        let peers = self.linking.paths().len();
        self.joining.push(Input::Peers(peers));
    }

    pub(super) fn on_probed(&mut self, probed: &Probed) {
        let Some(link) = self.linking.links.get(&probed.connection).copied() else {
            return;
        };
        let now = Instant::now();
        let estimator = self.linking.estimators.entry(link.node).or_default();
        match probed.round_trip {
            Ok(rtt) => {
                estimator.on_reply(rtt, now);
                self.linking.connections.on_rtt(link.id, rtt);
            }
            Err(ProbeError::Unsupported) => return,
            Err(_) => estimator.on_loss(now),
        }
        if estimator.estimate().is_none() {
            let probes = &mut self.swarm.behaviour_mut().inside.inner_mut().probes;
            probes.probe(probed.peer, probed.connection);
        }
    }

    pub(super) fn drive_linking(&mut self, now: Instant) {
        if self.linking.next_deadline().is_none_or(|due| now < due) {
            return;
        }
        self.protect_mesh();
        let mut closes = Vec::new();
        self.linking.connections.poll(now, &mut closes);
        self.close(&closes);
    }

    /// Peers in a mesh are not closed for room: gossip would only look for others.
    fn protect_mesh(&mut self) {
        let gossip = &self.swarm.behaviour().inside.inner().gossip;
        let mesh: BTreeSet<NodeId> = gossip.all_mesh_peers().filter_map(node_id).collect();
        for gone in self.linking.mesh.difference(&mesh) {
            self.linking.connections.unprotect(*gone, Protection::Mesh);
        }
        for come in mesh.difference(&self.linking.mesh) {
            self.linking.connections.protect(*come, Protection::Mesh);
        }
        self.linking.mesh = mesh;
    }

    /// Closes every connection to a peer.
    pub(super) fn disconnect(&mut self, node: NodeId) {
        // An error says that there is none.
        let _ = self.swarm.disconnect_peer_id(peer_id(&node));
    }

    fn close(&mut self, closes: &[Close]) {
        for close in closes {
            if let Some(name) = self.linking.named(close.id) {
                self.swarm.close_connection(name);
            }
        }
    }
}

fn opened(link: &Link, endpoint: &ConnectedPoint) -> Opened {
    Opened {
        id: link.id,
        peer: link.node,
        dialer: if endpoint.is_dialer() {
            Dialer::Us
        } else {
            Dialer::Peer
        },
        via: match link.remote {
            Some(remote) => Via::Direct(remote.transport, remote.ip),
            None => Via::Relay,
        },
    }
}
