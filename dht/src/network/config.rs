//! What a node's part in the swarm is set up with. Plain data; nothing is opened here.

use std::{net::SocketAddr, sync::Arc};

use ed25519_dalek::SigningKey;
use protocol::{
    NodeId, Sequence,
    advert::{NodeRole, Profile},
    names::SwarmName,
};

use super::Private;
use crate::{board::Ledger, core::connections};

/// The port that a node listens at unless told otherwise, of UDP and TCP alike.
pub const DEFAULT_PORT: u16 = 9338;

/// How a node takes part in one swarm.
pub struct Config {
    /// The node's identity: it signs what the node says, and proves who it is on connections.
    pub key: SigningKey,
    /// Which swarm.
    pub swarm: SwarmName,
    /// What makes the swarm a private one; `None`: the public mesh.
    pub private: Option<Private>,
    /// What the node is, as far as its owner and its engines decide; the network adds the rest.
    pub profile: Profile,
    /// Where to listen, as multiaddrs of QUIC or TCP.
    pub listen: Vec<String>,
    /// A port that is taken is replaced by a free one, rather than refusing to start.
    pub any_port: bool,
    /// Addresses at which others reach this node, known beforehand (a server with a fixed one).
    pub external: Vec<String>,
    /// Bootstrap nodes, as multiaddrs with their peer; names are resolved at every round.
    pub bootstrap: Vec<String>,
    /// Peers of last time, the best first.
    pub remembered: Vec<Remembered>,
    /// Look for peers on the local network.
    pub mdns: bool,
    /// Where nodes that know nobody meet.
    pub meeting: Meeting,
    /// Ask the router for a port.
    pub upnp: bool,
    /// Serve as a relay and as a node of the DHT without being asked whether others can reach it.
    pub is_server: bool,
    /// The sequence number of the last advert of an earlier run.
    pub last_sequence: Option<Sequence>,
    /// Who keeps the notes of boards; `None`: no boards are spoken of.
    pub ledger: Option<Arc<dyn Ledger>>,
    /// Bounds of connections.
    pub connections: connections::Config,
}

/// Both transports on every interface of both families.
pub fn everywhere(port: u16) -> Vec<String> {
    let any = [
        SocketAddr::from(([0, 0, 0, 0], port)),
        SocketAddr::from(([0u16; 8], port)),
    ];
    any.into_iter().flat_map(both_transports).collect()
}

/// The multiaddrs of QUIC and of TCP at one address.
pub fn both_transports(address: SocketAddr) -> [String; 2] {
    let (ip, port) = (address.ip(), address.port());
    let kind = if ip.is_ipv4() { "ip4" } else { "ip6" };
    [
        format!("/{kind}/{ip}/udp/{port}/quic-v1"),
        format!("/{kind}/{ip}/tcp/{port}"),
    ]
}

/// Where nodes that know nobody meet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Meeting {
    /// They do not: a private swarm tells nobody that it is there.
    #[default]
    Nowhere,
    /// In the public IPFS DHT.
    PublicDht,
    /// In a DHT of the same kind, entered at these multiaddrs: tests, closed networks.
    At(Vec<String>),
}

/// A peer that was known in an earlier run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Who.
    pub node: NodeId,
    /// Multiaddrs, without the peer.
    pub addresses: Vec<String>,
}

impl Config {
    /// A node that listens on every interface at the default port, with nothing known yet.
    pub fn new(key: SigningKey, swarm: SwarmName) -> Self {
        let profile = Profile::new(swarm.clone(), NodeRole::ApiClient);
        Self {
            key,
            swarm,
            private: None,
            profile,
            listen: everywhere(DEFAULT_PORT),
            any_port: true,
            external: Vec::new(),
            bootstrap: Vec::new(),
            remembered: Vec::new(),
            mdns: true,
            meeting: Meeting::Nowhere,
            upnp: true,
            is_server: false,
            last_sequence: None,
            ledger: None,
            connections: connections::Config::default(),
        }
    }
}
