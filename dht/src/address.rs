//! What can be read off a multiaddr: how a peer is reached by it, and how far it carries. It
//! opens nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::{Multiaddr, multiaddr::Protocol};
use protocol::NodeId;

use crate::{
    core::join::{Address, Family, Transport},
    peer::node_id,
};

/// How far an IP address carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// This machine.
    Loopback,
    /// A local network.
    Private,
    /// The Internet.
    Global,
}

/// A direct address that the swarm's transports can dial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Direct {
    /// The machine.
    pub ip: IpAddr,
    /// Of UDP or TCP.
    pub port: u16,
    /// Over what.
    pub transport: Transport,
    /// Whom one must find there, if it says so.
    pub peer: Option<NodeId>,
}

impl Direct {
    /// Reads `/ip4|ip6/…/udp/…/quic-v1` and `/ip4|ip6/…/tcp/…`, with or without a peer behind;
    /// nothing else, no name and no relay.
    pub fn parse(address: &Multiaddr) -> Option<Self> {
        let mut parts = address.iter();
        let ip = match parts.next()? {
            Protocol::Ip4(ip) => IpAddr::V4(ip),
            Protocol::Ip6(ip) => IpAddr::V6(ip),
            _ => return None,
        };
        let (port, transport) = match parts.next()? {
            Protocol::Tcp(port) => (port, Transport::Tcp),
            Protocol::Udp(port) if parts.next()? == Protocol::QuicV1 => (port, Transport::Quic),
            _ => return None,
        };
        let peer = match parts.next() {
            None => None,
            Some(Protocol::P2p(peer)) => Some(node_id(&peer)?),
            Some(_) => return None,
        };
        let usable = port != 0 && !ip.is_unspecified() && !is_multicast(ip);
        (parts.next().is_none() && usable).then_some(Self {
            ip,
            port,
            transport,
            peer,
        })
    }

    /// How far it carries.
    pub fn scope(&self) -> Scope {
        scope(self.ip)
    }

    /// The address without a peer, for the join.
    pub fn to_address(self) -> Address {
        Address {
            text: self.to_multiaddr().to_string(),
            family: if self.ip.is_ipv4() {
                Family::V4
            } else {
                Family::V6
            },
            transport: self.transport,
        }
    }

    /// The address without a peer.
    pub fn to_multiaddr(self) -> Multiaddr {
        let address = Multiaddr::from(self.ip);
        match self.transport {
            Transport::Quic => address
                .with(Protocol::Udp(self.port))
                .with(Protocol::QuicV1),
            Transport::Tcp => address.with(Protocol::Tcp(self.port)),
        }
    }
}

/// True if the address leads through a relay.
pub fn is_circuit(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// How far an IP address carries.
pub fn scope(ip: IpAddr) -> Scope {
    match ip.to_canonical() {
        ip if ip.is_loopback() => Scope::Loopback,
        IpAddr::V4(ip) if is_private_v4(ip) => Scope::Private,
        IpAddr::V6(ip) if is_private_v6(ip) => Scope::Private,
        _ => Scope::Global,
    }
}

/// RFC 1918, RFC 3927 and the shared space of carriers' NATs (RFC 6598).
fn is_private_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    ip.is_private() || ip.is_link_local() || (a == 100 && (64..128).contains(&b))
}

/// RFC 4193 and RFC 4291 section 2.5.6.
fn is_private_v6(ip: Ipv6Addr) -> bool {
    ip.is_unique_local() || ip.is_unicast_link_local()
}

fn is_multicast(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_multicast() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn direct(text: &str) -> Option<Direct> {
        Direct::parse(&text.parse().unwrap())
    }

    #[test]
    fn direct_addresses_there_and_back() {
        for text in [
            "/ip4/203.0.113.9/udp/9338/quic-v1",
            "/ip6/2001:db8::1/tcp/9338",
        ] {
            let read = direct(text).unwrap();
            assert_eq!(read.to_multiaddr().to_string(), text);
            assert_eq!(read.to_address().text, text);
        }
    }

    #[test]
    fn everything_else_is_none() {
        let peer = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp";
        for text in [
            "/dns4/example.com/tcp/1",
            "/ip4/203.0.113.9/tcp/0",
            "/ip4/0.0.0.0/tcp/1",
            "/ip4/224.0.0.1/udp/1/quic-v1",
            "/ip4/203.0.113.9/udp/1",
            "/ip4/203.0.113.9/udp/1/quic",
            "/ip4/203.0.113.9/tcp/1/ws",
            "/memory/1",
        ] {
            assert_eq!(direct(text), None, "{text}");
        }
        let relayed = format!("/ip4/203.0.113.9/tcp/1/p2p/{peer}/p2p-circuit");
        assert_eq!(direct(&relayed), None);
        assert!(is_circuit(&relayed.parse().unwrap()));
        assert!(direct(&format!("/ip4/203.0.113.9/tcp/1/p2p/{peer}")).is_some());
    }

    #[test]
    fn scopes() {
        for (text, expected) in [
            ("127.0.0.1", Scope::Loopback),
            ("::ffff:127.0.0.1", Scope::Loopback),
            ("::1", Scope::Loopback),
            ("10.1.2.3", Scope::Private),
            ("100.64.0.1", Scope::Private),
            ("100.128.0.1", Scope::Global),
            ("fe80::1", Scope::Private),
            ("fd00::1", Scope::Private),
            ("203.0.113.9", Scope::Global),
            ("2001:db8::1", Scope::Global),
        ] {
            assert_eq!(scope(text.parse().unwrap()), expected, "{text}");
        }
    }
}
