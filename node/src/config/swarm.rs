//! The settings of the swarm: which one, how it is joined, where the node listens. It knows
//! neither what a token says nor any socket.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use bootstrap::list::Address;
use protocol::NodeId;
use protocol::chain::Precision;
use protocol::names::SwarmName;
use toml::Value;

use super::Secret;
use super::value::{self, Reason};
use crate::core::ranking::Level;

/// Port of the swarm, over UDP and TCP, when nothing else is configured: beside the API's.
pub const DEFAULT_SWARM_PORT: u16 = 9338;

/// Addresses to listen at, at most: each is a socket.
const MAX_LISTEN: usize = 32;

/// Addresses to begin at, at most, of nodes or of the rendezvous: as in a list of bootstrap nodes.
const MAX_BOOTSTRAP: usize = bootstrap::list::MAX_NODES;

/// Nodes that are trusted by name: more are a private swarm.
const MAX_TRUSTED_PEERS: usize = 1024;

/// Which swarm, and how it is joined.
#[derive(Debug, Clone, PartialEq)]
pub struct SwarmConfig {
    /// The swarm to join; `None`: the only private one that is known, else the public mesh.
    pub name: Option<SwarmName>,
    /// A token or pass to join with at the start.
    pub join: Option<Secret>,
    /// A file that holds one.
    pub join_file: Option<PathBuf>,
    /// Nodes to begin at; `None`: those of the invite, or the compiled-in list. Empty: none.
    pub bootstrap: Option<Vec<Address>>,
    /// Where to listen.
    pub listen: ListenConfig,
    /// Look for peers on the local network. Default: yes.
    pub mdns: bool,
    /// Ask the router for a port (UPnP). Default: yes.
    pub upnp: bool,
    /// Use the public DHT as a rendezvous of the public mesh. Default: yes.
    pub rendezvous: bool,
    /// Where to enter a DHT of the same kind instead, of a closed network; `None`: the public one.
    /// Empty: there is no rendezvous.
    pub rendezvous_servers: Option<Vec<Address>>,
    /// How hidden states travel between the stages of this node's chains. Default: exactly, so that
    /// a chain answers as one machine does.
    pub stage_precision: Precision,
}

impl Default for SwarmConfig {
    fn default() -> Self {
        Self {
            name: None,
            join: None,
            join_file: None,
            bootstrap: None,
            listen: ListenConfig::Default,
            mdns: true,
            upnp: true,
            rendezvous: true,
            rendezvous_servers: None,
            stage_precision: Precision::F32,
        }
    }
}

/// Where the swarm's sockets listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenConfig {
    /// At [`DEFAULT_SWARM_PORT`]; at a free port where that is taken.
    Default,
    /// At this port over UDP and TCP, IPv4 and IPv6; 0 picks a free one.
    Port(u16),
    /// At these addresses only.
    Addresses(Vec<ListenAddress>),
}

impl ListenConfig {
    /// The addresses, every one of which must work but for those of a machine without IPv6.
    pub fn addresses(&self) -> Vec<ListenAddress> {
        match self {
            Self::Default => everywhere(DEFAULT_SWARM_PORT),
            Self::Port(port) => everywhere(*port),
            Self::Addresses(addresses) => addresses.clone(),
        }
    }

    /// Where to listen instead when a port is taken; none where one was asked for by name.
    pub fn fallback(&self) -> Option<Vec<ListenAddress>> {
        matches!(self, Self::Default).then(|| everywhere(0))
    }
}

fn everywhere(port: u16) -> Vec<ListenAddress> {
    let ips: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let of = |ip| [true, false].map(|is_quic| ListenAddress { ip, is_quic, port });
    ips.into_iter().flat_map(of).collect()
}

/// One socket: its text is the multiaddr `/ip4/0.0.0.0/udp/9338/quic-v1` or
/// `/ip6/::/tcp/9338`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddress {
    /// Of which interface; unspecified: all.
    pub ip: IpAddr,
    /// QUIC over UDP, else TCP.
    pub is_quic: bool,
    /// 0: any free one.
    pub port: u16,
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            IpAddr::V4(ip) => write!(f, "/ip4/{ip}")?,
            IpAddr::V6(ip) => write!(f, "/ip6/{ip}")?,
        }
        match self.is_quic {
            true => write!(f, "/udp/{}/quic-v1", self.port),
            false => write!(f, "/tcp/{}", self.port),
        }
    }
}

impl FromStr for ListenAddress {
    type Err = Reason;

    fn from_str(text: &str) -> Result<Self, Reason> {
        let wrong = || {
            format!(
                "must be a port, or addresses like /ip4/0.0.0.0/udp/9338/quic-v1 or /ip6/::/tcp/9338, not `{text}`"
            )
        };
        let parts: Vec<_> = text.split('/').collect();
        let (kind, ip, is_quic, port) = match parts[..] {
            ["", kind, ip, "udp", port, "quic-v1"] => (kind, ip, true, port),
            ["", kind, ip, "tcp", port] => (kind, ip, false, port),
            _ => return Err(wrong()),
        };
        let ip: IpAddr = match kind {
            "ip4" => ip.parse().map(IpAddr::V4).map_err(|_| wrong())?,
            "ip6" => ip.parse().map(IpAddr::V6).map_err(|_| wrong())?,
            _ => return Err(wrong()),
        };
        let port = port.parse().map_err(|_| wrong())?;
        Ok(Self { ip, is_quic, port })
    }
}

pub(super) fn name(value: &Value) -> Result<SwarmName, Reason> {
    let name = value::text(value)?.parse();
    name.map_err(|error: protocol::names::SwarmNameError| format!("is no swarm: {error}"))
}

pub(super) fn addresses(value: &Value) -> Result<Vec<Address>, Reason> {
    let texts = value::texts(value)?;
    let mut addresses = Vec::new();
    for text in texts {
        let address: Address = text.parse().map_err(|error| bad_address(&text, &error))?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    match addresses.len() > MAX_BOOTSTRAP {
        true => Err(format!("has {MAX_BOOTSTRAP} addresses at most")),
        false => Ok(addresses),
    }
}

fn bad_address(text: &str, error: &bootstrap::list::AddressError) -> Reason {
    format!("`{text}`: {error}")
}

pub(super) fn listen(value: &Value) -> Result<ListenConfig, Reason> {
    let port = match value {
        Value::Integer(port) => Some(*port),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    if let Some(port) = port {
        let port = u16::try_from(port).map_err(|_| "must be a port from 0 to 65535")?;
        return Ok(ListenConfig::Port(port));
    }
    let texts = value::texts(value)?;
    if texts.is_empty() || texts.len() > MAX_LISTEN {
        return Err(format!("must be a port, or 1 to {MAX_LISTEN} addresses"));
    }
    // Flags give a list even of one.
    if let [only] = texts.as_slice()
        && let Ok(port) = only.parse()
    {
        return Ok(ListenConfig::Port(port));
    }
    let addresses = texts.iter().map(|text| text.parse());
    Ok(ListenConfig::Addresses(
        addresses.collect::<Result<_, _>>()?,
    ))
}

pub(super) fn precision(value: &Value) -> Result<Precision, Reason> {
    match value.as_str() {
        Some("f32") => Ok(Precision::F32),
        Some("bf16") => Ok(Precision::Bf16),
        Some("q8") => Ok(Precision::Q8),
        _ => Err("must be \"f32\", \"bf16\" or \"q8\"".into()),
    }
}

pub(super) fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::F32 => "f32",
        Precision::Bf16 => "bf16",
        Precision::Q8 => "q8",
    }
}

pub(super) fn level(value: &Value) -> Result<Level, Reason> {
    match value.as_str() {
        Some("local") => Ok(Level::Local),
        Some("trusted") => Ok(Level::Trusted),
        Some("swarm") => Ok(Level::Swarm),
        _ => Err("must be \"local\", \"trusted\" or \"swarm\"".into()),
    }
}

pub(super) fn level_name(level: Level) -> &'static str {
    match level {
        Level::Local => "local",
        Level::Trusted => "trusted",
        Level::Swarm => "swarm",
    }
}

/// Nodes by their ids.
pub(super) fn nodes(value: &Value) -> Result<BTreeSet<NodeId>, Reason> {
    let node = |text: &String| {
        let parsed = text.parse::<NodeId>();
        parsed.map_err(|error| format!("has `{text}`, which names no node: {error}"))
    };
    let texts = value::texts(value)?;
    if texts.len() > MAX_TRUSTED_PEERS {
        return Err(format!("can name {MAX_TRUSTED_PEERS} nodes at most"));
    }
    texts.iter().map(node).collect()
}

pub(super) fn show_listen(listen: &ListenConfig) -> Option<Value> {
    match listen {
        ListenConfig::Default => None,
        ListenConfig::Port(port) => Some(Value::Integer((*port).into())),
        ListenConfig::Addresses(addresses) => {
            let texts = addresses.iter().map(|at| Value::String(at.to_string()));
            Some(Value::Array(texts.collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::String(text.into())
    }

    #[test]
    fn a_port_means_every_address_and_has_no_way_round() {
        let port = listen(&text("4001")).unwrap();
        assert_eq!(port, ListenConfig::Port(4001));
        assert_eq!(port.addresses().len(), 4);
        assert_eq!(port.fallback(), None);
        let fallback = ListenConfig::Default.fallback().unwrap();
        assert!(fallback.iter().all(|address| address.port == 0));
        assert_eq!(
            listen(&Value::Array(vec![text("0")])),
            Ok(ListenConfig::Port(0))
        );
    }

    #[test]
    fn addresses_read_back_and_others_are_refused_with_the_form() {
        let both = "/ip4/127.0.0.1/udp/0/quic-v1,/ip6/::1/tcp/9338";
        let ListenConfig::Addresses(addresses) = listen(&text(both)).unwrap() else {
            panic!("addresses");
        };
        let shown: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(shown.join(","), both);
        for bad in [
            "",
            "70000",
            "-1",
            "0.0.0.0:1",
            "/ip4/x/tcp/1",
            "/ip4/1.1.1.1/udp/1",
            "/dns4/a/tcp/1",
        ] {
            let reason = listen(&text(bad)).unwrap_err();
            assert!(reason.starts_with("must be a port"), "{bad}: {reason}");
        }
    }

    #[test]
    fn bootstrap_addresses_are_read_strictly() {
        assert_eq!(addresses(&text("")), Ok(Vec::new()));
        let reason = addresses(&text("/ip4/1.2.3.4/tcp/1")).unwrap_err();
        assert!(reason.contains("/p2p/PEER"), "{reason}");
    }
}
