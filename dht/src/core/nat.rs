//! What lies between this node and the Internet, out of what others see of it.
//!
//! A NAT whose mapping does not depend on the destination shows everybody the same outside port
//! (RFC 4787 section 4.1): holes can be punched. One that shows each destination another port
//! cannot be punched from this side. What one observer says proves nothing: it may lie, and two
//! observers behind one address may be one.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use protocol::advert::Nat;

/// Observers that are remembered; beyond it the one with the lowest address goes.
pub const MAX_OBSERVERS: usize = 16;

/// Observers at different addresses that must agree.
const ENOUGH: usize = 2;

/// What others saw.
#[derive(Debug, Clone, Default)]
pub struct NatKind {
    /// By the observer's address: where it saw us.
    seen: BTreeMap<IpAddr, SocketAddr>,
    is_public: bool,
}

impl NatKind {
    /// A peer at `observer` sees this node's UDP socket at `address`.
    pub fn on_observed(&mut self, observer: IpAddr, address: SocketAddr) {
        self.seen.insert(observer, address);
        if self.seen.len() > MAX_OBSERVERS {
            self.seen.pop_first();
        }
    }

    /// Whether a direct address of this node was confirmed by somebody who dialed it.
    pub fn set_public(&mut self, is_public: bool) {
        self.is_public = is_public;
    }

    /// The network is another one.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// What it looks like now. Where most agree on one address, a few that saw another do not
    /// make it symmetric: an old mapping or a liar is enough for that.
    pub fn kind(&self) -> Nat {
        if self.is_public {
            return Nat::Public;
        }
        let mut votes: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        for address in self.seen.values() {
            *votes.entry(*address).or_default() += 1;
        }
        let most = votes.values().max().copied().unwrap_or_default();
        let ports: BTreeSet<u16> = votes.keys().map(SocketAddr::port).collect();
        if most >= ENOUGH && most * 2 > self.seen.len() {
            Nat::EndpointIndependent
        } else if self.seen.len() >= ENOUGH && ports.len() >= ENOUGH {
            Nat::Symmetric
        } else {
            Nat::Unspecified
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, last])
    }

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([198, 51, 100, 7], port))
    }

    #[test]
    fn agreement_and_disagreement() {
        let mut nat = NatKind::default();
        nat.on_observed(ip(1), at(5000));
        assert_eq!(nat.kind(), Nat::Unspecified, "one says nothing");
        nat.on_observed(ip(1), at(5001));
        assert_eq!(nat.kind(), Nat::Unspecified, "nor does it twice");
        nat.on_observed(ip(2), at(5002));
        assert_eq!(nat.kind(), Nat::Symmetric);
        nat.on_observed(ip(1), at(5002));
        assert_eq!(nat.kind(), Nat::EndpointIndependent);
        nat.on_observed(ip(3), at(9));
        assert_eq!(nat.kind(), Nat::EndpointIndependent, "one liar of three");
        nat.set_public(true);
        assert_eq!(nat.kind(), Nat::Public);
        nat.forget();
        assert_eq!(nat.kind(), Nat::Unspecified);
    }

    proptest! {
        #[test]
        fn observers_are_bounded(seen in vec((any::<u32>(), any::<u16>()), 0..200)) {
            let mut nat = NatKind::default();
            for (observer, port) in seen {
                nat.on_observed(IpAddr::from(observer.to_be_bytes()), at(port));
                prop_assert!(nat.seen.len() <= MAX_OBSERVERS);
                nat.kind();
            }
        }
    }
}
