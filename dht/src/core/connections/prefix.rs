//! Which addresses are one neighbourhood: whoever has one address of it easily has them all. It
//! counts nothing itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The bits of an IPv4 address that count: the smallest block that is routed on its own.
const V4_BITS: u8 = 24;

/// The same of IPv6: what a provider hands to one customer.
const V6_BITS: u8 = 56;

/// A block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct IpRange {
    base: IpAddr,
    bits: u8,
}

impl IpRange {
    /// The block of `bits` leading bits around an address; more bits than it has are all of them.
    pub fn new(address: IpAddr, bits: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(ip) => {
                let bits = bits.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                let base = Ipv4Addr::from_bits(ip.to_bits() & mask).into();
                Self { base, bits }
            }
            IpAddr::V6(ip) => {
                let bits = bits.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
                let base = Ipv6Addr::from_bits(ip.to_bits() & mask).into();
                Self { base, bits }
            }
        }
    }

    /// Whether the address lies in the block.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.base.is_ipv4() && Self::new(address, self.bits) == *self
    }
}

/// The neighbourhood of an address.
pub(super) fn neighbourhood(address: IpAddr) -> IpRange {
    let bits = match address.to_canonical() {
        IpAddr::V4(_) => V4_BITS,
        IpAddr::V6(_) => V6_BITS,
    };
    IpRange::new(address, bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn neighbours_share_a_block() {
        let same = |a, b| neighbourhood(ip(a)) == neighbourhood(ip(b));
        assert!(same("192.0.2.1", "192.0.2.254"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.9"));
        assert!(!same("192.0.2.1", "192.0.3.1"));
        assert!(same("2001:db8:0:11::1", "2001:db8:0:1f::2"));
        assert!(!same("2001:db8:0:100::1", "2001:db8:0:200::1"));
    }

    #[test]
    fn a_range_of_no_bits_is_a_whole_family() {
        let all = IpRange::new(ip("10.0.0.1"), 0);
        assert!(all.contains(ip("203.0.113.9")));
        assert!(!all.contains(ip("::1")));
        let one = IpRange::new(ip("::1"), 255);
        assert!(one.contains(ip("::1")) && !one.contains(ip("::2")));
    }
}
