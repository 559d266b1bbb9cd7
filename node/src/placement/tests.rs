//! What the placement is shown, out of made-up adverts and settings. No network is started.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use dht::core::adverts::Closeness;
use dht::view;
use ed25519_dalek::SigningKey;
use protocol::NodeId;
use protocol::advert::{Abilities, Deployed, DeviceKind, NodeDevice, NodeRole, Profile};
use protocol::names::SwarmName;

use super::looking::{could_hold, served};
use super::*;

fn node(number: u8) -> NodeId {
    NodeId::from(&SigningKey::from_bytes(&[number; 32]))
}

fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

fn deployed(model: &str, running: u32, queued: u32) -> Deployed {
    Deployed {
        model: name(model),
        context_tokens: 4096,
        parallel: 4,
        running,
        queued,
        prefill_tokens_per_second: None,
        decode_tokens_per_second: None,
        abilities: Abilities::default(),
    }
}

fn said(deployments: Vec<Deployed>, coming: &[&str]) -> Profile {
    let mut said = Profile::new(SwarmName::public(), NodeRole::Server);
    said.limits.serves_strangers = true;
    said.deployments = deployments;
    said.coming = coming.iter().map(|model| name(model)).collect();
    said
}

fn peers(said: impl IntoIterator<Item = Profile>) -> BTreeMap<NodeId, view::Peer> {
    let peers = (1..).zip(said).map(|(number, said)| {
        let peer = view::Peer {
            path: None,
            rtt: None,
            closeness: Closeness::Near,
            membership: None,
            said: Some(Arc::new(said)),
        };
        (node(number), peer)
    });
    peers.collect()
}

#[test]
fn what_others_serve_is_counted_and_what_they_serve_to_others_is_not() {
    let mut closed = said(vec![deployed("a", 0, 0)], &["b"]);
    closed.limits.serves_strangers = false;
    let all = [
        said(vec![deployed("a", 1, 0)], &["b"]),
        said(vec![deployed("a", 4, 3)], &[]),
        closed,
    ];
    let peers = peers(all);
    let open = served(&peers, &BTreeSet::new(), false);
    let a = &open[&name("a")];
    assert_eq!((a.servers, a.sequences, a.idle), (2, 8, 3));
    assert_eq!(open[&name("b")].coming, [node(1)].into());
    // Members of a private swarm serve one another; and who is absent does not count.
    let private = served(&peers, &[node(1)].into(), true);
    assert_eq!(private[&name("a")].servers, 2);
    assert_eq!(private[&name("b")].coming, [node(3)].into());
}

#[test]
fn who_could_hold_a_model_has_the_memory_and_may_use_it() {
    let mut peer = said(Vec::new(), &[]);
    peer.devices = vec![NodeDevice {
        kind: DeviceKind::Cpu,
        name: "CPU".into(),
        memory_total_bytes: 20,
        memory_free_bytes: 10,
        prefill_tokens_per_second: None,
        bandwidth_bytes_per_second: None,
    }];
    assert!(could_hold(&peer, 10) && !could_hold(&peer, 11));
    peer.limits.memory_bytes = Some(5);
    assert!(!could_hold(&peer, 10) && could_hold(&peer, 5));
    peer.role = NodeRole::ApiClient;
    assert!(!could_hold(&peer, 5));
}

#[test]
fn the_owner_says_which_and_when() {
    let config = PlacementConfig::default();
    assert!(config.allows(&name("any")));
    assert_eq!(config.closed(0), None);
    let some = PlacementConfig {
        models: Some(vec![name("a"), name("b")]),
        never: vec![name("b")],
        hours: Some("01:00-02:00".parse().unwrap()),
        ..PlacementConfig::default()
    };
    assert!(some.allows(&name("a")) && !some.allows(&name("b")) && !some.allows(&name("c")));
    assert!(some.closed(0).unwrap().contains("placement_hours"));
    assert_eq!(some.closed(5400), None);
    let off = PlacementConfig {
        enabled: false,
        ..some
    };
    assert!(off.closed(5400).unwrap().contains("placement = false"));
}

#[test]
fn what_is_not_begun_says_why() {
    let (_shown, watched) = shown("the node has just begun");
    let report = watched.report.borrow().clone();
    assert_eq!(report.closed.as_deref(), Some("the node has just begun"));
    assert_eq!(*watched.moving.borrow(), Moving::default());
}
