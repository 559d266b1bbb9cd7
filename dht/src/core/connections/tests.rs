//! Connections under any sequence of events: bounds, protection, and who closes what.

use proptest::{collection::vec, prelude::*};

use super::*;

fn peer(n: u16) -> NodeId {
    let mut secret = [1; 32];
    secret[..2].copy_from_slice(&n.to_le_bytes());
    NodeId::from(&ed25519_dalek::SigningKey::from_bytes(&secret))
}

fn direct(address: &str) -> Via {
    Via::Direct(Transport::Quic, address.parse().unwrap())
}

/// An address in a neighbourhood of its own.
fn somewhere(n: u16) -> Via {
    direct(&format!("10.{}.{}.1", n >> 8, n & 255))
}

fn opened(id: u64, n: u16, dialer: Dialer, via: Via) -> Opened {
    let (id, peer) = (ConnectionId(id), peer(n));
    Opened {
        id,
        peer,
        dialer,
        via,
    }
}

/// A node, and a peer with a smaller and one with a larger id.
fn own_and_others() -> (NodeId, u16, u16) {
    let own = peer(1000);
    let smaller = (0..).find(|n| peer(*n) < own).unwrap();
    let larger = (0..).find(|n| peer(*n) > own).unwrap();
    (own, smaller, larger)
}

fn due(connections: &mut Connections, now: Instant) -> Vec<Close> {
    let mut out = Vec::new();
    connections.poll(now, &mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn bounds_hold_and_nothing_needed_goes(
        events in vec((0_u8..9, 0_u16..40, 0_u64..80, 0_u64..20_000), 1..400),
    ) {
        let config = Config { high: 12, low: 8, ceiling: 20, ..Config::default() };
        let ids: Vec<NodeId> = (0..40).map(peer).collect();
        let mut connections = Connections::new(peer(1000), config.clone());
        let mut now = Instant::now();
        let mut next_id = 0;
        let mut ages: BTreeMap<ConnectionId, (NodeId, Instant)> = BTreeMap::new();
        for (kind, n, id, wait_ms) in events {
            now += Duration::from_millis(wait_ms);
            let (peer, id) = (ids[usize::from(n)], ConnectionId(id));
            let mut closed = Vec::new();
            match kind {
                0..=3 => {
                    let dialer = if kind == 0 { Dialer::Us } else { Dialer::Peer };
                    let via = match n % 4 {
                        0 => Via::Relay,
                        1 => direct(&format!("192.0.2.{n}")),
                        _ => somewhere(n),
                    };
                    let id = ConnectionId(next_id);
                    next_id += 1;
                    ages.insert(id, (peer, now));
                    closed = connections.on_opened(Opened { id, peer, dialer, via }, now);
                }
                4 => { connections.protect(peer, Protection::Mesh); }
                5 => connections.unprotect(peer, Protection::Mesh),
                6 => connections.on_stream_opened(id, now),
                7 => connections.on_stream_closed(id, now),
                _ => connections.on_closed(id),
            }
            connections.poll(now, &mut closed);
            for Close { id, reason } in closed {
                let (peer, at) = ages[&id];
                if reason == Reason::Trimmed {
                    prop_assert!(!connections.is_protected(peer));
                    prop_assert!(now - at >= config.grace);
                }
                if reason == Reason::Crowded {
                    prop_assert!(!connections.is_protected(peer));
                }
            }
            prop_assert!(connections.len() <= config.ceiling);
            for peer in &ids {
                prop_assert!(connections.table.of_peer(connections.own, *peer).len() <= MAX_PER_PEER);
            }
            let next = connections.next_deadline();
            prop_assert!(next.is_none_or(|at| at > now), "the timer would spin");
        }
    }

    #[test]
    fn strangers_do_not_crowd_out_the_protected(strangers in 0_u16..400, wait_s in 0_u64..3) {
        let mut connections = Connections::new(peer(1000), Config::default());
        let mut now = Instant::now();
        let friends = 500..520_u16;
        for n in friends.clone() {
            connections.protect(peer(n), Protection::Group);
        }
        for n in 0..strangers {
            now += Duration::from_secs(wait_s);
            connections.on_opened(opened(n.into(), n, Dialer::Peer, somewhere(n)), now);
        }
        for n in friends.clone() {
            connections.on_opened(opened(n.into(), n, Dialer::Peer, somewhere(n)), now);
        }
        prop_assert!(connections.len() <= Config::default().ceiling);
        for n in friends {
            prop_assert!(connections.choose(peer(n), Traffic::Data).is_some());
        }
    }
}

#[test]
fn trimming_has_hysteresis_and_takes_the_least_worth() {
    let config = Config::default();
    let mut connections = Connections::new(peer(1000), config.clone());
    let start = Instant::now();
    let high = u16::try_from(config.high).unwrap();
    for n in 0..=high {
        let now = start + Duration::from_millis(n.into());
        let closed = connections.on_opened(opened(n.into(), n, Dialer::Us, somewhere(n)), now);
        assert_eq!(closed, [], "all are young");
    }
    let near = PeerFacts {
        is_near: true,
        serves_us: false,
    };
    connections.set_facts(peer(96), near);
    connections.protect(peer(95), Protection::Relay);
    connections.on_stream_opened(ConnectionId(94), start);
    let late = start + config.grace * 2;
    let closed = due(&mut connections, late);
    assert_eq!(connections.len(), config.low);
    assert!(closed.iter().all(|close| close.reason == Reason::Trimmed));
    // The youngest, but for those that are worth something.
    let ids: Vec<u64> = closed.iter().map(|close| close.id.0).collect();
    assert_eq!(ids, (61..94).rev().collect::<Vec<_>>());
    for n in 200..232 {
        assert_eq!(
            connections.on_opened(opened(n.into(), n, Dialer::Us, somewhere(n)), late),
            []
        );
    }
    assert_eq!(due(&mut connections, late + config.grace * 2), []);
    assert_eq!(connections.len(), config.high);
}

#[test]
fn the_larger_closes_all_but_one_that_it_dialed() {
    let (own, smaller, larger) = own_and_others();
    let start = Instant::now();
    let open_three = |other: u16| {
        let mut connections = Connections::new(own, Config::default());
        connections.on_opened(opened(1, other, Dialer::Us, Via::Relay), start);
        connections.on_opened(opened(2, other, Dialer::Peer, somewhere(1)), start);
        connections.on_opened(opened(3, other, Dialer::Us, somewhere(1)), start);
        connections
    };
    let mut connections = open_three(smaller);
    assert_eq!(
        due(&mut connections, start + DEDUPE_AFTER / 2),
        [],
        "the other side may be late"
    );
    let closed = due(&mut connections, start + DEDUPE_AFTER);
    let ids: Vec<u64> = closed.iter().map(|close| close.id.0).collect();
    assert_eq!(ids, [2, 1]);
    // The smaller one closes nothing, and already uses what will stay.
    let mut connections = open_three(larger);
    assert_eq!(connections.next_deadline(), None);
    assert_eq!(
        connections.choose(peer(larger), Traffic::Data),
        Some(ConnectionId(2))
    );
    assert_eq!(due(&mut connections, start + DEDUPE_AFTER * 9), []);
}

#[test]
fn a_duplicate_in_use_stays_until_its_stream_ends() {
    let (own, smaller, _) = own_and_others();
    let start = Instant::now();
    let mut connections = Connections::new(own, Config::default());
    connections.on_opened(opened(1, smaller, Dialer::Peer, somewhere(1)), start);
    connections.on_stream_opened(ConnectionId(1), start);
    connections.on_opened(opened(2, smaller, Dialer::Us, somewhere(1)), start);
    assert_eq!(due(&mut connections, start + DEDUPE_AFTER), []);
    let end = start + Duration::from_secs(100);
    connections.on_stream_closed(ConnectionId(1), end);
    let closed = due(&mut connections, end + DEDUPE_AFTER);
    assert_eq!(
        closed,
        [Close {
            id: ConnectionId(1),
            reason: Reason::Duplicate
        }]
    );
}

#[test]
fn relayed_connections_carry_control_only() {
    let (own, smaller, _) = own_and_others();
    let now = Instant::now();
    let mut connections = Connections::new(own, Config::default());
    connections.on_opened(opened(1, smaller, Dialer::Us, Via::Relay), now);
    let choose = |connections: &Connections, traffic| connections.choose(peer(smaller), traffic);
    assert_eq!(choose(&connections, Traffic::Data), None);
    assert_eq!(
        choose(&connections, Traffic::Control),
        Some(ConnectionId(1))
    );
    let tcp = Via::Direct(Transport::Tcp, "192.0.2.1".parse().unwrap());
    connections.on_opened(opened(2, smaller, Dialer::Us, tcp), now);
    connections.on_opened(opened(3, smaller, Dialer::Us, somewhere(1)), now);
    connections.on_rtt(ConnectionId(2), Duration::from_millis(9));
    connections.on_rtt(ConnectionId(3), Duration::from_millis(8));
    assert_eq!(choose(&connections, Traffic::Data), Some(ConnectionId(3)));
    connections.on_rtt(ConnectionId(3), Duration::from_millis(30));
    assert_eq!(choose(&connections, Traffic::Data), Some(ConnectionId(2)));
}

#[test]
fn a_neighbourhood_has_its_share() {
    let exempt = IpRange::new("198.51.100.0".parse().unwrap(), 24);
    let config = Config {
        exempt: vec![exempt],
        ..Config::default()
    };
    let mut connections = Connections::new(peer(1000), config.clone());
    let now = Instant::now();
    let share = u16::try_from(config.inbound_per_prefix).unwrap();
    let mut next = 0;
    let mut refused = |connections: &mut Connections, dialer, base: &str| {
        (0..share + 4)
            .filter(|n| {
                next += 1;
                let via = direct(&format!("{base}{n}"));
                let closed = connections.on_opened(opened(next.into(), next, dialer, via), now);
                closed.iter().any(|close| close.reason == Reason::Crowded)
            })
            .count()
    };
    assert_eq!(refused(&mut connections, Dialer::Peer, "192.0.2."), 4);
    assert_eq!(refused(&mut connections, Dialer::Us, "192.0.2."), 0);
    assert_eq!(refused(&mut connections, Dialer::Peer, "198.51.100."), 0);
    assert_eq!(refused(&mut connections, Dialer::Peer, "127.0.0."), 0);
    assert_eq!(refused(&mut connections, Dialer::Peer, "2001:db8::"), 4);
    connections.protect(peer(999), Protection::Mesh);
    let friend = opened(999, 999, Dialer::Peer, direct("192.0.2.99"));
    assert_eq!(connections.on_opened(friend, now), []);
}
