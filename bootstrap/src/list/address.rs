//! One bootstrap node's address, as a multiaddr of the few forms that one can have:
//!
//! ```text
//! address   = "/" ( "ip4" | "ip6" | "dns" | "dns4" | "dns6" ) "/" host transport "/p2p/" peer
//! transport = "/udp/" port "/quic-v1" | "/tcp/" port
//! ```
//! A parser of our own: any other multiaddr would be refused anyway.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// An address: a host's name has 253 characters at most, the rest is short.
const MAX_ADDRESS_BYTES: usize = 400;

/// A host's name (RFC 1035 section 2.3.4), and each label of it.
const MAX_NAME_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// An Ed25519 peer id's bytes before the key: an identity multihash of a protobuf of key type 1.
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
const PEER_ID_BYTES: usize = 38;
/// Base58 digits of that, at most.
const MAX_PEER_ID_TEXT_BYTES: usize = 53;

/// Where a bootstrap node is, and who it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The machine.
    pub host: Host,
    /// How it is reached.
    pub transport: Transport,
    /// Whom one must find there.
    pub peer: PeerId,
}

/// A machine, by address or by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An IPv4 address.
    Ip4(Ipv4Addr),
    /// An IPv6 address.
    Ip6(Ipv6Addr),
    /// A name with addresses of either kind.
    Dns(String),
    /// A name with an IPv4 address.
    Dns4(String),
    /// A name with an IPv6 address.
    Dns6(String),
}

/// A transport and its port, which is never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// QUIC version 1 over UDP.
    Quic(u16),
    /// TCP, with noise and yamux on it.
    Tcp(u16),
}

/// libp2p's id of an Ed25519 key: base58 of the key's multihash, `12D3KooW…`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId {
    key: protocol::NodeId,
}

/// Why a text is no bootstrap node's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Longer than any such address.
    #[error("an address has {MAX_ADDRESS_BYTES} characters at most")]
    TooLong,
    /// It does not have the parts of the form above, in their order.
    #[error(
        "not of the form /ip4/ADDRESS/udp/PORT/quic-v1/p2p/PEER or /dns/HOST/tcp/PORT/p2p/PEER"
    )]
    Form,
    /// Not an address of the kind that stands before it, or no host's name.
    #[error("`{0}` is no such host")]
    Host(String),
    /// An address at which no other machine can be: unspecified, or many.
    #[error("`{0}` is not the address of one machine")]
    NotOneMachine(String),
    /// Not a number of 1..=65535.
    #[error("`{0}` is no port")]
    Port(String),
    /// The last part is no peer's id.
    #[error("the last part is no peer's id")]
    Peer(#[from] PeerIdError),
}

/// Why a text is no peer's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerIdError {
    /// Not base58, or of another length.
    #[error("not {PEER_ID_BYTES} bytes of base58")]
    Text,
    /// A hash, or a key of another kind: nodes have Ed25519 keys.
    #[error("not the id of an Ed25519 key")]
    Kind,
    /// The key itself.
    #[error(transparent)]
    Key(#[from] protocol::ids::NodeIdError),
}

impl PeerId {
    /// The node's own id: the key within.
    pub fn node(&self) -> protocol::NodeId {
        self.key
    }
}

impl From<protocol::NodeId> for PeerId {
    fn from(key: protocol::NodeId) -> Self {
        Self { key }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.len() > MAX_ADDRESS_BYTES {
            return Err(AddressError::TooLong);
        }
        let parts: Vec<&str> = text.split('/').collect();
        let (host, transport, peer) = match parts[..] {
            ["", kind, host, "udp", port, "quic-v1", "p2p", peer] => (
                parse_host(kind, host)?,
                Transport::Quic(parse_port(port)?),
                peer,
            ),
            ["", kind, host, "tcp", port, "p2p", peer] => (
                parse_host(kind, host)?,
                Transport::Tcp(parse_port(port)?),
                peer,
            ),
            _ => return Err(AddressError::Form),
        };
        let peer = peer.parse()?;
        Ok(Self {
            host,
            transport,
            peer,
        })
    }
}

fn parse_host(kind: &str, text: &str) -> Result<Host, AddressError> {
    let host = match kind {
        "ip4" => text.parse().ok().map(Host::Ip4),
        "ip6" => text.parse().ok().map(Host::Ip6),
        "dns" => parse_name(text).map(Host::Dns),
        "dns4" => parse_name(text).map(Host::Dns4),
        "dns6" => parse_name(text).map(Host::Dns6),
        _ => return Err(AddressError::Form),
    };
    match host {
        None => Err(AddressError::Host(text.to_owned())),
        Some(host) if !host.is_one_machine() => Err(AddressError::NotOneMachine(text.to_owned())),
        Some(host) => Ok(host),
    }
}

/// A host's name (RFC 1123 section 2.1), in lower case.
fn parse_name(text: &str) -> Option<String> {
    let name = text.to_ascii_lowercase();
    let fits = !name.is_empty() && name.len() <= MAX_NAME_BYTES;
    (fits && name.split('.').all(is_label)).then_some(name)
}

fn is_label(label: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
    (1..=MAX_LABEL_BYTES).contains(&label.len())
        && label.bytes().all(plain)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Digits only, without leading zeroes: one port has one text.
fn parse_port(text: &str) -> Result<u16, AddressError> {
    match text.parse::<u16>() {
        Ok(port) if port != 0 && port.to_string() == text => Ok(port),
        _ => Err(AddressError::Port(text.to_owned())),
    }
}

impl Host {
    fn is_one_machine(&self) -> bool {
        match self {
            Self::Ip4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
            Self::Ip6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
            Self::Dns(_) | Self::Dns4(_) | Self::Dns6(_) => true,
        }
    }
}

impl FromStr for PeerId {
    type Err = PeerIdError;

    fn from_str(text: &str) -> Result<Self, PeerIdError> {
        if text.len() > MAX_PEER_ID_TEXT_BYTES {
            return Err(PeerIdError::Text);
        }
        let bytes = bs58::decode(text)
            .into_vec()
            .map_err(|_| PeerIdError::Text)?;
        if bytes.len() != PEER_ID_BYTES {
            return Err(PeerIdError::Text);
        }
        let key = bytes
            .strip_prefix(&PEER_ID_PREFIX)
            .ok_or(PeerIdError::Kind)?;
        Ok(Self {
            key: protocol::NodeId::from_bytes(key)?,
        })
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [PEER_ID_PREFIX.as_slice(), self.key.as_bytes()].concat();
        f.write_str(&bs58::encode(bytes).into_string())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip4(ip) => write!(f, "/ip4/{ip}"),
            Host::Ip6(ip) => write!(f, "/ip6/{ip}"),
            Host::Dns(name) => write!(f, "/dns/{name}"),
            Host::Dns4(name) => write!(f, "/dns4/{name}"),
            Host::Dns6(name) => write!(f, "/dns6/{name}"),
        }?;
        match self.transport {
            Transport::Quic(port) => write!(f, "/udp/{port}/quic-v1"),
            Transport::Tcp(port) => write!(f, "/tcp/{port}"),
        }?;
        write!(f, "/p2p/{}", self.peer)
    }
}
