//! Adverts as peers of the planner. They are made up: no network is started.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use dht::core::adverts::Closeness;
use dht::core::rtt::Estimate;
use ed25519_dalek::SigningKey;
use protocol::advert::{Abilities, ContentHash, Deployed, HeldSlice, Neighbour};
use protocol::names::SwarmName;

use super::*;

const GIB: u64 = 1 << 30;

fn node(number: u8) -> NodeId {
    NodeId::from(&SigningKey::from_bytes(&[number; 32]))
}

fn model() -> ModelName {
    "org/big".parse().unwrap()
}

fn asking<'a>(model: &'a ModelName, privacy: &'a PrivacyPolicy) -> Asking<'a> {
    Asking {
        model,
        layers: 40,
        node: node(1),
        is_member: false,
        privacy,
    }
}

fn device(kind: DeviceKind, free_gib: u64, bandwidth: Option<f32>) -> NodeDevice {
    NodeDevice {
        kind,
        name: "a device".into(),
        memory_total_bytes: 32 * GIB,
        memory_free_bytes: free_gib * GIB,
        prefill_tokens_per_second: bandwidth.map(|figure| figure / 1e9),
        bandwidth_bytes_per_second: bandwidth,
    }
}

fn said(devices: Vec<NodeDevice>) -> Profile {
    let mut profile = Profile::new(SwarmName::public(), NodeRole::Server);
    profile.limits.serves_strangers = true;
    profile.devices = devices;
    profile
}

fn peer(rtt: Option<u64>, said: Option<Profile>) -> view::Peer {
    view::Peer {
        path: None,
        rtt: rtt.map(|millis| Estimate {
            rtt: Duration::from_millis(millis),
            jitter: Duration::ZERO,
            loss: 0.0,
        }),
        closeness: Closeness::Near,
        membership: None,
        said: said.map(Arc::new),
    }
}

fn only(asking: Asking<'_>, peer: view::Peer) -> Peer {
    let peers = BTreeMap::from([(node(2), peer)]);
    others(asking, &peers).remove(0)
}

#[test]
fn a_peer_gives_what_its_owner_allows() {
    let (model, privacy) = (model(), PrivacyPolicy::default());
    let asking = asking(&model, &privacy);
    let mut profile = said(vec![device(DeviceKind::Cpu, 20, Some(2e10))]);
    profile.limits.memory_bytes = Some(6 * GIB);
    profile.limits.upload_bytes_per_second = Some(1_000_000);
    let found = only(asking, peer(Some(10), Some(profile.clone())));
    assert!(found.is_allowed);
    assert_eq!(found.free_bytes, 6 * GIB);
    assert_eq!(found.uplink, Some(1_000_000));
    assert_eq!(found.flops, Some(4e10));
    assert!((found.bandwidth.unwrap() / 2e10 - 1.0).abs() < 1e-6);
    profile.limits.memory_bytes = None;
    let found = only(asking, peer(Some(10), Some(profile)));
    assert_eq!(found.free_bytes, 20 * GIB);
}

#[test]
fn who_does_not_serve_this_node_is_not_allowed() {
    let (model, privacy) = (model(), PrivacyPolicy::default());
    let asking = asking(&model, &privacy);
    let closed = |change: fn(&mut Profile)| {
        let mut profile = said(Vec::new());
        change(&mut profile);
        peer(Some(10), Some(profile))
    };
    assert!(!only(asking, peer(Some(10), None)).is_allowed);
    assert!(!only(asking, closed(|p| p.role = NodeRole::ApiClient)).is_allowed);
    let stranger = closed(|p| p.limits.serves_strangers = false);
    assert!(!only(asking, stranger.clone()).is_allowed);
    let member = Asking {
        is_member: true,
        ..asking
    };
    assert!(only(member, stranger).is_allowed);
    let mut client = closed(|_| {});
    client.membership = Some(Role::Client);
    assert!(!only(member, client).is_allowed);
    let bootstrap = closed(|p| p.role = NodeRole::Bootstrap);
    assert_eq!(others(asking, &BTreeMap::from([(node(2), bootstrap)])), []);
}

#[test]
fn the_privacy_level_holds_for_hidden_states() {
    let model = model();
    let allowed = |default, trusted: &[NodeId]| {
        let privacy = PrivacyPolicy {
            default,
            trusted: trusted.iter().copied().collect(),
        };
        only(
            asking(&model, &privacy),
            peer(Some(1), Some(said(Vec::new()))),
        )
        .is_allowed
    };
    assert!(allowed(Level::Swarm, &[]));
    assert!(!allowed(Level::Trusted, &[]));
    assert!(allowed(Level::Trusted, &[node(2)]));
    assert!(!allowed(Level::Local, &[node(2)]));
}

#[test]
fn accelerators_count_together_and_before_the_processor() {
    let devices = [
        device(DeviceKind::Cuda, 10, Some(9e11)),
        device(DeviceKind::Cpu, 30, Some(2e10)),
        device(DeviceKind::Cuda, 6, Some(3e11)),
    ];
    let power = Power::of(&devices);
    assert_eq!(power.free_bytes, 16 * GIB);
    assert!((power.bandwidth.unwrap() / 3e11 - 1.0).abs() < 1e-6);
    assert!(!power.is_processor);
    let unmeasured = Power::of(&[device(DeviceKind::Cpu, 4, None)]);
    assert_eq!(unmeasured.bandwidth, None);
    assert!(unmeasured.is_processor);
    assert_eq!(Power::of(&[]).free_bytes, 0);
}

#[test]
fn distances_are_own_probes_and_what_peers_say_of_one_another() {
    let neighbour = |number, millis| Neighbour {
        node: node(number),
        rtt: Duration::from_millis(millis),
    };
    let mut second = said(Vec::new());
    second.neighbours = vec![neighbour(1, 1), neighbour(3, 30)];
    let mut third = said(Vec::new());
    third.neighbours = vec![neighbour(2, 34), neighbour(1, 5)];
    let peers = BTreeMap::from([
        (node(2), peer(Some(10), Some(second))),
        (node(3), peer(None, Some(third))),
    ]);
    let distances = distances(node(1), &peers);
    let ms = |millis| Some(Duration::from_millis(millis));
    assert_eq!(distances.between(node(1), node(2)), ms(10));
    assert_eq!(distances.between(node(1), node(3)), None);
    assert_eq!(distances.between(node(2), node(3)), ms(34));
}

#[test]
fn what_a_peer_has_on_disk_is_known_by_its_slices() {
    let (model, privacy) = (model(), PrivacyPolicy::default());
    let asking = asking(&model, &privacy);
    let slice = |model: &str, layers| HeldSlice {
        model: model.parse().unwrap(),
        quantization: "Q4_K_M".into(),
        first_layer: 4,
        last_layer: 9,
        model_layers: layers,
        content: ContentHash([0; 32]),
    };
    let mut profile = said(Vec::new());
    profile.slices = vec![
        slice("org/big", 40),
        slice("org/big", 41),
        slice("other", 40),
    ];
    let found = only(asking, peer(None, Some(profile)));
    assert_eq!(found.held, std::iter::once(4..9).collect::<Vec<_>>());
    let mut serving = said(Vec::new());
    serving.deployments = vec![Deployed {
        model: model.clone(),
        context_tokens: 1,
        parallel: 1,
        running: 0,
        queued: 0,
        prefill_tokens_per_second: None,
        decode_tokens_per_second: None,
        abilities: Abilities::default(),
    }];
    let found = only(asking, peer(None, Some(serving)));
    assert_eq!(found.held, std::iter::once(0..40).collect::<Vec<_>>());
}

#[test]
fn idle_models_make_room_and_busy_ones_do_not() {
    let (model, privacy) = (model(), PrivacyPolicy::default());
    let asking = asking(&model, &privacy);
    let devices = [device(DeviceKind::Cpu, 10, None)];
    let own = |limit, taken| Own {
        loads: true,
        taken,
        limit,
        uplink: None,
        devices: &devices,
    };
    let taken = Taken {
        busy_bytes: 3 * GIB,
        idle_bytes: 2 * GIB,
    };
    assert_eq!(own(None, taken).peer(asking).free_bytes, 12 * GIB);
    let limited = own(Some(8 * GIB), taken).peer(asking);
    assert_eq!(limited.free_bytes, 5 * GIB);
    assert_eq!(limited.held, std::iter::once(0..40).collect::<Vec<_>>());
}
