//! Connections: reported to the core that keeps them, closed as it wishes, measured.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, core::ConnectedPoint, swarm};
use protocol::NodeId;

use super::{actor::Actor, gossip::is_graylisted};
use crate::{
    address::{Direct, Scope},
    core::{
        connections::{
            Close, Config, ConnectionId, Connections, Dialer, Opened, PeerFacts, Protection,
            Traffic, Via,
        },
        join::{Cause, Input},
    },
    peer::{node_id, peer_id},
    view::Path,
};

/// An open connection on which everything is spoken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    /// The peer is of this swarm: admitted to it, or it said that it speaks its protocols.
    /// Whatever else runs on libp2p is connected for a moment too, and is nobody.
    pub(super) is_ours: bool,
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

    pub(super) fn path(&self) -> Path {
        self.remote.map_or(Path::Relayed, |_| Path::Direct)
    }
}

/// The core that keeps connections, and libp2p's names for them.
pub(super) struct Linking {
    connections: Connections,
    links: BTreeMap<swarm::ConnectionId, Link>,
    next_id: u64,
    mesh: BTreeSet<NodeId>,
}

impl Linking {
    /// No connections yet.
    pub(super) fn new(own: NodeId, config: Config) -> Self {
        Self {
            connections: Connections::new(own, config),
            links: BTreeMap::new(),
            next_id: 0,
            mesh: BTreeSet::new(),
        }
    }

    pub(super) fn link(&self, connection: swarm::ConnectionId) -> Option<&Link> {
        self.links.get(&connection)
    }

    pub(super) fn is_connected(&self, node: NodeId) -> bool {
        self.links.values().any(|link| link.node == node)
    }

    /// Whether anybody of the swarm is connected.
    pub(super) fn has_peers(&self) -> bool {
        self.links.values().any(|link| link.is_ours)
    }

    /// How everybody of the swarm who is connected is.
    pub(super) fn paths(&self) -> BTreeMap<NodeId, Path> {
        let mut paths = BTreeMap::new();
        for link in self.links.values().filter(|link| link.is_ours) {
            let path = paths.entry(link.node).or_insert(Path::Relayed);
            *path = link.path().min(*path);
        }
        paths
    }

    /// How one of them is; `None`: not connected.
    pub(super) fn path(&self, node: NodeId) -> Option<Path> {
        let links = self.links.values();
        let of_node = links.filter(|link| link.is_ours && link.node == node);
        of_node.map(Link::path).min()
    }

    /// A round trip on a connection was measured.
    pub(super) fn on_rtt(&mut self, link: &Link, rtt: Duration) {
        self.connections.on_rtt(link.id, rtt);
    }

    /// Whether a peer is near enough for a chain, and so worth keeping.
    pub(super) fn set_near(&mut self, node: NodeId, is_near: bool) {
        let facts = PeerFacts {
            is_near,
            ..PeerFacts::default()
        };
        self.connections.set_facts(node, facts);
    }

    /// A connection straight to a peer.
    pub(super) fn direct_connection(&self, node: NodeId) -> Option<swarm::ConnectionId> {
        let is_direct = |link: &Link| link.node == node && link.remote.is_some();
        let mut links = self.links.iter();
        links.find_map(|(name, link)| is_direct(link).then_some(*name))
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
        let Some(link) = self.new_link(&peer, endpoint) else {
            self.on_led_nowhere(connection, Cause::HandshakeRefused);
            self.on_unwelcome(&peer);
            self.swarm.close_connection(connection);
            return;
        };
        if !self.swarm.behaviour().inside.is_inside(connection) {
            return self.on_outside(link.node, connection);
        }
        let is_new = !self.linking.is_connected(link.node);
        self.linking.links.insert(connection, link);
        let closes = self
            .linking
            .connections
            .on_opened(opened(&link, endpoint), Instant::now());
        self.close(&closes);
        if self.swarm.behaviour().inside.is_shut() {
            self.on_ours(connection);
        }
        if link.remote.is_some() {
            let probes = &mut self.swarm.behaviour_mut().inside.inner_mut().probes;
            probes.probe(peer, connection);
        }
        if is_new {
            self.ask_for_adverts(link.node);
        }
        self.open_waiting(link.node);
    }

    /// Whoever is banned and comes again is cut off again.
    fn on_unwelcome(&mut self, peer: &PeerId) {
        if node_id(peer).is_some_and(|node| self.is_banned(node)) {
            let turnstile = &mut self.swarm.behaviour_mut().turnstile;
            turnstile.on_cut_off(peer, Instant::now());
        }
    }

    /// `None`: nobody that our protocols are for, or somebody who is banned.
    fn new_link(&mut self, peer: &PeerId, endpoint: &ConnectedPoint) -> Option<Link> {
        let node = node_id(peer)?;
        let gossip = &self.swarm.behaviour().inside.inner().gossip;
        if self.is_banned(node) || is_graylisted(gossip, peer) {
            return None;
        }
        let remote = if endpoint.is_relayed() {
            None
        } else {
            Some(Direct::parse(endpoint.get_remote_address())?)
        };
        let id = ConnectionId(self.linking.next_id);
        self.linking.next_id += 1;
        Some(Link {
            is_ours: false,
            id,
            node,
            remote,
        })
    }

    /// The peer at the other end is of this swarm: whoever dialed it has reached it.
    pub(super) fn on_ours(&mut self, connection: swarm::ConnectionId) {
        let Some(link) = self.linking.links.get_mut(&connection) else {
            return;
        };
        link.is_ours = true;
        let node = link.node;
        if let Some(id) = self.joining.take_dial(connection) {
            self.joining.push(Input::Reached(id));
        }
        self.on_let_in(node);
        self.on_path(node);
        self.on_peers_changed();
    }

    /// The peer at the other end is not of this swarm, whatever it is of.
    pub(super) fn on_not_ours(&mut self, connection: swarm::ConnectionId) {
        if self
            .linking
            .link(connection)
            .is_some_and(|link| !link.is_ours)
        {
            self.swarm.close_connection(connection);
        }
    }

    pub(super) fn on_disconnected(&mut self, connection: swarm::ConnectionId) {
        self.on_outside_closed(connection);
        self.on_led_nowhere(connection, Cause::HandshakeRefused);
        let Some(link) = self.linking.links.remove(&connection) else {
            return;
        };
        self.linking.connections.on_closed(link.id);
        if !self.linking.is_connected(link.node) {
            self.on_peer_gone(link.node);
            self.boarding.on_gone(link.node);
        }
        self.on_path(link.node);
        self.on_peers_changed();
    }

    fn on_peers_changed(&mut self) {
        self.viewing.on_change();
        self.on_crowd_changed();
        let peers = self.linking.paths().len();
        self.joining.push(Input::Peers(peers));
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
