//! Which of the addresses that strangers name are worth a dial, and what they look like.
//!
//! An address is taken in these forms only, all others (names among them) are dropped:
//!
//! ```text
//! direct  = "/" ( "ip4" | "ip6" ) "/" ip ( "/udp/" port "/quic-v1" | "/tcp/" port )
//! address = direct [ "/p2p/" peer ] | direct "/p2p/" relay "/p2p-circuit" [ "/p2p/" peer ]
//! ```
//! A stranger's record must not make this node knock on the machines of its owner's network: how
//! far an address may lie is a [`Reach`]. It dials nothing and resolves nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use crate::{
    core::join::{Address, Candidate, Family, MAX_ADDRESSES_PER_PEER, Transport},
    peer,
};

/// Addresses of one peer that are looked at: a node with many interfaces names a dozen.
pub const MAX_CLAIMED: usize = 64;

/// Addresses of one peer that are kept: twice what a round of the join tries, so that it can
/// choose among kinds.
pub const MAX_KEPT: usize = 2 * MAX_ADDRESSES_PER_PEER;

/// Where the machines are that a stranger may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// On the public Internet only.
    #[default]
    Public,
    /// Any other machine: local networks have addresses of every kind, shared, reserved and
    /// borrowed ones among them.
    Lan,
    /// Anywhere, this machine among them: for closed networks and tests.
    Any,
}

impl Reach {
    /// Whether a stranger may name this address.
    pub fn allows(self, ip: IpAddr) -> bool {
        is_one_machine(ip)
            && match self {
                Self::Public => is_public(ip),
                Self::Lan => is_elsewhere(ip),
                Self::Any => true,
            }
    }
}

/// Not the unspecified address, nor one of many machines.
fn is_one_machine(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !(ip.octets()[0] == 0 || ip.is_multicast() || ip.is_broadcast()),
        // A mapped address is an IPv4 address in a form that would pass by the rules for those.
        IpAddr::V6(ip) => {
            !(ip.is_unspecified() || ip.is_multicast() || ip.to_ipv4_mapped().is_some())
        }
    }
}

/// Not this machine, and nothing that needs a zone, which an address here cannot name.
fn is_elsewhere(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback(),
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unicast_link_local()),
    }
}

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

/// IANA's IPv4 Special-Purpose Address Registry, what is not globally reachable left out.
fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    // Shared (RFC 6598), IETF protocol assignments, 6to4 relays, benchmarking, reserved.
    let is_special = matches!(
        (a, b, c),
        (100, 64..=127, _)
            | (192, 0, 0)
            | (192, 88, 99)
            | (198, 18..=19, _)
            | (0 | 127 | 240.., _, _)
    );
    !(is_special
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_documentation()
        || ip.is_multicast())
}

/// Global unicast (RFC 4291 section 2.4) without what only looks so: protocol assignments with
/// Teredo among them, documentation, and 6to4, which hides an IPv4 address.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    let is_special = matches!(
        (a, b),
        (0x2001, 0..=0x1ff | 0xdb8) | (0x2002, _) | (0x3fff, 0..=0xfff)
    );
    (0x2000..=0x3fff).contains(&a) && !is_special
}

/// A peer's address, without the peer's own id at its end. `None` for other forms, for another
/// peer's, and for machines out of reach.
pub fn address(multiaddr: &Multiaddr, peer: &PeerId, reach: Reach) -> Option<Address> {
    let mut parts = multiaddr.iter().peekable();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    let (port, transport) = match (parts.next()?, parts.peek()) {
        (Protocol::Udp(port), Some(Protocol::QuicV1)) => {
            parts.next();
            (port, Transport::Quic)
        }
        (Protocol::Tcp(port), _) => (port, Transport::Tcp),
        _ => return None,
    };
    let rest: Vec<_> = parts.take(4).collect();
    let is_theirs = match &rest[..] {
        [] => true,
        [Protocol::P2p(id)] => id == peer,
        [Protocol::P2p(relay), Protocol::P2pCircuit] => relay != peer,
        [
            Protocol::P2p(relay),
            Protocol::P2pCircuit,
            Protocol::P2p(id),
        ] => relay != peer && id == peer,
        _ => false,
    };
    (port != 0 && is_theirs && reach.allows(ip)).then(|| Address {
        text: without_peer(multiaddr, peer).to_string(),
        family: family_of(ip),
        transport,
    })
}

/// The family of an IP address.
pub fn family_of(ip: IpAddr) -> Family {
    match ip {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    }
}

/// The address without the id of the peer itself at its end.
fn without_peer(multiaddr: &Multiaddr, peer: &PeerId) -> Multiaddr {
    let mut address = multiaddr.clone();
    if matches!(address.iter().last(), Some(Protocol::P2p(id)) if id == *peer) {
        address.pop();
    }
    address
}

/// A peer and those of its claimed addresses that are worth a dial. `None` if there is none, or
/// if the peer's key is of a kind that no node has.
pub fn candidate<'a>(
    id: &PeerId,
    claimed: impl IntoIterator<Item = &'a Multiaddr>,
    reach: Reach,
) -> Option<Candidate> {
    let peer = peer::node_id(id)?;
    let mut addresses = Vec::new();
    for multiaddr in claimed.into_iter().take(MAX_CLAIMED) {
        let Some(address) = address(multiaddr, id, reach) else {
            continue;
        };
        if addresses.len() < MAX_KEPT && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    (!addresses.is_empty()).then_some(Candidate { peer, addresses })
}

#[cfg(test)]
mod tests;
