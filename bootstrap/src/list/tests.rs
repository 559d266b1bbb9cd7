//! Lists of bootstrap nodes: what is accepted, and everything that is not.

use proptest::prelude::*;

use super::*;

/// The peer id of the public key of RFC 8032 section 7.1, test 1.
const PEER: &str = "12D3KooWQK1wnefoLrcVHbbnf5tLzbopUd3K3bFAoJpA7YJgL5pV";

fn peer() -> PeerId {
    "FVen3X669xLzsi6N2V91DoiyzHzg1uAgqiT8jZ9nS96Z"
        .parse::<protocol::NodeId>()
        .unwrap()
        .into()
}

fn address(text: &str) -> Result<Address, AddressError> {
    text.replace("PEER", &peer().to_string()).parse()
}

#[test]
fn the_compiled_in_list_is_sound() {
    assert!(parse(COMPILED_IN).is_ok());
    assert!(compiled_in().len() <= MAX_NODES);
}

#[test]
fn a_peer_id_is_libp2ps_own() {
    assert_eq!(peer().to_string(), PEER);
    assert_eq!(PEER.parse(), Ok(peer()));
}

#[test]
fn every_form_reads_back_as_itself() {
    for text in [
        "/ip4/203.0.113.7/udp/4001/quic-v1/p2p/PEER",
        "/ip6/2001:db8::1/udp/65535/quic-v1/p2p/PEER",
        "/dns/boot.example.org/tcp/1/p2p/PEER",
        "/dns4/a-1.example/tcp/443/p2p/PEER",
        "/dns6/localhost/udp/9338/quic-v1/p2p/PEER",
    ] {
        let parsed = address(text).unwrap();
        assert_eq!(parsed.to_string(), text.replace("PEER", PEER));
        assert_eq!(parsed.peer, peer());
    }
    let quic = address("/ip4/127.0.0.1/udp/4001/quic-v1/p2p/PEER").unwrap();
    assert_eq!(quic.transport, Transport::Quic(4001));
    assert_eq!(quic.host, Host::Ip4([127, 0, 0, 1].into()));
}

#[test]
fn other_forms_are_refused() {
    for text in [
        "",
        "/",
        "203.0.113.7:4001",
        "ip4/203.0.113.7/tcp/1/p2p/PEER",
        "/ip4/203.0.113.7/tcp/1",
        "/ip4/203.0.113.7/tcp/1/p2p/PEER/",
        "/ip4/203.0.113.7/udp/1/p2p/PEER",
        "/ip4/203.0.113.7/udp/1/quic/p2p/PEER",
        "/ip4/203.0.113.7/tcp/1/ws/p2p/PEER",
        "/ip4/203.0.113.7/tcp/1/p2p/PEER/p2p-circuit",
        "/unix/tmp/tcp/1/p2p/PEER",
    ] {
        assert_eq!(address(text), Err(AddressError::Form), "{text}");
    }
    let long = format!("/dns/{}/tcp/1/p2p/PEER", "a.".repeat(200));
    assert_eq!(address(&long), Err(AddressError::TooLong));
}

#[test]
fn hosts_are_checked() {
    let host = |text: &str| address(&format!("{text}/tcp/1/p2p/PEER")).unwrap_err();
    let label = "a".repeat(64);
    let label = format!("/dns/{label}");
    for text in [
        "/ip4/1.2.3",
        "/ip4/01.2.3.4",
        "/ip4/::1",
        "/ip6/1.2.3.4",
        "/ip6/fe80::1%eth0",
        "/dns/",
        "/dns/a..b",
        "/dns/-a",
        "/dns/a_b",
        "/dns/ü.org",
        "/dns/a.",
        label.as_str(),
    ] {
        assert!(matches!(host(text), AddressError::Host(_)), "{text}");
    }
    for text in [
        "/ip4/0.0.0.0",
        "/ip4/224.0.0.1",
        "/ip4/255.255.255.255",
        "/ip6/::",
        "/ip6/ff02::1",
    ] {
        assert!(
            matches!(host(text), AddressError::NotOneMachine(_)),
            "{text}"
        );
    }
}

#[test]
fn ports_are_checked() {
    for port in ["0", "", "65536", "-1", "+1", "01", "1 ", "https"] {
        let error = address(&format!("/ip4/1.2.3.4/tcp/{port}/p2p/PEER")).unwrap_err();
        assert_eq!(error, AddressError::Port(port.to_owned()));
    }
}

#[test]
fn peers_are_checked() {
    let error = |peer: &str| {
        format!("/ip4/1.2.3.4/tcp/1/p2p/{peer}")
            .parse::<Address>()
            .unwrap_err()
    };
    let text = AddressError::Peer(PeerIdError::Text);
    assert_eq!(error(""), text);
    assert_eq!(error("12D3KooW"), text);
    assert_eq!(error(&PEER.replace('K', "0")), text);
    assert_eq!(error(&"1".repeat(54)), text);
    let with_prefix = |prefix: [u8; 6], key: [u8; 32]| {
        error(&bs58::encode([prefix.as_slice(), &key].concat()).into_string())
    };
    let kind = AddressError::Peer(PeerIdError::Kind);
    assert_eq!(with_prefix([0, 0x24, 8, 2, 0x12, 0x20], [9; 32]), kind);
    let weak = with_prefix([0, 0x24, 8, 1, 0x12, 0x20], [0; 32]);
    assert!(matches!(weak, AddressError::Peer(PeerIdError::Key(_))));
}

#[test]
fn a_list_has_comments_and_names_the_line_at_fault() {
    let line = format!("/ip4/1.2.3.4/tcp/1/p2p/{PEER}");
    let list = parse(&format!("# ours\n\n  {line}  \r\n")).unwrap();
    assert_eq!(list.len(), 1);
    let source = AddressError::Form;
    assert_eq!(parse("# a\nb"), Err(ListError::Line { line: 2, source }));
    let twice = format!("{line}\n{line}");
    assert_eq!(parse(&twice), Err(ListError::Duplicate { line: 2 }));
}

#[test]
fn a_list_is_bounded() {
    let list = |n: usize| {
        let lines = (1..=n).map(|port| format!("/ip4/1.2.3.4/tcp/{port}/p2p/{PEER}\n"));
        parse(&lines.collect::<String>())
    };
    assert_eq!(list(MAX_NODES).map(|list| list.len()), Ok(MAX_NODES));
    assert_eq!(list(MAX_NODES + 1), Err(ListError::TooMany));
}

proptest! {
    #[test]
    fn garbage_never_panics(text: String, path in "(/(ip4|dns|tcp|udp|p2p|1|a|::)){0,9}") {
        let _ = parse(&text);
        let _ = parse(&path);
        let _ = text.parse::<PeerId>();
    }

    #[test]
    fn what_is_accepted_reads_back_as_itself(
        ip: [u8; 4],
        port: u16,
        quic: bool,
    ) {
        let transport = if quic { format!("udp/{port}/quic-v1") } else { format!("tcp/{port}") };
        let [a, b, c, d] = ip;
        let text = format!("/ip4/{a}.{b}.{c}.{d}/{transport}/p2p/{PEER}");
        if let Ok(address) = text.parse::<Address>() {
            prop_assert_eq!(address.to_string(), text);
        }
    }
}
