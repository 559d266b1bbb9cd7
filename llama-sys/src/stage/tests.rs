//! Payloads there and back, and bytes that are none.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::core::scheduler::JobId;
use crate::core::slots::{KvOp, ParkId, SlotId};
use crate::core::speculation::Spent;
use crate::engine::{Grammar, Sampling};

fn slot() -> impl Strategy<Value = SlotId> {
    any::<u32>().prop_map(SlotId)
}

fn op() -> impl Strategy<Value = KvOp> {
    let length = || 0usize..1 << 30;
    let id = || any::<u64>().prop_map(ParkId);
    prop_oneof![
        (slot(), length()).prop_map(|(slot, keep)| KvOp::Cut { slot, keep }),
        (slot(), slot(), length()).prop_map(|(from, to, len)| KvOp::Share { from, to, len }),
        (slot(), id()).prop_map(|(slot, id)| KvOp::Park { slot, id }),
        (id(), slot()).prop_map(|(id, slot)| KvOp::Unpark { id, slot }),
        id().prop_map(|id| KvOp::Discard { id }),
    ]
}

fn part() -> impl Strategy<Value = Part> {
    let wanted = prop_oneof![
        (1usize..5).prop_map(|n| (n, Wanted::Nothing)),
        (1usize..5, any::<u64>()).prop_map(|(n, position)| (n, Wanted::Token { position })),
        (vec(any::<u32>(), 0..4), 0usize..3, option::of(any::<u64>())).prop_map(
            |(next, more, position)| {
                (
                    (next.len() + more).max(1),
                    Wanted::Prompt { next, position },
                )
            }
        ),
        (
            vec(any::<u32>(), 1..4),
            any::<u64>(),
            option::of(any::<u32>())
        )
            .prop_map(|(drafts, position, assumed)| {
                let n = drafts.len() + 1;
                let wanted = Wanted::Window {
                    position,
                    assumed,
                    drafts,
                };
                (n, wanted)
            }),
    ];
    (any::<u64>(), slot(), 0usize..1 << 20, wanted).prop_map(|(job, slot, keep_n, (n, wanted))| {
        Part {
            job: JobId(job),
            slot,
            keep_n,
            n,
            wanted,
        }
    })
}

fn opening() -> impl Strategy<Value = Opening> {
    let grammar = prop_oneof![
        Just(Grammar::None),
        Just(Grammar::JsonObject),
        "[a-z]{0,9}".prop_map(Grammar::JsonSchema),
        "[a-z]{0,9}".prop_map(Grammar::Gbnf),
    ];
    let tokens = || vec(any::<u32>(), 0..5);
    let bias = vec((any::<u32>(), -9.0_f32..9.0), 0..3);
    (
        any::<u64>(),
        grammar,
        option::of(0u8..21),
        tokens(),
        tokens(),
        bias,
    )
        .prop_map(
            |(job, grammar, logprobs, recent, answer, logit_bias)| Opening {
                job: JobId(job),
                voice: Voice {
                    sampling: Sampling {
                        logit_bias,
                        ..Sampling::default()
                    },
                    seed: job ^ 5,
                    grammar,
                    logprobs,
                    recent,
                },
                answer,
            },
        )
}

fn failure() -> impl Strategy<Value = Failure> {
    let cause = prop_oneof![
        Just(Cause::Missing),
        "[a-z ]{0,99}".prop_map(Cause::Refused)
    ];
    prop_oneof![
        (any::<u64>(), slot(), cause).prop_map(|(job, slot, cause)| Failure::Part {
            job: JobId(job),
            slot,
            cause
        }),
        slot().prop_map(Failure::Slot),
        any::<u64>().prop_map(|id| Failure::Park(ParkId(id))),
    ]
}

fn logprob() -> impl Strategy<Value = RawLogprob> {
    let top = vec((any::<u32>(), -50.0_f32..0.0), 0..4);
    (any::<u32>(), -50.0_f32..0.0, top).prop_map(|(token, logprob, top)| RawLogprob {
        token,
        logprob,
        top,
    })
}

fn given() -> impl Strategy<Value = Given> {
    let job = || any::<u64>().prop_map(JobId);
    prop_oneof![
        (job(), any::<u32>(), option::of(logprob())).prop_map(|(job, token, logprob)| {
            Given::Token {
                job,
                token: logprob.as_ref().map_or(token, |known| known.token),
                logprob,
            }
        }),
        job().prop_map(|job| Given::Nothing { job }),
        (job(), 0usize..1 << 20, logprob()).prop_map(|(job, at, logprob)| Given::Prompt {
            job,
            at,
            logprob
        }),
    ]
}

fn rows(parts: &[Part], precision: Precision, width: usize) -> TokenRows {
    let n: usize = parts.iter().map(|part| part.n).sum();
    let mut bytes = BytesMut::new();
    for at in 0..n {
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let row: Vec<f32> = (0..width).map(|x| (at * 7 + x) as f32).collect();
        precision.put(&row, &mut bytes);
    }
    TokenRows {
        precision,
        width,
        bytes: bytes.freeze(),
    }
}

fn forward() -> impl Strategy<Value = Forward> {
    let precision = prop_oneof![
        Just(Precision::F32),
        Just(Precision::Bf16),
        Just(Precision::Q8)
    ];
    let lists = (
        vec(op(), 0..5),
        vec(part(), 0..5),
        vec(opening(), 0..3),
        vec(any::<u64>().prop_map(JobId), 0..3),
        vec(failure(), 0..3),
    );
    (any::<u64>(), lists, precision, 1usize..50).prop_map(
        |(batch, (ops, parts, open, close, failures), precision, width)| Forward {
            ring: batch / 3,
            batch,
            ops,
            hidden: rows(&parts, precision, width),
            parts,
            open,
            close,
            failures,
            spent: Spent::default()
                .and(Duration::from_micros(batch / 7))
                .and(Duration::from_micros(batch / 5)),
        },
    )
}

proptest! {
    #[test]
    fn forwards_come_through(forward in forward()) {
        let bytes = forward.clone().encode().unwrap();
        prop_assert_eq!(Forward::decode(bytes).unwrap(), forward);
    }

    #[test]
    fn backs_come_through(
        batch in any::<u64>(), given in vec(given(), 0..5), failures in vec(failure(), 0..5)
    ) {
        let spent = Spent::default().and(Duration::from_micros(batch / 5));
        let back = Back { ring: batch / 3, batch, given, failures, spent };
        prop_assert_eq!(Back::decode(back.clone().encode().unwrap()).unwrap(), back);
    }

    #[test]
    fn bytes_that_are_no_payload_are_refused(
        forward in forward(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = forward.encode().unwrap();
        let _ = Forward::decode(whole.slice(..cut.index(whole.len())));
        let mut broken = whole.to_vec();
        broken[at.index(whole.len())] = byte;
        if let Ok(forward) = Forward::decode(Bytes::from(broken)) {
            let rows: usize = forward.parts.iter().map(|part| part.n).sum();
            prop_assert_eq!(rows, forward.hidden.len());
        }
    }

    #[test]
    fn garbage_is_refused(bytes in vec(any::<u8>(), 0..200)) {
        let _ = Forward::decode(Bytes::from(bytes.clone()));
        let _ = Back::decode(Bytes::from(bytes));
    }
}

#[test]
fn rows_and_parts_must_agree() {
    let part = Part {
        job: JobId(1),
        slot: SlotId(0),
        keep_n: 0,
        n: 2,
        wanted: Wanted::Token { position: 0 },
    };
    let forward = Forward {
        ring: 0,
        batch: 0,
        ops: Vec::new(),
        hidden: rows(std::slice::from_ref(&part), Precision::F32, 4),
        parts: vec![part],
        open: Vec::new(),
        close: Vec::new(),
        failures: Vec::new(),
        spent: Spent::default(),
    };
    let mut numbers = Vec::new();
    forward.hidden.take(1, 1, &mut numbers);
    assert_eq!(numbers, [7.0, 8.0, 9.0, 10.0]);
    let mut more = forward.clone();
    more.parts[0].n = 3;
    let refused = Forward::decode(more.encode().unwrap());
    assert!(matches!(refused, Err(PayloadError::Bad("number of rows"))));
    let mut huge = forward.clone();
    huge.parts[0].n = usize::MAX;
    assert!(Forward::decode(huge.encode().unwrap()).is_err());
    let mut none = forward;
    none.hidden.width = 0;
    assert!(Forward::decode(none.encode().unwrap()).is_err());
}

#[test]
fn what_is_too_large_is_not_sent() {
    let rows = rows_that_fit(Precision::F32, 8192);
    assert_eq!(rows, 240);
    let forward = |rows: usize| Forward {
        ring: 0,
        batch: 0,
        ops: Vec::new(),
        parts: vec![Part {
            job: JobId(1),
            slot: SlotId(0),
            keep_n: 0,
            n: rows,
            wanted: Wanted::Nothing,
        }],
        open: Vec::new(),
        close: Vec::new(),
        failures: Vec::new(),
        spent: Spent::default(),
        hidden: TokenRows {
            precision: Precision::F32,
            width: 8192,
            bytes: vec![0; rows * 8192 * 4].into(),
        },
    };
    assert!(forward(rows).encode().is_ok());
    let refused = forward(rows + 20).encode();
    assert!(matches!(refused, Err(PayloadError::TooLarge(_))));
}

/// The bytes of version 1: what is sent between peers of different builds does not change.
#[test]
fn golden_bytes() {
    let back = Back {
        ring: 1,
        batch: 3,
        given: vec![Given::Token {
            job: JobId(5),
            token: 7,
            logprob: None,
        }],
        failures: vec![Failure::Slot(SlotId(2))],
        spent: Spent::default(),
    };
    let bytes = back.encode().unwrap();
    assert_eq!(
        &bytes[..],
        [14, 0, 0, 0, 8, 3, 18, 4, 8, 5, 16, 7, 26, 2, 16, 2, 32, 1]
    );
}
