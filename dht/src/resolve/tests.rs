//! Lists against a resolver of our own, under paused time.

use proptest::prelude::*;

use super::*;
use crate::core::join::Family;

const PEER: &str = "12D3KooWKnDdG3iXw9eTFijk3EWSunZcFi54Zka4wmtqtt6rPxc8";
const RSA_PEER: &str = "QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ";

/// Knows a few names, and one that it never answers for.
struct Fake;

impl Lookup for Fake {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let ip = |text: &str| text.parse().unwrap();
        match host {
            "both.example" => Ok(vec![ip("2001:db8::7"), ip("192.0.2.7")]),
            "four.example" => Ok(vec![ip("192.0.2.4")]),
            "many.example" => Ok((0..200).map(|n| IpAddr::from([192, 0, 2, n])).collect()),
            "odd.example" => Ok(vec![ip("0.0.0.0"), ip("224.0.0.1"), ip("::")]),
            "hangs.example" => std::future::pending().await,
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }
}

async fn resolved(entries: &[&str]) -> Resolved {
    let entries: Vec<_> = entries.iter().map(|entry| (*entry).to_owned()).collect();
    resolve(&entries, &Fake).await
}

fn texts(resolved: &Resolved) -> Vec<String> {
    let addresses = resolved.peers.iter().flat_map(|(_, addresses)| addresses);
    addresses.map(ToString::to_string).collect()
}

#[tokio::test]
async fn names_are_replaced_by_addresses_of_their_kind() {
    let entries = [
        format!("/dns/both.example/udp/4001/quic-v1/p2p/{PEER}"),
        format!("/dns6/both.example/tcp/4001/p2p/{PEER}"),
        format!("/dns4/BOTH.example/tcp/4001/p2p/{PEER}"),
        format!("/ip4/192.0.2.1/tcp/4001/p2p/{PEER}"),
    ];
    let resolved = resolve(&entries, &Fake).await;
    assert_eq!(
        texts(&resolved),
        [
            "/ip6/2001:db8::7/udp/4001/quic-v1",
            "/ip4/192.0.2.7/udp/4001/quic-v1",
            "/ip6/2001:db8::7/tcp/4001",
            "/ip4/192.0.2.7/tcp/4001",
            "/ip4/192.0.2.1/tcp/4001",
        ]
    );
    assert!(resolved.problems.is_empty());
    let candidates = resolved.candidates();
    assert_eq!(candidates.len(), 1);
    assert_eq!(candidates[0].addresses.len(), 5);
    assert_eq!(candidates[0].addresses[0].family, Family::V6);
}

#[tokio::test(start_paused = true)]
async fn what_fails_is_named_and_holds_nobody_up() {
    let entries = [
        format!("/dns/hangs.example/tcp/1/p2p/{PEER}"),
        format!("/dns/unknown.example/tcp/1/p2p/{PEER}"),
        format!("/dns6/four.example/tcp/1/p2p/{PEER}"),
        format!("/dns/odd.example/tcp/1/p2p/{PEER}"),
        format!("/dnsaddr/both.example/p2p/{PEER}"),
        "/dns/both.example/tcp/1".to_owned(),
        format!("/dns/both.example/tcp/1/p2p/{PEER}/p2p-circuit/p2p/{RSA_PEER}"),
        format!("/dns/both.example/tcp/443/wss/p2p/{PEER}"),
        "nonsense".to_owned(),
        format!("/dns4/four.example/tcp/1/p2p/{RSA_PEER}"),
    ];
    let begun = tokio::time::Instant::now();
    let resolved = resolve(&entries, &Fake).await;
    assert_eq!(begun.elapsed(), RESOLVE_TIMEOUT);
    assert_eq!(texts(&resolved), ["/ip4/192.0.2.4/tcp/1"]);
    // A peer with a key of another kind is a rendezvous server, and no node.
    assert_eq!(resolved.candidates(), []);
    let problem = |part: &str| {
        let mut problems = resolved.problems.iter();
        &problems.find(|(text, _)| text.contains(part)).unwrap().1
    };
    assert!(matches!(problem("hangs"), ResolveError::TimedOut));
    assert!(matches!(problem("unknown"), ResolveError::Lookup(_)));
    assert!(matches!(problem("four"), ResolveError::NoAddress));
    assert!(matches!(problem("odd"), ResolveError::NoAddress));
    for form in ["dnsaddr", "tcp/1", "circuit", "wss", "nonsense"] {
        let forms = resolved
            .problems
            .iter()
            .filter(|(text, error)| text.contains(form) && matches!(error, ResolveError::Form));
        assert!(forms.count() >= 1, "{form}");
    }
}

#[tokio::test]
async fn everything_is_bounded() {
    let name = format!("/dns/many.example/tcp/1/p2p/{PEER}");
    let found = resolved(&[&name]).await;
    assert_eq!(texts(&found).len(), MAX_ADDRESSES_PER_NAME);
    let many: Vec<_> = (1..1000)
        .map(|port| format!("/ip4/192.0.2.1/tcp/{port}/p2p/{PEER}"))
        .collect();
    let found = resolve(&many, &Fake).await;
    assert_eq!(texts(&found).len(), MAX_ENTRIES);
    assert_eq!(found.problems.len(), many.len() - MAX_ENTRIES);
}

#[tokio::test]
async fn the_systems_resolver_knows_this_machine() {
    let entry = format!("/dns/localhost/tcp/1/p2p/{PEER}");
    let found = resolve(&[entry], &SystemLookup).await;
    let texts = texts(&found);
    assert!(!texts.is_empty(), "{:?}", found.problems);
    let local = ["/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1"];
    assert!(texts.iter().all(|text| local.contains(&text.as_str())));
}

proptest! {
    #[test]
    fn garbage_never_panics(text in ".{0,80}", host in "[a-zA-Z0-9./_ -]{0,300}") {
        let _ = parse(&text);
        let _ = parse(&format!("/dns/{host}/tcp/1/p2p/{PEER}"));
    }
}
