//! What a router reads and rewrites of an IP packet: addresses and ports of UDP and TCP over
//! IPv4, checksums kept right. It keeps nothing and knows no rules.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};

/// Bytes of an IPv4 header without options, and of an IPv6 header.
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Connections.
    Tcp,
}

impl Transport {
    fn of(number: u8) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }

    /// Where its checksum is, in its own header.
    fn checksum_at(self) -> usize {
        match self {
            Self::Udp => 6,
            Self::Tcp => 16,
        }
    }
}

/// Whence and whither, over IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// Over what.
    pub transport: Transport,
    /// Whence.
    pub source: SocketAddrV4,
    /// Whither.
    pub destination: SocketAddrV4,
}

/// The destination of a packet of either family; `None`: it is no packet.
pub fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 if packet.len() >= IPV4_HEADER => Some(IpAddr::V4(ipv4_at(packet, 16)?)),
        6 if packet.len() >= IPV6_HEADER => {
            let octets: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            Some(IpAddr::V6(Ipv6Addr::from(octets)))
        }
        _ => None,
    }
}

/// The flow of a packet; `None` for whatever has no ports: other protocols, later fragments,
/// packets that are cut off.
pub fn flow(packet: &[u8]) -> Option<Flow> {
    let (transport, ports) = transport_at(packet)?;
    Some(Flow {
        transport,
        source: SocketAddrV4::new(ipv4_at(packet, 12)?, word(packet, ports)?),
        destination: SocketAddrV4::new(ipv4_at(packet, 16)?, word(packet, ports + 2)?),
    })
}

/// Puts another flow of the same transport in place of the packet's; `None` (and an untouched
/// packet) if it has none.
pub fn rewrite(packet: &mut [u8], new: &Flow) -> Option<()> {
    let old = flow(packet)?;
    let (transport, ports) = transport_at(packet)?;
    let checksum_at = ports + transport.checksum_at();
    let checksum = word(packet, checksum_at)?;
    let ip_checksum = word(packet, 10)?;
    let addresses = |flow: &Flow| {
        let [a, b] = halves(*flow.source.ip());
        let [c, d] = halves(*flow.destination.ip());
        [a, b, c, d]
    };
    let all = |flow: &Flow| {
        let [a, b, c, d] = addresses(flow);
        [a, b, c, d, flow.source.port(), flow.destination.port()]
    };
    put(
        packet,
        10,
        update(ip_checksum, &addresses(&old), &addresses(new)),
    );
    // A datagram may go without a checksum (RFC 768): it says so by a zero.
    if transport == Transport::Tcp || checksum != 0 {
        let sum = update(checksum, &all(&old), &all(new));
        let sum = if transport == Transport::Udp && sum == 0 {
            0xffff
        } else {
            sum
        };
        put(packet, checksum_at, sum);
    }
    packet[12..16].copy_from_slice(&new.source.ip().octets());
    packet[16..20].copy_from_slice(&new.destination.ip().octets());
    put(packet, ports, new.source.port());
    put(packet, ports + 2, new.destination.port());
    Some(())
}

/// The transport, and where its header begins; `None` if the packet is too short to hold it.
fn transport_at(packet: &[u8]) -> Option<(Transport, usize)> {
    let first = *packet.first()?;
    if first >> 4 != 4 || packet.len() < IPV4_HEADER {
        return None;
    }
    let is_later_fragment = word(packet, 6)? & 0x1fff != 0;
    let start = usize::from(first & 0xf) * 4;
    let transport = Transport::of(packet[9])?;
    let is_whole = start >= IPV4_HEADER && packet.len() >= start + transport.checksum_at() + 2;
    (is_whole && !is_later_fragment).then_some((transport, start))
}

/// A checksum after words under it changed (RFC 1624, equation 3).
fn update(checksum: u16, old: &[u16], new: &[u16]) -> u16 {
    let mut sum = u32::from(!checksum);
    for word in old {
        sum += u32::from(!word);
    }
    for word in new {
        sum += u32::from(*word);
    }
    !fold(sum)
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("it was folded below 2^16")
}

fn halves(ip: Ipv4Addr) -> [u16; 2] {
    let [a, b, c, d] = ip.octets();
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}

fn word(packet: &[u8], at: usize) -> Option<u16> {
    let bytes = packet.get(at..at + 2)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

fn put(packet: &mut [u8], at: usize, word: u16) {
    packet[at..at + 2].copy_from_slice(&word.to_be_bytes());
}

fn ipv4_at(packet: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
    Some(Ipv4Addr::from(octets))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// A packet as a host sends it, checksums and all.
    pub(crate) fn packet(flow: &Flow, body: &[u8]) -> Vec<u8> {
        let header = match flow.transport {
            Transport::Udp => 8,
            Transport::Tcp => 20,
        };
        let length = u16::try_from(IPV4_HEADER + header + body.len()).unwrap();
        let mut packet = vec![0; usize::from(length)];
        packet[0] = 0x45;
        put(&mut packet, 2, length);
        packet[8] = 64;
        packet[9] = match flow.transport {
            Transport::Udp => 17,
            Transport::Tcp => 6,
        };
        packet[12..16].copy_from_slice(&flow.source.ip().octets());
        packet[16..20].copy_from_slice(&flow.destination.ip().octets());
        put(&mut packet, 20, flow.source.port());
        put(&mut packet, 22, flow.destination.port());
        if flow.transport == Transport::Udp {
            put(&mut packet, 24, length - 20);
        }
        packet[20 + header..].copy_from_slice(body);
        let sum = !sum(&packet[..20]);
        put(&mut packet, 10, sum);
        let sum = !transport_sum(&packet);
        let at = 20 + flow.transport.checksum_at();
        put(&mut packet, at, if sum == 0 { 0xffff } else { sum });
        packet
    }

    fn sum(bytes: &[u8]) -> u16 {
        let words = bytes.chunks(2);
        fold(words.fold(0, |sum, word| {
            sum + (u32::from(word[0]) << 8) + u32::from(word.get(1).copied().unwrap_or(0))
        }))
    }

    /// Of the pseudo header and what follows (RFC 768, RFC 9293).
    fn transport_sum(packet: &[u8]) -> u16 {
        let length = u16::try_from(packet.len() - 20).unwrap();
        let pseudo = [&packet[12..20], &[0, packet[9]], &length.to_be_bytes()].concat();
        fold(u32::from(sum(&pseudo)) + u32::from(sum(&packet[20..])))
    }

    /// Whether a receiver would take it.
    pub(crate) fn is_valid(packet: &[u8]) -> bool {
        sum(&packet[..20]) == 0xffff && transport_sum(packet) == 0xffff
    }

    pub(crate) fn any_flow() -> impl Strategy<Value = Flow> {
        let end = (any::<u32>(), any::<u16>());
        (any::<bool>(), end, end).prop_map(|(is_tcp, source, destination)| {
            let at = |(ip, port)| SocketAddrV4::new(Ipv4Addr::from_bits(ip), port);
            Flow {
                transport: if is_tcp {
                    Transport::Tcp
                } else {
                    Transport::Udp
                },
                source: at(source),
                destination: at(destination),
            }
        })
    }

    proptest! {
        #[test]
        fn a_rewritten_packet_is_what_its_new_sender_would_send(
            old in any_flow(),
            new in any_flow(),
            body in vec(any::<u8>(), 0..64),
        ) {
            let new = Flow { transport: old.transport, ..new };
            let mut changed = packet(&old, &body);
            prop_assert_eq!(flow(&changed), Some(old));
            prop_assert_eq!(destination(&changed), Some(IpAddr::V4(*old.destination.ip())));
            prop_assert!(is_valid(&changed));
            rewrite(&mut changed, &new).unwrap();
            prop_assert_eq!(flow(&changed), Some(new));
            prop_assert!(is_valid(&changed));
            prop_assert_eq!(&changed[changed.len() - body.len()..], &body[..]);
        }

        #[test]
        fn garbage_is_left_alone(mut bytes in vec(any::<u8>(), 0..80), new in any_flow()) {
            let before = bytes.clone();
            destination(&bytes);
            if flow(&bytes).is_none() {
                prop_assert_eq!(rewrite(&mut bytes, &new), None);
                prop_assert_eq!(bytes, before);
            } else {
                rewrite(&mut bytes, &new).unwrap();
                prop_assert_eq!(bytes.len(), before.len());
            }
        }
    }

    #[test]
    fn a_datagram_without_a_checksum_gets_none() {
        let at = |text: &str| text.parse().unwrap();
        let mut bare = Flow {
            transport: Transport::Udp,
            source: at("192.168.1.2:5"),
            destination: at("45.80.1.10:6"),
        };
        let mut bytes = packet(&bare, b"x");
        put(&mut bytes, 26, 0);
        bare.source = at("45.81.1.1:7");
        rewrite(&mut bytes, &bare).unwrap();
        assert_eq!(word(&bytes, 26), Some(0));
    }
}
