//! Where this node listens, and what others say of how it is reached.

use std::{collections::BTreeMap, io, net::SocketAddr, time::Instant};

use libp2p::{
    Multiaddr, Swarm, TransportError, autonat, core::transport::ListenerId, identify, kad,
    multiaddr::Protocol, relay,
};
use protocol::{
    NodeId,
    advert::{AddressText, Nat},
    limits::MAX_ADDRESSES,
    names,
};

use super::{StartError, actor::Actor, behaviour::Behaviour, config::Config, linking::Link};
use crate::{
    address::{Direct, Scope, is_circuit},
    core::{
        connections::Protection,
        join::{Input, State, Transport},
        nat::NatKind,
        reservations::{Output, Reservations},
    },
    peer::{node_id, peer_id},
};

/// Addresses of one peer that the routing table is told: two families, two transports, twice.
const MAX_TOLD: usize = 8;

/// What a relay speaks (libp2p specification, "Circuit Relay v2").
const HOP: &str = "/libp2p/circuit/relay/0.2.0/hop";

/// Where a relay listens for this node, once it agreed.
#[derive(Debug, Clone, Copy)]
struct Circuit {
    listener: ListenerId,
    is_held: bool,
}

/// What is known of this node's own addresses.
pub(super) struct Listening {
    nat: NatKind,
    reservations: Reservations,
    /// At the relays that were asked.
    circuits: BTreeMap<NodeId, Circuit>,
    kademlia: String,
    /// What every node of the swarm speaks.
    probe: String,
    is_server: bool,
}

impl Listening {
    /// Listens as configured.
    pub(super) fn begin(config: &Config, swarm: &mut Swarm<Behaviour>) -> Result<Self, StartError> {
        let is_alone = config.listen.len() == 1;
        for address in &config.listen {
            let listened = listen(swarm, address, config.any_port);
            // A machine without IPv6 still has IPv4.
            let is_spare = address.starts_with("/ip6/::/") && !is_alone;
            if !is_spare {
                listened?;
            }
        }
        for text in &config.external {
            let address = text.parse::<Multiaddr>();
            let address = address.map_err(|_| StartError::Address(text.clone()))?;
            swarm.add_external_address(address);
        }
        Ok(Self {
            nat: NatKind::default(),
            reservations: Reservations::default(),
            circuits: BTreeMap::new(),
            kademlia: names::Protocol::Kademlia.of(&config.swarm),
            probe: names::Protocol::Probe.of(&config.swarm),
            is_server: config.is_server,
        })
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        if self.is_server {
            return None;
        }
        self.reservations.next_deadline()
    }

    pub(super) fn nat(&self) -> Nat {
        self.nat.kind()
    }

    /// Where this node listens, its own peer behind.
    pub(super) fn listening(&self, swarm: &Swarm<Behaviour>) -> Vec<String> {
        let own = *swarm.local_peer_id();
        let with_peer = |address: &Multiaddr| address.clone().with_p2p(own).ok();
        let addresses = swarm.listeners().filter_map(with_peer);
        addresses.map(|address| address.to_string()).collect()
    }

    /// Where others reach this node.
    pub(super) fn external(&self, swarm: &Swarm<Behaviour>) -> Vec<String> {
        swarm
            .external_addresses()
            .map(Multiaddr::to_string)
            .collect()
    }

    /// What the swarm is told: first where others were seen to reach this node, then where it
    /// listens, the farthest-reaching first; this machine's own only if there is nothing else.
    pub(super) fn told(&self, swarm: &Swarm<Behaviour>) -> Vec<AddressText> {
        let scope = |address: &Multiaddr| Direct::parse(address).map(|direct| direct.scope());
        let mut listeners: Vec<&Multiaddr> = swarm.listeners().collect();
        listeners.retain(|address| scope(address).is_some() || is_circuit(address));
        listeners.sort_by_key(|address| std::cmp::Reverse(scope(address)));
        let mut told: Vec<&Multiaddr> = Vec::new();
        for address in swarm.external_addresses().chain(listeners) {
            let is_local = scope(address) == Some(Scope::Loopback);
            if !told.contains(&address) && (!is_local || told.is_empty() || is_all_local(&told)) {
                told.push(address);
            }
        }
        let texts = told
            .into_iter()
            .filter_map(|address| address.to_string().parse().ok());
        texts.take(MAX_ADDRESSES).collect()
    }
}

fn is_all_local(told: &[&Multiaddr]) -> bool {
    let scopes = told
        .iter()
        .map(|address| Direct::parse(address).map(|d| d.scope()));
    scopes
        .into_iter()
        .all(|scope| scope == Some(Scope::Loopback))
}

impl Actor {
    /// An address to listen at came or went. One that went, or one that came while nobody could
    /// be reached, is another network: what failed before may work now.
    pub(super) fn on_listen_addr(&mut self, address: &Multiaddr, has_come: bool) {
        let is_alone = self.joining.report().state == State::Alone;
        if !is_circuit(address) && (is_alone || !has_come) {
            self.swarm.behaviour_mut().candidates.forget();
            self.listening.nat.forget();
            self.joining.push(Input::NetworkChanged);
        }
        self.on_addresses_changed();
    }

    pub(super) fn on_addresses_changed(&mut self) {
        self.viewing.on_change();
        self.meeting.on_addresses(&self.swarm);
        let (is_public, is_reachable) = self.reach();
        self.listening.nat.set_public(is_public);
        self.listening.reservations.set_public(is_reachable);
        // A relay's address in a routing table makes others open circuits for every query.
        let mode = if is_reachable || self.listening.is_server {
            kad::Mode::Server
        } else {
            kad::Mode::Client
        };
        let kad = &mut self.swarm.behaviour_mut().inside.inner_mut().kad;
        if kad.mode() != mode {
            kad.set_mode(Some(mode));
        }
        self.telling.on_change();
    }

    /// Whether a direct address was confirmed: of the Internet, and any at all.
    fn reach(&self) -> (bool, bool) {
        let direct = self.swarm.external_addresses().filter_map(Direct::parse);
        let scopes: Vec<Scope> = direct.map(|direct| direct.scope()).collect();
        (scopes.contains(&Scope::Global), !scopes.is_empty())
    }

    pub(super) fn on_autonat(&mut self, _: &autonat::v2::client::Event) {
        self.on_addresses_changed();
    }

    pub(super) fn on_identify(&mut self, event: identify::Event) {
        let (connection_id, peer_id, info) = match event {
            identify::Event::Received {
                connection_id,
                peer_id,
                info,
            } => (connection_id, peer_id, info),
            identify::Event::Error { connection_id, .. } => {
                return self.on_not_ours(connection_id);
            }
            _ => return,
        };
        let Some(link) = self.linking.link(connection_id).copied() else {
            return;
        };
        let mut spoken = info.protocols.iter();
        if !spoken.any(|protocol| protocol.as_ref() == self.listening.probe) {
            return self.on_not_ours(connection_id);
        }
        if !link.is_ours {
            self.on_ours(connection_id);
        }
        self.on_observed(&link, &info.observed_addr);
        let speaks_kademlia =
            (info.protocols.iter()).any(|protocol| protocol.as_ref() == self.listening.kademlia);
        if speaks_kademlia {
            let kad = &mut self.swarm.behaviour_mut().inside.inner_mut().kad;
            for address in dialable(&info.listen_addrs, link.scope()) {
                kad.add_address(&peer_id, address);
            }
        }
        let is_relay = info
            .protocols
            .iter()
            .any(|protocol| protocol.as_ref() == HOP);
        if is_relay && link.remote.is_some() {
            self.listening
                .reservations
                .on_offer(link.node, Instant::now());
        }
    }

    /// Somebody is no longer connected.
    pub(super) fn on_peer_gone(&mut self, node: NodeId) {
        self.listening.reservations.on_gone(node);
        self.listening.circuits.remove(&node);
        self.linking.unprotect(node, Protection::Relay);
    }

    pub(super) fn on_relay_client(&mut self, event: &relay::client::Event) {
        if let relay::client::Event::ReservationReqAccepted { relay_peer_id, .. } = event
            && let Some(node) = node_id(relay_peer_id)
        {
            self.listening.reservations.on_held(node);
            if let Some(circuit) = self.listening.circuits.get_mut(&node) {
                circuit.is_held = true;
            }
            self.linking.protect(node, Protection::Relay);
        }
    }

    pub(super) fn on_listener_closed(&mut self, listener: ListenerId) {
        let mut circuits = self.listening.circuits.iter();
        let node = circuits.find_map(|(node, c)| (c.listener == listener).then_some(*node));
        if let Some(node) = node {
            self.listening.circuits.remove(&node);
            self.listening.reservations.on_lost(node, Instant::now());
            self.linking.unprotect(node, Protection::Relay);
        }
    }

    /// Asks relays, and gives back what is not needed.
    pub(super) fn drive_listening(&mut self, now: Instant) {
        if self.listening.is_server {
            return;
        }
        let mut outputs = Vec::new();
        self.listening
            .reservations
            .poll(now, &mut self.rng, &mut outputs);
        for output in outputs {
            match output {
                Output::Reserve(node) => self.reserve(node, now),
                Output::Release(node) => self.release(node),
            }
        }
    }

    /// libp2p's client panics when a relay agrees to what was taken back meanwhile (0.22, its
    /// `on_connection_handler_event`), and a relay may take its time. So no listener is removed: a
    /// request goes on until it ends by itself, and what is held ends with the connection.
    fn release(&mut self, node: NodeId) {
        self.linking.unprotect(node, Protection::Relay);
        let circuit = self.listening.circuits.remove(&node);
        if circuit.is_some_and(|circuit| circuit.is_held) {
            self.disconnect(node);
        }
    }

    fn reserve(&mut self, node: NodeId, now: Instant) {
        let Some(address) = self.linking.direct_address(node) else {
            self.listening.reservations.on_lost(node, now);
            return;
        };
        let address = address
            .with(Protocol::P2p(peer_id(&node)))
            .with(Protocol::P2pCircuit);
        match self.swarm.listen_on(address) {
            Ok(listener) => {
                let circuit = Circuit {
                    listener,
                    is_held: false,
                };
                self.listening.circuits.insert(node, circuit);
            }
            Err(_) => self.listening.reservations.on_lost(node, now),
        }
    }

    fn on_observed(&mut self, link: &Link, address: &Multiaddr) {
        let (Some(remote), Some(seen)) = (link.remote, Direct::parse(address)) else {
            return;
        };
        self.viewing.on_change();
        self.swarm
            .behaviour_mut()
            .candidates
            .on_observed(address.clone());
        if remote.transport == Transport::Quic && seen.transport == Transport::Quic {
            let seen = SocketAddr::new(seen.ip, seen.port);
            self.listening.nat.on_observed(remote.ip, seen);
        }
    }
}

/// Those of a peer's claimed addresses that may be dialed, given how far they may carry.
pub(super) fn dialable(claimed: &[Multiaddr], scope: Scope) -> impl Iterator<Item = Multiaddr> {
    let direct = claimed.iter().filter_map(Direct::parse);
    let direct = direct.filter(move |direct| direct.scope() >= scope);
    direct.take(MAX_TOLD).map(|direct| direct.to_multiaddr())
}

/// At the port or, if it is taken and that is allowed, at a free one.
fn listen(swarm: &mut Swarm<Behaviour>, text: &str, any_port: bool) -> Result<(), StartError> {
    let address = text.parse::<Multiaddr>();
    let address = address.map_err(|_| StartError::Address(text.to_owned()))?;
    let mut listened = swarm.listen_on(address.clone());
    if listened.is_err() && any_port {
        listened = swarm.listen_on(at_any_port(&address));
    }
    listened.map(|_| ()).map_err(|cause| StartError::Listen {
        address: text.to_owned(),
        cause: words(&cause),
    })
}

/// libp2p has no words of its own for what the system refused.
fn words(error: &TransportError<io::Error>) -> String {
    match error {
        TransportError::Other(cause) => cause.to_string(),
        error => error.to_string(),
    }
}

fn at_any_port(address: &Multiaddr) -> Multiaddr {
    let parts = address.iter().map(|part| match part {
        Protocol::Udp(_) => Protocol::Udp(0),
        Protocol::Tcp(_) => Protocol::Tcp(0),
        part => part,
    });
    parts.collect()
}
