//! Addresses as strangers send them.

use libp2p::identity::Keypair;
use proptest::prelude::*;

use super::*;

fn peer_of(seed: u8) -> PeerId {
    let key = Keypair::ed25519_from_bytes([seed; 32]).unwrap();
    key.public().to_peer_id()
}

fn parse(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

fn taken(text: &str, reach: Reach) -> Option<String> {
    address(&parse(text), &peer_of(1), reach).map(|address| address.text)
}

#[test]
fn our_forms_are_taken_without_the_peers_own_id() {
    let (own, relay) = (peer_of(1), peer_of(2));
    for direct in [
        "/ip4/8.8.8.8/udp/4001/quic-v1",
        "/ip4/8.8.8.8/tcp/4001",
        "/ip6/2a00:1450::1/udp/4001/quic-v1",
        "/ip6/2a00:1450::1/tcp/443",
    ] {
        let circuit = format!("{direct}/p2p/{relay}/p2p-circuit");
        for wanted in [direct, &circuit] {
            assert_eq!(taken(wanted, Reach::Public).as_deref(), Some(wanted));
            let full = format!("{wanted}/p2p/{own}");
            assert_eq!(taken(&full, Reach::Public).as_deref(), Some(wanted));
        }
    }
    let quic = address(
        &parse("/ip6/2a00:1450::1/udp/1/quic-v1"),
        &own,
        Reach::Public,
    )
    .unwrap();
    assert_eq!((quic.family, quic.transport), (Family::V6, Transport::Quic));
}

#[test]
fn other_forms_are_dropped() {
    let (own, relay, third) = (peer_of(1), peer_of(2), peer_of(3));
    let dropped = [
        "/dns4/example.org/tcp/4001".to_owned(),
        "/dnsaddr/example.org".to_owned(),
        "/unix/%2Ftmp%2Fsocket".to_owned(),
        "/memory/7".to_owned(),
        "/ip4/8.8.8.8".to_owned(),
        "/ip4/8.8.8.8/tcp/0".to_owned(),
        "/ip4/8.8.8.8/udp/4001".to_owned(),
        "/ip4/8.8.8.8/udp/4001/quic".to_owned(),
        "/ip4/8.8.8.8/tcp/4001/ws".to_owned(),
        "/ip4/8.8.8.8/udp/4001/quic-v1/webtransport".to_owned(),
        format!("/ip4/8.8.8.8/tcp/4001/p2p/{third}"),
        "/ip4/8.8.8.8/tcp/4001/p2p-circuit".to_owned(),
        format!("/ip4/8.8.8.8/tcp/4001/p2p/{own}/p2p-circuit"),
        format!("/ip4/8.8.8.8/tcp/4001/p2p/{relay}/p2p-circuit/p2p/{third}"),
        format!("/ip4/8.8.8.8/tcp/1/p2p/{relay}/p2p-circuit/p2p/{third}/p2p-circuit"),
        format!("/ip4/8.8.8.8/tcp/1/p2p/{relay}/p2p-circuit/p2p/{own}/tcp/2"),
        format!("/p2p/{own}"),
        String::new(),
    ];
    for text in dropped {
        assert_eq!(taken(&text, Reach::Any), None, "{text}");
    }
}

#[test]
fn reach_is_kept() {
    let cases = [
        ("127.0.0.1", [false, false, true]),
        ("10.1.2.3", [false, true, true]),
        ("172.31.0.1", [false, true, true]),
        ("192.168.1.1", [false, true, true]),
        ("169.254.1.1", [false, true, true]),
        ("100.64.0.1", [false, true, true]),
        ("192.0.2.1", [false, true, true]),
        ("198.19.0.1", [false, true, true]),
        ("240.0.0.1", [false, true, true]),
        ("0.0.0.0", [false; 3]),
        ("255.255.255.255", [false; 3]),
        ("224.0.0.251", [false; 3]),
        ("1.1.1.1", [true; 3]),
        ("::1", [false, false, true]),
        ("fe80::1", [false, false, true]),
        ("fd00::1", [false, true, true]),
        ("2001:db8::1", [false, true, true]),
        ("2001:0::1", [false, true, true]),
        ("2002:0a00:1::1", [false, true, true]),
        ("64:ff9b::a00:1", [false, true, true]),
        ("::ffff:10.0.0.1", [false; 3]),
        ("ff02::fb", [false; 3]),
        ("::", [false; 3]),
        ("2606:4700::1111", [true; 3]),
    ];
    for (text, expected) in cases {
        let ip: IpAddr = text.parse().unwrap();
        let got = [Reach::Public, Reach::Lan, Reach::Any].map(|reach| reach.allows(ip));
        assert_eq!(got, expected, "{text}");
    }
}

#[test]
fn a_peer_cannot_claim_thousands() {
    let many: Vec<_> = (1..5000)
        .map(|port| parse(&format!("/ip4/8.8.8.8/tcp/{port}")))
        .collect();
    let kept = candidate(&peer_of(1), &many, Reach::Public).unwrap();
    assert_eq!(kept.addresses.len(), MAX_KEPT);
    // Behind a wall of junk nothing is found: looking is bounded too.
    let junk = vec![parse("/ip4/10.0.0.1/tcp/1"); MAX_CLAIMED];
    let claimed = junk.iter().chain(&many);
    assert_eq!(candidate(&peer_of(1), claimed, Reach::Public), None);
}

#[test]
fn a_key_that_no_node_has_is_nobody() {
    let rsa: PeerId = "QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ"
        .parse()
        .unwrap();
    let somewhere = parse("/ip4/8.8.8.8/tcp/1");
    assert_eq!(candidate(&rsa, [&somewhere], Reach::Public), None);
}

proptest! {
    #[test]
    fn garbage_never_panics_and_nothing_out_of_reach_is_kept(
        claimed in proptest::collection::vec(
            (any::<IpAddr>(), any::<u16>(), any::<bool>(), 0..4u8),
            0..100,
        ),
        bytes: Vec<u8>,
    ) {
        let id = peer_of(1);
        let claimed: Vec<Multiaddr> = claimed
            .into_iter()
            .map(|(ip, port, quic, end)| {
                let mut address = Multiaddr::from(ip);
                if quic {
                    address.push(Protocol::Udp(port));
                    address.push(Protocol::QuicV1);
                } else {
                    address.push(Protocol::Tcp(port));
                }
                if end > 0 {
                    address.push(Protocol::P2p(peer_of(end)));
                }
                address
            })
            .chain(Multiaddr::try_from(bytes))
            .collect();
        let Some(kept) = candidate(&id, &claimed, Reach::Public) else {
            return Ok(());
        };
        prop_assert!(!kept.addresses.is_empty() && kept.addresses.len() <= MAX_KEPT);
        for (index, address) in kept.addresses.iter().enumerate() {
            prop_assert!(!kept.addresses[..index].contains(address));
            let multiaddr: Multiaddr = address.text.parse().unwrap();
            // What was kept is kept again, as it is.
            let again = super::address(&multiaddr, &id, Reach::Public);
            prop_assert_eq!(again.as_ref(), Some(address));
        }
    }
}
