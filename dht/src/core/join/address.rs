//! Whom to dial, where, and in which order: the two address families and the two transports take
//! turns, so that a dead one costs its turn and not the join. It knows no timers.

use protocol::NodeId;

/// Addresses of one peer that are tried in one round: two families, two transports, twice. What a
/// peer claims beyond that is dropped.
pub const MAX_ADDRESSES_PER_PEER: usize = 8;

/// An IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What a connection runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// QUIC over UDP.
    Quic,
    /// TCP with noise and yamux.
    Tcp,
}

/// One address, its names already resolved. Its text is only handed back to whoever dials.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The multiaddr, as text.
    pub text: String,
    /// Its IP version.
    pub family: Family,
    /// Its transport.
    pub transport: Transport,
}

/// A peer that may be reached, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Whom one must find there.
    pub peer: NodeId,
    /// Where; the best first.
    pub addresses: Vec<Address>,
}

impl Family {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }
}

/// At most [`MAX_ADDRESSES_PER_PEER`] of the addresses, each once, the kinds taking turns: `first`
/// over QUIC, the other family over QUIC, `first` over TCP, the other over TCP, and again. Within
/// a kind the order stays.
pub(super) fn interleave(addresses: Vec<Address>, first: Family) -> Vec<Address> {
    let mut ranked: Vec<((usize, usize), Address)> = Vec::new();
    let mut turns = [0; 4];
    for address in addresses {
        let kind = kind_of(&address, first);
        // Two turns of each kind suffice for the bound, unless a kind is missing.
        let is_known = ranked.iter().any(|(_, known)| *known == address);
        if is_known || turns[kind] == MAX_ADDRESSES_PER_PEER {
            continue;
        }
        ranked.push(((turns[kind], kind), address));
        turns[kind] += 1;
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.truncate(MAX_ADDRESSES_PER_PEER);
    ranked.into_iter().map(|(_, address)| address).collect()
}

fn kind_of(address: &Address, first: Family) -> usize {
    let tcp = if address.transport == Transport::Tcp {
        2
    } else {
        0
    };
    tcp + usize::from(address.family != first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        let family = if text.contains('6') {
            Family::V6
        } else {
            Family::V4
        };
        let transport = if text.starts_with('q') {
            Transport::Quic
        } else {
            Transport::Tcp
        };
        let text = text.to_owned();
        Address {
            text,
            family,
            transport,
        }
    }

    #[test]
    fn kinds_take_turns() {
        let given = ["t4", "t4b", "q4", "q4b", "q6", "t6", "q4"].map(address);
        let order = interleave(given.to_vec(), Family::V6);
        let order: Vec<_> = order.iter().map(|address| address.text.as_str()).collect();
        assert_eq!(order, ["q6", "q4", "t6", "t4", "q4b", "t4b"]);
    }

    #[test]
    fn a_peer_cannot_claim_many() {
        let given = (0..50).map(|n| address(&format!("q{n}x"))).collect();
        assert_eq!(interleave(given, Family::V4).len(), MAX_ADDRESSES_PER_PEER);
    }
}
