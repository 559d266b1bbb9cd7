//! Adverts: golden bytes, each limit, other versions, hostile bytes; queries and replies.

use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{
    envelope::Signed,
    generate::Bounded,
    ids::{ModelName, NodeId, Sequence, UnixMillis},
    limits::*,
};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn node(secret: u8) -> NodeId {
    NodeId::from(&SigningKey::from_bytes(&[secret; 32]))
}

fn profile() -> Profile {
    Profile {
        version: "0.1.0".into(),
        devices: vec![NodeDevice {
            kind: DeviceKind::Cuda,
            name: "H200".into(),
            memory_total_bytes: 141 << 30,
            memory_free_bytes: 100 << 30,
            prefill_tokens_per_second: Some(9000.0),
            bandwidth_bytes_per_second: None,
        }],
        limits: Limits {
            memory_bytes: Some(64 << 30),
            upload_bytes_per_second: None,
            serves_strangers: true,
        },
        slices: vec![HeldSlice {
            model: "org/repo:Q4_K_M".parse().unwrap(),
            quantization: "Q4_K_M".into(),
            first_layer: 0,
            last_layer: 16,
            model_layers: 32,
            content: ContentHash([9; 32]),
        }],
        deployments: vec![Deployed {
            model: "smollm2:135m".parse().unwrap(),
            context_tokens: 8192,
            parallel: 8,
            running: 3,
            queued: 1,
            prefill_tokens_per_second: Some(1500.0),
            decode_tokens_per_second: Some(80.5),
            abilities: Abilities::default(),
        }],
        neighbours: vec![Neighbour {
            node: node(2),
            rtt: Duration::from_micros(20_190),
        }],
        place: Some(Place {
            x_ms: 10.5,
            y_ms: -3.0,
            height_ms: 2.0,
            error: 0.25,
        }),
        nat: Nat::EndpointIndependent,
        addresses: vec!["/ip4/192.0.2.1/udp/4001/quic-v1".parse().unwrap()],
        swarm_size: Some(200),
        ..Profile::new("lab".parse().unwrap(), NodeRole::Server)
    }
}

/// The field that is refused after a change.
fn refused(change: impl FnOnce(&mut Advert)) -> Option<&'static str> {
    let mut advert = Advert::from(&profile());
    change(&mut advert);
    advert.validate().err().map(|error| error.field())
}

/// As many bytes as an advert may have, and more said than fits.
fn talkative() -> Profile {
    let long = |n: usize| format!("{}{n}", "m".repeat(MAX_MODEL_NAME_BYTES - 4));
    let mut profile = profile();
    profile.slices = (0..40)
        .map(|n| HeldSlice {
            model: long(n).parse().unwrap(),
            ..profile.slices[0].clone()
        })
        .collect();
    profile.deployments = (0..20)
        .map(|n| Deployed {
            model: long(n).parse().unwrap(),
            ..profile.deployments[0].clone()
        })
        .collect();
    let address = format!("/{}", "a".repeat(MAX_ADDRESS_BYTES - 1));
    profile.addresses = vec![address.parse().unwrap(); 20];
    profile.neighbours = (0..20)
        .map(|n| Neighbour {
            node: node(n),
            rtt: MAX_NEIGHBOUR_RTT,
        })
        .collect();
    profile
}

fn signed(secret: u8) -> Signed<Advert> {
    let key = SigningKey::from_bytes(&[secret; 32]);
    let expires = NOW.saturating_add(ADVERT_LIFETIME);
    Signed::sign(&key, Sequence(7), expires, &Advert::from(&profile())).unwrap()
}

#[test]
fn bytes_are_golden() {
    let bytes = hex::encode(Advert::from(&profile()).encode_to_vec());
    assert_eq!(bytes, include_str!("golden/advert.hex").trim());
    let envelope = hex::encode(signed(1).encode());
    assert_eq!(envelope, include_str!("golden/envelope.hex").trim());
}

#[test]
fn a_profile_survives_the_wire() {
    let signed = Signed::<Advert>::decode(&signed(1).encode()).unwrap();
    let verified = signed.verify(NOW).unwrap();
    assert_eq!(Profile::try_from(verified.message()), Ok(profile()));
    let least = Profile::new("public".parse().unwrap(), NodeRole::ApiClient);
    assert_eq!(Profile::try_from(&Advert::from(&least)), Ok(least));
}

#[test]
fn an_advert_of_a_usual_peer_is_small() {
    assert!(signed(1).encode().len() < 600);
}

#[test]
fn what_does_not_fit_is_left_out() {
    let advert = Advert::fitting(&talkative());
    assert!(advert.encoded_len() <= MAX_ADVERT_BYTES);
    assert_eq!(advert.validate(), Ok(()));
    assert!(!advert.addresses.is_empty() && !advert.deployments.is_empty());
    assert_eq!(Advert::fitting(&profile()), Advert::from(&profile()));
}

#[test]
fn lists_are_bounded() {
    let many = Advert::from(&talkative());
    let fields = [
        refused(|a| a.devices = vec![a.devices[0].clone(); MAX_DEVICES + 1]),
        refused(|a| a.slices = many.slices.clone()),
        refused(|a| a.deployments = many.deployments.clone()),
        refused(|a| a.neighbours = many.neighbours.clone()),
        refused(|a| a.addresses = many.addresses.clone()),
        refused(|a| a.coming = vec!["m".into(); MAX_ADVERT_COMING + 1]),
    ];
    let expected = [
        "devices",
        "slices",
        "deployments",
        "neighbours",
        "addresses",
        "coming",
    ];
    assert_eq!(fields, expected.map(Some));
}

#[test]
fn nothing_is_said_twice() {
    assert_eq!(
        refused(|a| a.deployments.push(a.deployments[0].clone())),
        Some("deployments")
    );
    assert_eq!(
        refused(|a| a.neighbours.push(a.neighbours[0].clone())),
        Some("neighbours")
    );
    assert_eq!(
        refused(|a| a.coming = vec!["m".into(), "m".into()]),
        Some("coming")
    );
}

#[test]
fn what_a_model_can_do_and_what_is_coming_survive_the_wire() {
    let mut said = profile();
    said.coming = vec!["org/soon".parse().unwrap()];
    said.deployments[0].abilities = Abilities {
        embeds: false,
        tools: true,
    };
    assert_eq!(Profile::try_from(&Advert::from(&said)), Ok(said));
    assert_eq!(refused(|a| a.coming = vec!["../x".into()]), Some("model"));
}

#[test]
fn texts_are_short_and_printable() {
    let cases = [
        refused(|a| a.swarm = "A".into()),
        refused(|a| a.version = "x".repeat(MAX_VERSION_BYTES + 1)),
        refused(|a| a.version = "1\u{1b}[2J".into()),
        refused(|a| a.devices[0].name = "x".repeat(MAX_DEVICE_NAME_BYTES + 1)),
        refused(|a| a.slices[0].model = "../x".into()),
        refused(|a| a.slices[0].quantization = "Q4/..".into()),
        refused(|a| a.deployments[0].model = String::new()),
        refused(|a| a.addresses[0] = "x".into()),
        refused(|a| a.addresses[0] = format!("/{}", "x".repeat(MAX_ADDRESS_BYTES))),
    ];
    let expected = [
        "swarm",
        "version",
        "version",
        "name",
        "model",
        "quantization",
        "model",
        "addresses",
        "addresses",
    ];
    assert_eq!(cases, expected.map(Some));
}

#[test]
fn numbers_are_finite_and_bounded() {
    fn place(a: &mut Advert) -> &mut wire::Coordinate {
        a.coordinate.as_mut().unwrap()
    }
    let cases = [
        refused(|a| a.devices[0].memory_total_bytes = u64::MAX),
        refused(|a| a.devices[0].memory_free_bytes = 142 << 30),
        refused(|a| a.devices[0].prefill_tokens_per_second = f32::NAN),
        refused(|a| a.devices[0].bandwidth_bytes_per_second = -1.0),
        refused(|a| a.limits.as_mut().unwrap().memory_bytes = Some(u64::MAX)),
        refused(|a| a.slices[0].first_layer = 16),
        refused(|a| a.slices[0].model_layers = 15),
        refused(|a| a.slices[0].model_layers = u32::MAX),
        refused(|a| a.slices[0].content_hash.truncate(31)),
        refused(|a| a.deployments[0].parallel = 0),
        refused(|a| a.deployments[0].running = 9),
        refused(|a| a.deployments[0].queued = u32::MAX),
        refused(|a| a.deployments[0].context_tokens = 0),
        refused(|a| a.deployments[0].decode_tokens_per_second = f32::INFINITY),
        refused(|a| a.neighbours[0].node_id = vec![0; 32]),
        refused(|a| a.neighbours[0].rtt_micros = 2_000_001),
        refused(|a| place(a).x_ms = 2000.5),
        refused(|a| place(a).y_ms = f32::NAN),
        refused(|a| place(a).height_ms = -0.1),
        refused(|a| place(a).error = 1.1),
        refused(|a| a.swarm_size = u32::MAX),
    ];
    assert!(cases.iter().all(Option::is_some), "{cases:?}");
}

#[test]
fn kinds_of_a_later_version_mean_unknown() {
    let mut advert = Advert::from(&profile());
    (advert.role, advert.nat, advert.devices[0].kind) = (99, 99, 99);
    let profile = Profile::try_from(&advert).unwrap();
    assert_eq!(profile.role, NodeRole::ApiClient);
    assert_eq!(profile.nat, Nat::Unspecified);
    assert_eq!(profile.devices[0].kind, DeviceKind::Unspecified);
}

/// An advert of a version that knows one more field.
#[derive(Clone, PartialEq, prost::Message)]
struct LaterAdvert {
    #[prost(string, tag = "1")]
    swarm: String,
    #[prost(string, tag = "1000")]
    news: String,
}

impl Payload for LaterAdvert {
    const LABEL: &'static str = Advert::LABEL;
    const MAX_BYTES: usize = MAX_ADVERT_BYTES;
    const MAX_LIFETIME: Duration = ADVERT_LIFETIME;
}

#[test]
fn fields_of_a_later_version_survive_a_hop() {
    let later = LaterAdvert {
        swarm: "lab".into(),
        news: "new".into(),
    };
    let key = SigningKey::from_bytes(&[1; 32]);
    let expires = NOW.saturating_add(ADVERT_LIFETIME);
    let bytes = Signed::sign(&key, Sequence(1), expires, &later)
        .unwrap()
        .encode();
    let verified = Signed::<Advert>::decode(&bytes).unwrap().verify(NOW);
    let verified = verified.unwrap();
    assert_eq!(verified.message().validate(), Ok(()));
    assert_eq!(verified.signed().encode(), bytes);
}

#[test]
fn whole_models_are_told_from_parts() {
    let mut slice = profile().slices[0].clone();
    assert!(!slice.is_whole());
    slice.last_layer = 32;
    assert!(slice.is_whole());
    let model: ModelName = "smollm2:135m".parse().unwrap();
    assert!(profile().deployment(&model).is_some());
}

#[test]
fn queries_and_replies_round_trip_within_bounds() {
    let query = AdvertQuery::of((0..100).map(node));
    assert_eq!(query.node_ids.len(), MAX_ADVERT_QUERY);
    let decoded = AdvertQuery::decode_bounded(&query.encode_to_vec()).unwrap();
    assert_eq!(decoded.nodes().unwrap()[3], node(3));

    let adverts = vec![signed(1); 100];
    let reply = AdvertReply::of(&adverts);
    let decoded = AdvertReply::decode_bounded(&reply.encode_to_vec()).unwrap();
    assert_eq!(decoded.adverts().unwrap(), adverts[..MAX_ADVERT_QUERY]);
    let largest = (MAX_ADVERT_BYTES + MAX_ENVELOPE_OVERHEAD_BYTES + 4) * MAX_ADVERT_QUERY;
    assert!(largest <= MAX_ADVERT_REPLY_BYTES);
}

#[test]
fn queries_and_replies_out_of_bounds_are_refused() {
    let long = AdvertQuery {
        node_ids: vec![node(1).as_bytes().to_vec(); 65],
    };
    assert_eq!(long.nodes(), Err(QueryError::TooMany(65)));
    let bad = AdvertQuery {
        node_ids: vec![vec![0; 32]],
    };
    assert!(matches!(bad.nodes(), Err(QueryError::Node(_))));
    let long = AdvertReply {
        envelopes: vec![Vec::new(); 65],
    };
    assert_eq!(long.adverts(), Err(ReplyError::TooMany(65)));
    let bad = AdvertReply {
        envelopes: vec![vec![0xff]],
    };
    assert!(matches!(bad.adverts(), Err(ReplyError::Envelope(_))));
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        let _ = Advert::decode(bytes.as_slice()).map(|advert| advert.validate());
        let _ = AdvertQuery::decode_bounded(&bytes).map(|query| query.nodes());
        let _ = AdvertReply::decode_bounded(&bytes).map(|reply| reply.adverts());
    }

    #[test]
    fn damaged_adverts_never_panic_and_what_is_accepted_is_stable(
        at: prop::sample::Index,
        bit in 0..8_u32,
    ) {
        let mut bytes = Advert::from(&profile()).encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let accepted = Advert::decode(bytes.as_slice())
            .ok()
            .and_then(|advert| Profile::try_from(&advert).ok());
        if let Some(profile) = accepted {
            prop_assert_eq!(Profile::try_from(&Advert::from(&profile)), Ok(profile));
        }
    }
}
