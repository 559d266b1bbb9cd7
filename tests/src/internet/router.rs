//! All the routers between hosts as one plain value: packets go in with the time, and come out
//! where and when they arrive, through the NATs of both ends. It opens no device.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use rand::Rng;

use super::{
    link::Link,
    nat::{Kind, Nat},
    packet::{destination, flow, rewrite},
};

/// Packets on their way: 64 MiB of full ones. What comes on top is lost, as on a full line.
pub const MAX_UNDER_WAY: usize = 45_000;

/// Hosts of one internet.
pub const MAX_HOSTS: usize = 200;

/// A host, by when it was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(pub usize);

/// What lies between a host and the others.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// The host's own address.
    pub ipv4: Ipv4Addr,
    /// Where the world reaches it over IPv6, if it does.
    pub ipv6: Option<Ipv6Addr>,
    /// The router in front of it, and that router's own address.
    pub nat: Option<(Kind, Ipv4Addr)>,
}

/// What changes while the hosts run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// The link between two hosts; without it they have the default one.
    Link(HostId, HostId, Link),
    /// The link of all that have none of their own.
    DefaultLink(Link),
    /// IPv6 packets vanish, or do so no longer.
    Ipv6BlackHoled(bool),
    /// All packets from a host and to it vanish, or do so no longer.
    Cut(HostId, bool),
}

/// What became of packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Arrived.
    pub delivered: u64,
    /// Lost on a link, by a cut or in a black hole.
    pub lost: u64,
    /// Not let through by a NAT.
    pub filtered: u64,
    /// To nobody.
    pub unroutable: u64,
}

/// A packet that arrives.
#[derive(Debug)]
struct UnderWay {
    to: HostId,
    packet: Vec<u8>,
}

#[derive(Debug)]
struct Host {
    nat: Option<Nat>,
    is_cut: bool,
}

/// The routers.
#[derive(Debug)]
pub struct Router {
    hosts: Vec<Host>,
    by_address: BTreeMap<IpAddr, HostId>,
    links: BTreeMap<(HostId, HostId), Link>,
    default_link: Link,
    ipv6_is_black_hole: bool,
    /// By arrival, then by order of sending.
    under_way: BTreeMap<(Instant, u64), UnderWay>,
    last: BTreeMap<(HostId, HostId), Instant>,
    sent: u64,
    counts: Counts,
}

impl Default for Router {
    fn default() -> Self {
        Self {
            hosts: Vec::new(),
            by_address: BTreeMap::new(),
            links: BTreeMap::new(),
            default_link: Link::of_rtt(Duration::ZERO),
            ipv6_is_black_hole: false,
            under_way: BTreeMap::new(),
            last: BTreeMap::new(),
            sent: 0,
            counts: Counts::default(),
        }
    }
}

impl Router {
    /// One more host; `None`: there are too many.
    pub fn add(&mut self, host: &Attachment) -> Option<HostId> {
        if self.hosts.len() >= MAX_HOSTS {
            return None;
        }
        let id = HostId(self.hosts.len());
        let outside = host.nat.map_or(host.ipv4, |(_, outside)| outside);
        self.by_address.insert(outside.into(), id);
        if let Some(ipv6) = host.ipv6 {
            self.by_address.insert(ipv6.into(), id);
        }
        let nat = host
            .nat
            .map(|(kind, outside)| Nat::new(kind, host.ipv4, outside));
        self.hosts.push(Host { nat, is_cut: false });
        Some(id)
    }

    /// Changes something; packets that are under way arrive as they would have.
    pub fn change(&mut self, change: Change) {
        match change {
            Change::Link(a, b, link) => {
                self.links.insert((a.min(b), a.max(b)), link);
            }
            Change::DefaultLink(link) => self.default_link = link,
            Change::Ipv6BlackHoled(is) => self.ipv6_is_black_hole = is,
            Change::Cut(host, is_cut) => {
                if let Some(host) = self.hosts.get_mut(host.0) {
                    host.is_cut = is_cut;
                }
            }
        }
    }

    /// What became of the packets so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A host sends a packet.
    pub fn accept<R: Rng>(&mut self, from: HostId, mut packet: Vec<u8>, now: Instant, rng: &mut R) {
        let to = destination(&packet).and_then(|ip| Some((ip, *self.by_address.get(&ip)?)));
        let Some((ip, to)) = to.filter(|(_, to)| *to != from) else {
            self.counts.unroutable += 1;
            return;
        };
        if !self.leave(from, &mut packet, now, rng) {
            self.counts.filtered += 1;
            return;
        }
        let vanishes = ip.is_ipv6() && self.ipv6_is_black_hole;
        let is_cut = |host: HostId| self.hosts.get(host.0).is_none_or(|host| host.is_cut);
        let is_full = self.under_way.len() >= MAX_UNDER_WAY;
        let way = (from, to);
        let link = self.links.get(&(from.min(to), from.max(to)));
        let link = link.unwrap_or(&self.default_link);
        let arrival = link.arrival(now, self.last.get(&way).copied(), rng);
        let Some(at) = arrival.filter(|_| !(vanishes || is_full || is_cut(from) || is_cut(to)))
        else {
            self.counts.lost += 1;
            return;
        };
        self.last.insert(way, at);
        self.sent += 1;
        self.under_way
            .insert((at, self.sent), UnderWay { to, packet });
    }

    /// When the next packet arrives.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next packet that has arrived, as its host sees it.
    pub fn poll(&mut self, now: Instant) -> Option<(HostId, Vec<u8>)> {
        while self.next_deadline().is_some_and(|at| at <= now) {
            let (_, UnderWay { to, mut packet }) = self.under_way.pop_first()?;
            if self.enter(to, &mut packet, now) {
                self.counts.delivered += 1;
                return Some((to, packet));
            }
            self.counts.filtered += 1;
        }
        None
    }

    /// Through the sender's NAT, if it has one.
    fn leave<R: Rng>(
        &mut self,
        from: HostId,
        packet: &mut [u8],
        now: Instant,
        rng: &mut R,
    ) -> bool {
        let nat = self
            .hosts
            .get_mut(from.0)
            .and_then(|host| host.nat.as_mut());
        let (Some(nat), true) = (nat, is_ipv4(packet)) else {
            return true;
        };
        let outside = flow(packet).and_then(|flow| nat.outbound(flow, now, rng));
        outside.and_then(|flow| rewrite(packet, &flow)).is_some()
    }

    /// Through the receiver's NAT, as it is when the packet gets there.
    fn enter(&mut self, to: HostId, packet: &mut [u8], now: Instant) -> bool {
        let nat = self.hosts.get_mut(to.0).and_then(|host| host.nat.as_mut());
        let (Some(nat), true) = (nat, is_ipv4(packet)) else {
            return true;
        };
        let inside = flow(packet).and_then(|flow| nat.inbound(flow, now));
        inside.and_then(|flow| rewrite(packet, &flow)).is_some()
    }
}

fn is_ipv4(packet: &[u8]) -> bool {
    destination(packet).is_some_and(|ip| ip.is_ipv4())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::internet::packet::{
        Flow, Transport,
        tests::{is_valid, packet},
    };

    const SERVER: Ipv4Addr = Ipv4Addr::new(45, 80, 1, 10);

    fn public() -> Attachment {
        Attachment {
            ipv4: SERVER,
            ipv6: Some("2a0c:5a80:1::10".parse().unwrap()),
            nat: None,
        }
    }

    fn home(number: u8, kind: Kind) -> Attachment {
        Attachment {
            ipv4: Ipv4Addr::new(192, 168, number, 2),
            ipv6: None,
            nat: Some((kind, Ipv4Addr::new(45, 81, number, 1))),
        }
    }

    struct World {
        router: Router,
        rng: StdRng,
        now: Instant,
    }

    impl World {
        fn new(hosts: &[Attachment]) -> Self {
            let mut router = Router::default();
            for host in hosts {
                router.add(host).unwrap();
            }
            Self {
                router,
                rng: StdRng::seed_from_u64(7),
                now: Instant::now(),
            }
        }

        /// Sends, and gives what arrived anywhere `after` that.
        fn send(&mut self, from: usize, flow: &Flow, after: Duration) -> Option<(usize, Flow)> {
            let packet = packet(flow, b"hello");
            self.router
                .accept(HostId(from), packet, self.now, &mut self.rng);
            self.now += after;
            let (to, packet) = self.router.poll(self.now)?;
            assert!(is_valid(&packet));
            Some((to.0, super::flow(&packet).unwrap()))
        }
    }

    fn udp(source: SocketAddrV4, destination: SocketAddrV4) -> Flow {
        Flow {
            transport: Transport::Udp,
            source,
            destination,
        }
    }

    fn at(ip: Ipv4Addr) -> SocketAddrV4 {
        SocketAddrV4::new(ip, 9338)
    }

    #[test]
    fn packets_take_their_time() {
        let other = Attachment {
            ipv4: Ipv4Addr::new(45, 80, 2, 10),
            ipv6: None,
            nat: None,
        };
        let mut world = World::new(&[public(), other.clone()]);
        let ms = Duration::from_millis;
        world
            .router
            .change(Change::DefaultLink(Link::of_rtt(ms(40))));
        let flow = udp(at(SERVER), at(other.ipv4));
        assert_eq!(world.send(0, &flow, ms(19)), None);
        world.now += ms(1);
        assert!(world.router.poll(world.now).is_some());
        world
            .router
            .change(Change::Link(HostId(1), HostId(0), Link::of_rtt(ms(10))));
        assert_eq!(world.send(0, &flow, ms(5)), Some((1, flow)));
        world.router.change(Change::Cut(HostId(1), true));
        assert_eq!(world.send(0, &flow, ms(50)), None);
        let nobody = udp(at(SERVER), at(Ipv4Addr::new(45, 80, 9, 9)));
        assert_eq!(world.send(0, &nobody, ms(50)), None);
        let counts = Counts {
            delivered: 2,
            lost: 1,
            filtered: 0,
            unroutable: 1,
        };
        assert_eq!(world.router.counts(), counts);
    }

    #[test]
    fn a_hole_is_there_once_the_packet_that_makes_it_has_left() {
        let homes = [home(1, Kind::Cone), home(2, Kind::Cone)];
        let mut world = World::new(&homes);
        world
            .router
            .change(Change::DefaultLink(Link::of_rtt(Duration::from_millis(40))));
        let outside = homes.each_ref().map(|home| home.nat.unwrap().1);
        let there = udp(at(homes[0].ipv4), at(outside[1]));
        let back = udp(at(homes[1].ipv4), at(outside[0]));
        // Sent one after the other, both within one way's time: the first is let in because the
        // second has left when it arrives.
        assert_eq!(world.send(0, &there, Duration::from_millis(10)), None);
        let first = world.send(1, &back, Duration::from_millis(10)).unwrap();
        assert_eq!(first, (1, udp(at(outside[0]), at(homes[1].ipv4))));
        world.now += Duration::from_millis(10);
        let (to, packet) = world.router.poll(world.now).unwrap();
        assert_eq!(to.0, 0);
        assert_eq!(super::flow(&packet).unwrap().source, at(outside[1]));
    }

    #[test]
    fn who_was_not_sent_to_is_not_let_in() {
        let mut world = World::new(&[public(), home(1, Kind::Cone)]);
        let outside = Ipv4Addr::new(45, 81, 1, 1);
        assert_eq!(
            world.send(0, &udp(at(SERVER), at(outside)), Duration::ZERO),
            None
        );
        let inside = Ipv4Addr::new(192, 168, 1, 2);
        assert_eq!(
            world.send(0, &udp(at(SERVER), at(inside)), Duration::ZERO),
            None
        );
        assert!(
            world
                .send(1, &udp(at(inside), at(SERVER)), Duration::ZERO)
                .is_some()
        );
        assert!(
            world
                .send(0, &udp(at(SERVER), at(outside)), Duration::ZERO)
                .is_some()
        );
    }
}
