//! Leases: golden bytes, each limit, other versions, hostile bytes.

use std::time::Duration;

use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use prost::Message;

use super::{
    wire::{lease_reply::Reply, lease_request::Request},
    *,
};
use crate::{
    ids::{ChannelId, DeploymentId, LeaseId, ManifestId, NodeId},
    limits::*,
};

const LEASE: LeaseId = LeaseId(0x0102_0304_0506_0708);

fn node(secret: u8) -> NodeId {
    NodeId::from(&SigningKey::from_bytes(&[secret; 32]))
}

fn reserve() -> LeaseRequest {
    LeaseRequest::Reserve(Reserve {
        deployment: DeploymentId([5; 16]),
        model: ModelRef {
            name: "org/repo:Q4_K_M".parse().unwrap(),
            manifest: ManifestId::new([9; 32]),
            layers: 32,
        },
        first_layer: 8,
        last_layer: 16,
        cells: 65_536,
        sequences: 8,
        batch_tokens: 512,
        precision: Precision::Bf16,
        is_spare: true,
    })
}

fn link() -> LeaseRequest {
    LeaseRequest::Link(Link {
        lease: LEASE,
        previous: node(1),
        next: node(2),
        next_channel: ChannelId(7),
        generation: 3,
    })
}

fn requests() -> [(LeaseRequest, &'static str); 4] {
    [
        (reserve(), include_str!("golden/reserve.hex")),
        (link(), include_str!("golden/link.hex")),
        (LeaseRequest::Renew(LEASE), "1a09090807060504030201"),
        (LeaseRequest::Release(LEASE), "2209090807060504030201"),
    ]
}

fn state() -> StageState {
    StageState {
        phase: Phase::Loading,
        progress: 0.5,
        lapses_in: LEASE_LIFETIME,
        cause: "waits for layers 8 to 15".into(),
        decode_seconds: Some(0.25),
        slowness: Some(2.0),
    }
}

fn refused() -> Refused {
    Refused {
        code: Refusal::NoRoom,
        retry_after: Some(Duration::from_secs(60)),
        needed_bytes: 3 << 30,
        free_bytes: 2 << 30,
    }
}

fn replies() -> [(LeaseReply, &'static str); 4] {
    let granted = LeaseReply::Granted(Granted {
        lease: LEASE,
        channel: ChannelId(7),
        lapses_in: LEASE_LIFETIME,
        memory_bytes: 1 << 30,
    });
    [
        (granted, include_str!("golden/granted.hex")),
        (LeaseReply::State(state()), include_str!("golden/state.hex")),
        (LeaseReply::Released, "1a00"),
        (
            LeaseReply::Refused(refused()),
            include_str!("golden/refused.hex"),
        ),
    ]
}

/// The field that is refused after a change.
fn at_fault(change: impl FnOnce(&mut wire::Reserve)) -> Option<String> {
    let mut message = wire::LeaseRequest::decode(reserve().encode().as_slice()).unwrap();
    match &mut message.request {
        Some(Request::Reserve(reserve)) => change(reserve),
        _ => unreachable!(),
    }
    field(LeaseRequest::decode(&message.encode_to_vec()).err())
}

fn link_at_fault(change: impl FnOnce(&mut wire::Link)) -> Option<String> {
    let mut message = wire::LeaseRequest::decode(link().encode().as_slice()).unwrap();
    match &mut message.request {
        Some(Request::Link(link)) => change(link),
        _ => unreachable!(),
    }
    field(LeaseRequest::decode(&message.encode_to_vec()).err())
}

fn reply_at_fault(reply: Reply) -> Option<String> {
    let reply = Some(reply);
    let bytes = wire::LeaseReply { reply }.encode_to_vec();
    field(LeaseReply::decode(&bytes).err())
}

fn field(error: Option<LeaseMessageError>) -> Option<String> {
    match error? {
        LeaseMessageError::Field { field, .. } => Some(field.to_owned()),
        other => Some(other.to_string()),
    }
}

fn all(names: &[&str]) -> Vec<Option<String>> {
    names.iter().map(|name| Some((*name).to_owned())).collect()
}

#[test]
fn bytes_are_golden_and_read_back() {
    for (request, golden) in requests() {
        assert_eq!(hex::encode(request.encode()), golden.trim());
        assert_eq!(LeaseRequest::decode(&request.encode()), Ok(request));
    }
    for (reply, golden) in replies() {
        assert_eq!(hex::encode(reply.encode()), golden.trim());
        assert_eq!(LeaseReply::decode(&reply.encode()), Ok(reply));
    }
}

#[test]
fn a_request_names_its_lease() {
    let leases = requests().map(|(request, _)| request.lease());
    assert_eq!(leases, [None, Some(LEASE), Some(LEASE), Some(LEASE)]);
}

#[test]
fn each_request_has_its_replies() {
    let answers = replies().map(|(reply, _)| {
        let requests = requests();
        requests.map(|(request, _)| reply.answers(&request))
    });
    let expected = [
        [true, false, false, false],
        [false, true, true, false],
        [false, false, false, true],
        [true; 4],
    ];
    assert_eq!(answers, expected);
}

#[test]
fn reservations_are_within_their_limits() {
    fn model(r: &mut wire::Reserve) -> &mut wire::ModelRef {
        r.model.as_mut().unwrap()
    }
    let cases = [
        at_fault(|r| r.deployment.truncate(15)),
        at_fault(|r| r.model = None),
        at_fault(|r| model(r).name = "../x".into()),
        at_fault(|r| model(r).manifest.push(0)),
        at_fault(|r| model(r).layers = 0),
        at_fault(|r| model(r).layers = MAX_MODEL_LAYERS + 1),
        at_fault(|r| r.first_layer = 16),
        at_fault(|r| r.first_layer = u32::MAX),
        at_fault(|r| r.last_layer = 33),
        at_fault(|r| r.cells = 0),
        at_fault(|r| r.cells = MAX_LEASE_CELLS + 1),
        at_fault(|r| r.sequences = 0),
        at_fault(|r| r.sequences = 257),
        at_fault(|r| r.batch_tokens = 0),
        at_fault(|r| r.batch_tokens = MAX_LEASE_BATCH_TOKENS + 1),
    ];
    let expected = all(&[
        "deployment",
        "model",
        "name",
        "manifest",
        "layers",
        "layers",
        "last_layer",
        "last_layer",
        "last_layer",
        "cells",
        "cells",
        "sequences",
        "sequences",
        "batch_tokens",
        "batch_tokens",
    ]);
    assert_eq!(cases.to_vec(), expected);
    assert_eq!(at_fault(|r| r.last_layer = 32), None);
}

#[test]
fn links_name_nodes() {
    let cases = [
        link_at_fault(|l| l.previous = vec![0; 32]),
        link_at_fault(|l| l.next.truncate(31)),
    ];
    assert_eq!(cases.to_vec(), all(&["previous", "next"]));
}

#[test]
fn replies_are_within_their_limits() {
    let state = |change: &dyn Fn(&mut wire::State)| {
        let mut state = wire::State::default();
        change(&mut state);
        reply_at_fault(Reply::State(state))
    };
    let cases = [
        state(&|s| s.progress = f32::NAN),
        state(&|s| s.progress = 1.5),
        state(&|s| s.lapses_in_ms = u32::MAX),
        state(&|s| s.cause = "x".repeat(MAX_LEASE_CAUSE_BYTES + 1)),
        state(&|s| s.cause = "a\u{1b}[2J".into()),
        state(&|s| s.decode_seconds = f32::INFINITY),
        state(&|s| s.decode_seconds = -1.0),
        state(&|s| s.slowness = f32::NAN),
        state(&|s| s.slowness = MAX_SLOWNESS * 2.0),
        reply_at_fault(Reply::Granted(wire::Granted {
            memory_bytes: u64::MAX,
            ..wire::Granted::default()
        })),
        reply_at_fault(Reply::Refused(wire::Refused {
            retry_after_ms: u32::MAX,
            ..wire::Refused::default()
        })),
        reply_at_fault(Reply::Refused(wire::Refused {
            needed_bytes: u64::MAX,
            ..wire::Refused::default()
        })),
    ];
    let expected = all(&[
        "progress",
        "progress",
        "lapses_in_ms",
        "cause",
        "cause",
        "decode_seconds",
        "decode_seconds",
        "slowness",
        "slowness",
        "memory_bytes",
        "retry_after_ms",
        "needed_bytes",
    ]);
    assert_eq!(cases.to_vec(), expected);
}

#[test]
fn a_local_errors_text_is_cut_to_one_line() {
    let said = StageState {
        cause: format!("a\nb{}", "ü".repeat(MAX_LEASE_CAUSE_BYTES)),
        ..state()
    };
    let reply = LeaseReply::decode(&LeaseReply::State(said).encode()).unwrap();
    let LeaseReply::State(heard) = reply else {
        panic!("a state");
    };
    assert!(heard.cause.starts_with("a bü"));
    assert_eq!(heard.cause.len(), MAX_LEASE_CAUSE_BYTES - 1);
}

#[test]
fn the_longest_messages_fit_their_limit() {
    let LeaseRequest::Reserve(mut longest) = reserve() else {
        panic!("a reservation");
    };
    longest.model.name = "m".repeat(MAX_MODEL_NAME_BYTES).parse().unwrap();
    let said = StageState {
        cause: "x".repeat(MAX_LEASE_CAUSE_BYTES),
        ..state()
    };
    let request = LeaseRequest::Reserve(longest).encode().len();
    let reply = LeaseReply::State(said).encode().len();
    assert!(request.max(reply) * 2 < MAX_LEASE_BYTES);
    let long = vec![0; MAX_LEASE_BYTES + 1];
    assert!(LeaseRequest::decode(&long).is_err_and(|error| error.is_violation()));
    assert!(LeaseReply::decode(&long).is_err_and(|error| error.is_violation()));
}

#[test]
fn what_a_later_version_says_is_no_violation() {
    // A request and a reply of a kind, and an enum's number, that this version does not know.
    let kind = [0xa2, 0x06, 0x00];
    let unknown = |what| LeaseMessageError::Unknown(what);
    assert_eq!(LeaseRequest::decode(&kind), Err(unknown("request")));
    assert_eq!(LeaseReply::decode(&kind), Err(unknown("reply")));
    assert!(!unknown("reply").is_violation());
    let precision = at_fault(|r| r.precision = 99);
    assert_eq!(precision, Some(unknown("precision").to_string()));

    let reply = Some(Reply::State(wire::State {
        phase: 99,
        ..wire::State::default()
    }));
    let bytes = wire::LeaseReply { reply }.encode_to_vec();
    let heard = LeaseReply::decode(&bytes).unwrap();
    assert!(matches!(heard, LeaseReply::State(s) if s.phase == Phase::Loading));
    let reply = Some(Reply::Refused(wire::Refused {
        code: 99,
        ..wire::Refused::default()
    }));
    let bytes = wire::LeaseReply { reply }.encode_to_vec();
    let heard = LeaseReply::decode(&bytes);
    assert_eq!(heard, Ok(LeaseReply::Refused(Refusal::Other.into())));
}

#[test]
fn fields_of_a_later_version_are_passed_over() {
    let mut bytes = reserve().encode();
    bytes.extend_from_slice(&[0x98, 0x06, 0x01]);
    assert_eq!(LeaseRequest::decode(&bytes), Ok(reserve()));
}

/// What is accepted can be said again, and means the same.
fn is_stable(bytes: &[u8]) -> bool {
    let request = LeaseRequest::decode(bytes);
    let reply = LeaseReply::decode(bytes);
    let same_request = |r: LeaseRequest| LeaseRequest::decode(&r.encode()) == Ok(r);
    let same_reply = |r: LeaseReply| LeaseReply::decode(&r.encode()) == Ok(r);
    request.map_or(true, same_request) && reply.map_or(true, same_reply)
}

#[test]
fn a_peer_that_is_about_to_leave_says_so() {
    let said = LeaseReply::State(StageState {
        phase: Phase::Draining,
        ..state()
    });
    assert_eq!(LeaseReply::decode(&said.encode()), Ok(said));
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        prop_assert!(is_stable(&bytes));
    }

    #[test]
    fn damaged_messages_never_panic_and_what_is_accepted_is_stable(
        which in 0..8_usize,
        at: prop::sample::Index,
        bit in 0..8_u32,
    ) {
        let requests = requests().map(|(request, _)| request.encode());
        let replies = replies().map(|(reply, _)| reply.encode());
        let mut bytes = [requests, replies].concat().swap_remove(which);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(is_stable(&bytes));
    }
}
