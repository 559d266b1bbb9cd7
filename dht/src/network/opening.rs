//! Streams to peers and from them: on the connection that the core chooses, after a dial if
//! there is none.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    multiaddr::Protocol as Part,
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use protocol::{NodeId, names::Protocol};
use tokio::sync::{mpsc, oneshot};

use super::{actor::Actor, config::Config, standing::Limited};
use crate::{
    address::{Direct, Scope, is_circuit},
    core::{connections::Traffic, score::Offence},
    peer::{node_id, peer_id},
    streams::{Event, Limit, OpenId, Stream},
    view::Path,
};

/// Wishes that wait for a dial: each is a request under way.
const MOST_WAITING: usize = 256;

/// A dial takes this long at most: two tries of the transport, or a circuit.
const DIAL_PATIENCE: Duration = Duration::from_secs(10);

/// Addresses of one peer that one dial tries.
const MOST_ADDRESSES: usize = 12;

/// Protocols whose streams are handed to the node; those of boards, if it keeps any, stay here.
const SERVED: [Protocol; 6] = [
    Protocol::Generate,
    Protocol::Embed,
    Protocol::Lease,
    Protocol::Stage,
    Protocol::Weights,
    Protocol::Boards,
];

/// Why there is no stream to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No address of the peer is known, or none answers.
    #[error("the peer cannot be reached")]
    Unreachable,
    /// Too many wishes wait already, or too many streams are open to the peer.
    #[error("too many streams are wanted at once")]
    Busy,
    /// The connection broke, or the peer does not speak the protocol.
    #[error("the peer gave no stream")]
    Refused,
    /// The peer is connected through a relay only, which does not carry hidden states.
    #[error("the peer is reached through a relay only")]
    Relayed,
    /// This node has left the swarm.
    #[error("this node has left the swarm")]
    Left,
}

/// A stream that a peer opened.
#[derive(Debug)]
pub struct Inbound {
    /// Who.
    pub peer: NodeId,
    /// What it wants to speak.
    pub protocol: Protocol,
    /// The stream.
    pub stream: Stream,
}

type Answer = oneshot::Sender<Result<Stream, OpenError>>;

struct Wish {
    protocol: Protocol,
    answer: Answer,
    until: Instant,
}

/// What waits for a connection, or for a stream on one.
pub(super) struct Opening {
    names: BTreeMap<Protocol, StreamProtocol>,
    waiting: BTreeMap<NodeId, Vec<Wish>>,
    /// Dials that were begun for somebody who is waited for.
    dials: BTreeMap<ConnectionId, NodeId>,
    opening: BTreeMap<OpenId, Answer>,
    inbound: mpsc::Sender<Inbound>,
}

/// The names of the protocols whose streams are taken.
pub(super) fn protocols(config: &Config) -> BTreeMap<Protocol, StreamProtocol> {
    let name = |protocol: Protocol| {
        let name = protocol.of(&config.swarm);
        StreamProtocol::try_from_owned(name).expect("it begins with a slash")
    };
    let is_spoken = |protocol: &Protocol| *protocol != Protocol::Boards || config.ledger.is_some();
    let served = SERVED.into_iter().filter(is_spoken);
    served.map(|protocol| (protocol, name(protocol))).collect()
}

impl Opening {
    pub(super) fn new(config: &Config, inbound: mpsc::Sender<Inbound>) -> Self {
        Self {
            names: protocols(config),
            waiting: BTreeMap::new(),
            dials: BTreeMap::new(),
            opening: BTreeMap::new(),
            inbound,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.values().flatten().map(|wish| wish.until).min()
    }
}

impl Actor {
    /// Opens a stream, after a dial if need be.
    pub(super) fn open(&mut self, node: NodeId, protocol: Protocol, answer: Answer) {
        if self.linking.is_connected(node) {
            self.open_on_link(node, protocol, answer);
            return;
        }
        let waiting: usize = self.opening.waiting.values().map(Vec::len).sum();
        if waiting >= MOST_WAITING {
            let _ = answer.send(Err(OpenError::Busy));
            return;
        }
        if !self.opening.waiting.contains_key(&node) && !self.dial_peer(node) {
            let _ = answer.send(Err(OpenError::Unreachable));
            return;
        }
        let wish = Wish {
            protocol,
            answer,
            until: Instant::now() + DIAL_PATIENCE,
        };
        self.opening.waiting.entry(node).or_default().push(wish);
    }

    /// A direct connection if there is one; through a relay only text and control go.
    fn open_on_link(&mut self, node: NodeId, protocol: Protocol, answer: Answer) {
        let name = self.opening.names.get(&protocol).cloned();
        let connection = self.linking.choose(node, traffic(protocol));
        let (Some(name), Some(connection)) = (name, connection) else {
            let is_relayed = self.linking.path(node) == Some(Path::Relayed);
            let error = if is_relayed && traffic(protocol) == Traffic::Data {
                OpenError::Relayed
            } else {
                OpenError::Refused
            };
            let _ = answer.send(Err(error));
            return;
        };
        let streams = &mut self.swarm.behaviour_mut().inside.inner_mut().streams;
        let id = streams.open(peer_id(&node), connection, name);
        self.opening.opening.insert(id, answer);
    }

    /// Dials a peer at what is known of it; whether anything is.
    pub(super) fn dial_peer(&mut self, node: NodeId) -> bool {
        let addresses = self.addresses_of(node);
        let options = DialOpts::peer_id(peer_id(&node))
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .build();
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.opening.dials.insert(connection, node);
                true
            }
            // Somebody else's dial to it is under way.
            Err(libp2p::swarm::DialError::DialPeerConditionFalse(_)) => true,
            Err(_) => false,
        }
    }

    /// What the peer says of where it is, as far as that can be meant for us.
    pub(super) fn addresses_of(&self, node: NodeId) -> Vec<Multiaddr> {
        let Some(known) = self.telling.adverts.known(&node, Instant::now()) else {
            return Vec::new();
        };
        let own: Vec<Direct> = self.swarm.listeners().filter_map(Direct::parse).collect();
        let texts = known.profile.addresses.iter();
        let addresses = texts.filter_map(|text| text.as_str().parse::<Multiaddr>().ok());
        let usable = addresses.filter(|address| is_meant_for(address, &own));
        let mut relays = BTreeSet::new();
        let usable = usable.filter(|address| relay(address).is_none_or(|r| relays.insert(r)));
        usable.take(MOST_ADDRESSES).collect()
    }

    /// A peer is connected: what waited for it goes on.
    pub(super) fn open_waiting(&mut self, node: NodeId) {
        self.opening.dials.retain(|_, dialed| *dialed != node);
        for wish in self.opening.waiting.remove(&node).unwrap_or_default() {
            self.open_on_link(node, wish.protocol, wish.answer);
        }
    }

    /// A dial failed. If it was for somebody who is waited for, that is over.
    pub(super) fn on_peer_dial_failed(&mut self, connection: ConnectionId) {
        let Some(node) = self.opening.dials.remove(&connection) else {
            return;
        };
        for wish in self.opening.waiting.remove(&node).unwrap_or_default() {
            let _ = wish.answer.send(Err(OpenError::Unreachable));
        }
    }

    /// A peer's stream: handed on, unless the peer opens more than anybody needs.
    fn on_inbound(
        &mut self,
        from: &PeerId,
        connection: ConnectionId,
        protocol: &StreamProtocol,
        stream: Stream,
    ) {
        let mut names = self.opening.names.iter();
        let protocol = names.find_map(|(p, name)| (name == protocol).then_some(*p));
        let (Some(peer), Some(protocol)) = (node_id(from), protocol) else {
            return;
        };
        if !self.is_allowed(from, limited(protocol)) {
            return;
        }
        let link = self.linking.link(connection);
        let is_direct = link.is_some_and(|link| link.remote.is_some());
        if traffic(protocol) == Traffic::Data && !is_direct {
            return;
        }
        if protocol == Protocol::Boards {
            return self.serve_boards(peer, stream);
        }
        let inbound = Inbound {
            peer,
            protocol,
            stream,
        };
        // A node that does not keep up drops the stream, which the peer sees at once.
        let _ = self.opening.inbound.try_send(inbound);
    }

    /// Gives up what has waited too long, or whose asker is gone.
    pub(super) fn drive_opening(&mut self, now: Instant) {
        self.opening.waiting.retain(|_, wishes| {
            let over = wishes.extract_if(.., |wish| wish.until <= now || wish.answer.is_closed());
            for wish in over {
                let _ = wish.answer.send(Err(OpenError::Unreachable));
            }
            !wishes.is_empty()
        });
    }

    pub(super) fn on_streams(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Opened {
                id,
                connection,
                result,
                ..
            } => {
                if result.is_ok() {
                    self.linking.on_stream_opened(connection, now);
                }
                if let Some(answer) = self.opening.opening.remove(&id) {
                    let _ = answer.send(result.map_err(|_| OpenError::Refused));
                }
            }
            Event::Inbound {
                peer,
                connection,
                protocol,
                stream,
            } => {
                self.linking.on_stream_opened(connection, now);
                self.on_inbound(&peer, connection, &protocol, stream);
            }
            Event::Closed { connection, .. } => self.linking.on_stream_closed(connection, now),
            Event::Refused {
                peer,
                limit: Limit::Connection,
                ..
            } => self.on_offence(&peer, Offence::RateExcess),
            Event::Refused { peer, .. } => {
                // No fault of one that asks seldom; who floods pays for it as with streams that are
                // taken.
                self.is_allowed(&peer, Limited::Streams);
            }
        }
    }
}

/// What a protocol's streams carry.
fn traffic(protocol: Protocol) -> Traffic {
    match protocol {
        Protocol::Stage | Protocol::Weights => Traffic::Data,
        _ => Traffic::Control,
    }
}

/// What a peer's streams of a protocol count against.
fn limited(protocol: Protocol) -> Limited {
    match protocol {
        Protocol::Lease => Limited::Leases,
        Protocol::Stage => Limited::Links,
        Protocol::Boards => Limited::Boards,
        _ => Limited::Streams,
    }
}

/// Whether an address that a peer claims can be meant for a node that listens at these: on the
/// Internet, in a network that we are in too, or on this machine if we know no other.
fn is_meant_for(address: &Multiaddr, own: &[Direct]) -> bool {
    if is_circuit(address) {
        return relay(address).is_some();
    }
    Direct::parse(address).is_some_and(|direct| match direct.scope() {
        Scope::Global => true,
        Scope::Private if is_of_one_link(direct.ip) => false,
        Scope::Private => own.iter().any(|here| is_same_network(here.ip, direct.ip)),
        Scope::Loopback => own.iter().all(|here| here.scope() == Scope::Loopback),
    })
}

/// The relay that an address leads through. A dial takes one address of each relay: all of them
/// lead over the one connection to it, and would open as many circuits at once.
fn relay(address: &Multiaddr) -> Option<NodeId> {
    if !is_circuit(address) {
        return None;
    }
    let parts = address.iter().take_while(|part| *part != Part::P2pCircuit);
    Direct::parse(&parts.collect())?.peer
}

/// An IPv6 address of a link means nothing without its interface, which no address names.
fn is_of_one_link(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// The first 16 bits of IPv4, the first 64 of IPv6: no smaller than any local network. Of
/// 192.168.0.0/16 the first 24 bits: nearly every home has one of its networks, and none more.
fn is_same_network(one: IpAddr, other: IpAddr) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            let length = if one.octets()[..2] == [192, 168] {
                3
            } else {
                2
            };
            one.octets()[..length] == other.octets()[..length]
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => one.octets()[..8] == other.octets()[..8],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY: &str = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn homes_are_not_taken_for_one_another() {
        let is_same =
            |one: &str, other: &str| is_same_network(one.parse().unwrap(), other.parse().unwrap());
        assert!(is_same("192.168.1.2", "192.168.1.77"));
        assert!(!is_same("192.168.1.2", "192.168.178.20"));
        assert!(is_same("10.0.1.2", "10.0.2.2"));
        assert!(!is_same("10.0.1.2", "10.1.1.2"));
        assert!(is_same("fd00::1", "fd00::2"));
        assert!(!is_same("fd00::1", "192.168.1.2"));
        let link = "/ip6/fe80::1/tcp/9338".parse().unwrap();
        let here = Direct::parse(&"/ip6/fe80::2/tcp/9338".parse().unwrap()).unwrap();
        assert!(!is_meant_for(&link, &[here]));
    }

    #[test]
    fn a_relay_is_read_off_a_circuit_whatever_its_address() {
        let relays: BTreeSet<_> = [
            format!("/ip4/45.80.1.10/udp/9338/quic-v1/p2p/{RELAY}/p2p-circuit"),
            format!("/ip4/45.80.1.10/tcp/9338/p2p/{RELAY}/p2p-circuit/p2p/{RELAY}"),
            format!("/ip6/2a0c:5a80:1::10/tcp/9338/p2p/{RELAY}/p2p-circuit"),
        ]
        .iter()
        .map(|text| relay(&address(text)).unwrap())
        .collect();
        assert_eq!(relays.len(), 1);
        for none in [
            "/ip4/45.80.1.10/tcp/9338/p2p-circuit".to_owned(),
            format!("/ip4/45.80.1.10/tcp/9338/p2p/{RELAY}"),
        ] {
            assert_eq!(relay(&address(&none)), None, "{none}");
        }
    }
}
