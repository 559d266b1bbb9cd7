//! One NAT: which outside port an inside socket gets, and who may send to it from outside. Times
//! and randomness come in; it moves no packet and knows no network.
//!
//! All kinds filter by address and port (RFC 4787 section 5), as a home router's masquerading
//! does: only whom an inside socket has sent to may answer. They differ in the mapping
//! (section 4.1).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use rand::{Rng, RngExt};

use super::packet::{Flow, Transport};

/// Mappings of one NAT: more than any test's host opens; beyond it the longest unused goes.
pub const MAX_MAPPINGS: usize = 1024;

/// Remotes that one mapping lets in; beyond it the longest unused goes.
pub const MAX_REMOTES: usize = 256;

/// How long a mapping and a hole outlast the last packet from inside: Linux's for a UDP flow that
/// was answered.
pub const LIFETIME: Duration = Duration::from_secs(120);

/// Outside ports that are drawn: above those that need privileges.
const PORTS: std::ops::RangeInclusive<u16> = 1024..=65535;

/// Draws of a port that is still free; with [`MAX_MAPPINGS`] one in sixty is taken.
const DRAWS: usize = 32;

/// How a NAT maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One outside port for an inside socket, the same number if that is free.
    Cone,
    /// One outside port for an inside socket, never the same number.
    ChangedPort,
    /// Another outside port, at random, for every destination.
    Symmetric,
    /// As [`Kind::Cone`], and this port is the inside host's for everybody.
    Forwarded(u16),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    transport: Transport,
    inside: SocketAddrV4,
    /// Of [`Kind::Symmetric`] only.
    to: Option<SocketAddrV4>,
}

#[derive(Debug, Clone)]
struct Mapping {
    port: u16,
    used: Instant,
    /// Who was sent to, and when last.
    remotes: BTreeMap<SocketAddrV4, Instant>,
}

/// The NAT between one inside host and the world.
#[derive(Debug, Clone)]
pub struct Nat {
    kind: Kind,
    inside: Ipv4Addr,
    outside: Ipv4Addr,
    mappings: BTreeMap<Key, Mapping>,
    taken: BTreeSet<(Transport, u16)>,
}

impl Nat {
    /// Without mappings.
    pub fn new(kind: Kind, inside: Ipv4Addr, outside: Ipv4Addr) -> Self {
        Self {
            kind,
            inside,
            outside,
            mappings: BTreeMap::new(),
            taken: BTreeSet::new(),
        }
    }

    /// The flow of a packet from inside, as the world sees it; `None`: it is dropped.
    pub fn outbound<R: Rng>(&mut self, flow: Flow, now: Instant, rng: &mut R) -> Option<Flow> {
        if *flow.source.ip() != self.inside {
            return None;
        }
        self.forget_old(now);
        let key = Key {
            transport: flow.transport,
            inside: flow.source,
            to: (self.kind == Kind::Symmetric).then_some(flow.destination),
        };
        if !self.mappings.contains_key(&key) {
            let port = self.draw(&key, rng)?;
            self.open(key, port, now);
        }
        let mapping = self.mappings.get_mut(&key)?;
        mapping.used = now;
        mapping.remotes.insert(flow.destination, now);
        if mapping.remotes.len() > MAX_REMOTES
            && let Some(old) = oldest(&mapping.remotes, |at| *at)
        {
            mapping.remotes.remove(&old);
        }
        let source = SocketAddrV4::new(self.outside, mapping.port);
        Some(Flow { source, ..flow })
    }

    /// The flow of a packet from outside, as the inside host sees it; `None`: it is dropped.
    pub fn inbound(&mut self, flow: Flow, now: Instant) -> Option<Flow> {
        if *flow.destination.ip() != self.outside {
            return None;
        }
        self.forget_old(now);
        let port = flow.destination.port();
        let mut mappings = self.mappings.iter();
        let hole = mappings.find(|(key, mapping)| {
            key.transport == flow.transport
                && mapping.port == port
                && mapping.remotes.contains_key(&flow.source)
        });
        let inside = match (hole, self.kind) {
            (Some((key, _)), _) => key.inside,
            (None, Kind::Forwarded(forwarded)) if forwarded == port => {
                SocketAddrV4::new(self.inside, port)
            }
            _ => return None,
        };
        Some(Flow {
            destination: inside,
            ..flow
        })
    }

    fn open(&mut self, key: Key, port: u16, now: Instant) {
        if self.mappings.len() >= MAX_MAPPINGS
            && let Some(old) = oldest(&self.mappings, |mapping| mapping.used)
            && let Some(gone) = self.mappings.remove(&old)
        {
            self.taken.remove(&(old.transport, gone.port));
        }
        self.taken.insert((key.transport, port));
        let mapping = Mapping {
            port,
            used: now,
            remotes: BTreeMap::new(),
        };
        self.mappings.insert(key, mapping);
    }

    fn draw<R: Rng>(&self, key: &Key, rng: &mut R) -> Option<u16> {
        let own = key.inside.port();
        let is_free = |port: &u16| !self.taken.contains(&(key.transport, *port));
        let keeps = matches!(self.kind, Kind::Cone | Kind::Forwarded(_));
        if keeps && is_free(&own) {
            return Some(own);
        }
        let mut draws = (0..DRAWS).map(|_| rng.random_range(PORTS));
        draws.find(|port| *port != own && is_free(port))
    }

    fn forget_old(&mut self, now: Instant) {
        let is_over = |at: Instant| at + LIFETIME <= now;
        let taken = &mut self.taken;
        self.mappings.retain(|key, mapping| {
            mapping.remotes.retain(|_, at| !is_over(*at));
            let keeps = !is_over(mapping.used);
            if !keeps {
                taken.remove(&(key.transport, mapping.port));
            }
            keeps
        });
    }
}

/// What was used least lately.
fn oldest<K: Copy, V>(all: &BTreeMap<K, V>, used: impl Fn(&V) -> Instant) -> Option<K> {
    let oldest = all.iter().min_by_key(|(_, value)| used(value));
    oldest.map(|(key, _)| *key)
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
    const OUTSIDE: Ipv4Addr = Ipv4Addr::new(45, 81, 1, 1);

    fn remote(last: u8, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(Ipv4Addr::new(45, 80, 1, last), port)
    }

    fn out(to: SocketAddrV4) -> Flow {
        Flow {
            transport: Transport::Udp,
            source: SocketAddrV4::new(INSIDE, 9338),
            destination: to,
        }
    }

    /// A packet from there to the outside of a mapping.
    fn to(mapped: Flow, from: SocketAddrV4) -> Flow {
        Flow {
            source: from,
            destination: mapped.source,
            ..mapped
        }
    }

    struct World {
        nat: Nat,
        rng: StdRng,
        now: Instant,
    }

    impl World {
        fn new(kind: Kind) -> Self {
            Self {
                nat: Nat::new(kind, INSIDE, OUTSIDE),
                rng: StdRng::seed_from_u64(7),
                now: Instant::now(),
            }
        }

        fn send(&mut self, to: SocketAddrV4) -> Flow {
            self.nat.outbound(out(to), self.now, &mut self.rng).unwrap()
        }

        fn receives(&mut self, flow: Flow) -> bool {
            let inside = self.nat.inbound(flow, self.now);
            inside.is_some_and(|flow| flow.destination == SocketAddrV4::new(INSIDE, 9338))
        }
    }

    #[test]
    fn kinds_map_as_they_are_called() {
        let ports = |kind| {
            let mut world = World::new(kind);
            [remote(1, 5), remote(1, 6), remote(2, 5)].map(|to| world.send(to).source.port())
        };
        assert_eq!(ports(Kind::Cone), [9338; 3]);
        assert_eq!(ports(Kind::Forwarded(9338)), [9338; 3]);
        let [a, b, c] = ports(Kind::ChangedPort);
        assert!(a != 9338 && a == b && b == c);
        let [a, b, c] = ports(Kind::Symmetric);
        assert!(a != b && b != c && a != c);
    }

    #[test]
    fn only_who_was_sent_to_may_answer() {
        for kind in [Kind::Cone, Kind::ChangedPort, Kind::Symmetric] {
            let mut world = World::new(kind);
            let mapped = world.send(remote(1, 5));
            assert_eq!(*mapped.source.ip(), OUTSIDE);
            assert!(world.receives(to(mapped, remote(1, 5))), "{kind:?}");
            for stranger in [remote(1, 6), remote(2, 5)] {
                assert!(!world.receives(to(mapped, stranger)), "{kind:?}");
            }
            world.now += LIFETIME;
            assert!(!world.receives(to(mapped, remote(1, 5))), "{kind:?}");
        }
    }

    #[test]
    fn a_forwarded_port_is_everybodys() {
        let mut world = World::new(Kind::Forwarded(9338));
        let mut flow = to(out(remote(1, 1)), remote(2, 5));
        flow.destination = SocketAddrV4::new(OUTSIDE, 9338);
        assert!(world.receives(flow));
        flow.destination.set_port(9339);
        assert!(!world.receives(flow));
    }

    #[test]
    fn an_address_that_is_not_its_own_passes_neither_way() {
        let mut world = World::new(Kind::Cone);
        let mut flow = out(remote(1, 1));
        flow.source.set_ip(OUTSIDE);
        assert_eq!(world.nat.outbound(flow, world.now, &mut world.rng), None);
        assert_eq!(world.nat.inbound(out(remote(1, 1)), world.now), None);
    }

    proptest! {
        #[test]
        fn ports_are_never_shared_and_tables_are_bounded(
            kind in prop::sample::select(vec![Kind::Cone, Kind::ChangedPort, Kind::Symmetric]),
            flows in vec((any::<bool>(), 1u16..400, any::<u8>(), 0u64..4), 0..1500),
        ) {
            let mut world = World::new(kind);
            for (is_tcp, port, last, seconds) in flows {
                world.now += Duration::from_secs(seconds);
                let transport = if is_tcp { Transport::Tcp } else { Transport::Udp };
                let mut flow = Flow { transport, ..out(remote(last, port)) };
                flow.source.set_port(port);
                let mapped = world.nat.outbound(flow, world.now, &mut world.rng);
                let nat = &world.nat;
                prop_assert!(nat.mappings.len() <= MAX_MAPPINGS);
                prop_assert_eq!(nat.taken.len(), nat.mappings.len());
                prop_assert!(nat.mappings.values().all(|m| m.remotes.len() <= MAX_REMOTES));
                // Who was just sent to may answer, and reaches the socket that sent.
                if let Some(mapped) = mapped {
                    let back = world.nat.inbound(to(mapped, flow.destination), world.now);
                    prop_assert_eq!(back.map(|flow| flow.destination), Some(flow.source));
                }
            }
        }
    }
}
