//! Messages round-trip, and what is no message is refused.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;

use super::*;
use crate::engine::{
    Delta, FinishReason, Grammar, Resume, Sampling, Speculate, Timing, TokenLogprob,
};
use proptest::prelude::*;

fn prompt() -> impl Strategy<Value = Prompt> {
    prop_oneof![
        (".*", any::<bool>()).prop_map(|(text, parse_special)| Prompt::Text {
            text,
            parse_special
        }),
        any::<Vec<u32>>().prop_map(Prompt::Tokens),
        (".*", ".*").prop_map(|(prefix, suffix)| Prompt::Infill { prefix, suffix }),
    ]
}

fn grammar() -> impl Strategy<Value = Grammar> {
    prop_oneof![
        Just(Grammar::None),
        Just(Grammar::JsonObject),
        ".*".prop_map(Grammar::JsonSchema),
        ".*".prop_map(Grammar::Gbnf),
    ]
}

prop_compose! {
    fn sampling()(numbers in any::<[i16; 6]>(), top_k in any::<u32>(),
                  logit_bias in any::<Vec<(u32, i16)>>()) -> Sampling {
        let bias = |(token, value): (u32, i16)| (token, f32::from(value));
        let [temperature, top_p, min_p, repeat_penalty, presence_penalty, frequency_penalty] =
            numbers.map(f32::from);
        Sampling {
            temperature, top_p, top_k, min_p, repeat_penalty, presence_penalty, frequency_penalty,
            logit_bias: logit_bias.into_iter().map(bias).collect(),
        }
    }
}

prop_compose! {
    fn job()(request_id in ".*", prompt in prompt(), sampling in sampling(), seed in any::<u64>(),
             max_tokens in any::<Option<u32>>(), stop in any::<Vec<String>>(),
             grammar in grammar(), logprobs in any::<Option<u8>>(), flags in any::<[bool; 2]>(),
             resume in any::<Option<(Vec<u32>, u32)>>()) -> Job {
        Job {
            request_id, prompt, sampling, seed, max_tokens, stop, grammar, logprobs,
            prompt_logprobs: flags[0],
            show_special: flags[1],
            resume: resume.map(|(tokens, sent)| Resume { tokens, sent_text_bytes: sent as usize }),
        }
    }
}

fn job_error() -> impl Strategy<Value = JobError> {
    prop_oneof![
        any::<[u32; 2]>().prop_map(|[prompt_tokens, context_length]| {
            JobError::ContextLengthExceeded {
                prompt_tokens,
                context_length,
            }
        }),
        any::<u32>().prop_map(|waiting| JobError::Overloaded { waiting }),
        ".*".prop_map(JobError::Grammar),
        ".*".prop_map(JobError::Invalid),
        ".*".prop_map(JobError::Unsupported),
        Just(JobError::WorkerLost),
        ".*".prop_map(JobError::LoadFailed),
        Just(JobError::Stopping),
        ".*".prop_map(JobError::Inference),
    ]
}

fn scored() -> impl Strategy<Value = TokenLogprob> {
    let bare = (any::<u32>(), any::<Vec<u8>>(), any::<Option<i16>>());
    let bare = bare.prop_map(|(token, bytes, logprob)| TokenLogprob {
        token,
        bytes,
        logprob: logprob.map(f32::from),
        top: Vec::new(),
    });
    (bare.clone(), proptest::collection::vec(bare, 0..3))
        .prop_map(|(token, top)| TokenLogprob { top, ..token })
}

fn event() -> impl Strategy<Value = Event> {
    let all_scored = || proptest::collection::vec(scored(), 0..3);
    prop_oneof![
        any::<u32>().prop_map(|position| Event::Queued { position }),
        (any::<[u32; 2]>(), all_scored()).prop_map(|([prompt_tokens, cached_tokens], prompt)| {
            Event::Started {
                prompt_tokens,
                cached_tokens,
                prompt,
            }
        }),
        (".*", any::<Vec<u32>>(), all_scored()).prop_map(|(text, tokens, logprobs)| {
            Event::Delta(Delta {
                text,
                tokens,
                logprobs,
            })
        }),
        (
            any::<bool>(),
            any::<Option<String>>(),
            any::<u32>(),
            any::<[u64; 3]>()
        )
            .prop_map(
                |(stop_reason, stop, completion_tokens, micros)| Event::Finished {
                    reason: match stop_reason {
                        true => FinishReason::Stop,
                        false => FinishReason::Length,
                    },
                    stop,
                    completion_tokens,
                    timing: Timing {
                        queued_micros: micros[0],
                        prefill_micros: micros[1],
                        decode_micros: micros[2],
                    },
                }
            ),
        job_error().prop_map(Event::Failed),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    let vectors = any::<Vec<Vec<i16>>>().prop_map(|vectors| {
        let vector = |vector: Vec<i16>| vector.into_iter().map(f32::from).collect();
        vectors.into_iter().map(vector).collect()
    });
    prop_oneof![
        Just(Reply::Accepted),
        job_error().prop_map(Reply::Refused),
        event().prop_map(Reply::Event),
        (vectors, any::<u32>()).prop_map(|(vectors, tokens)| Reply::Embedded(vectors, tokens)),
        any::<Vec<u32>>().prop_map(Reply::Tokenized),
        ".*".prop_map(Reply::Detokenized),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        job().prop_map(|job| Ask::Generate(Box::new(job))),
        proptest::collection::vec(prompt(), 0..4).prop_map(Ask::Embed),
        (".*", any::<bool>()).prop_map(|(text, parse_special)| Ask::Tokenize {
            text,
            parse_special
        }),
        any::<Vec<u32>>().prop_map(Ask::Detokenize),
    ]
}

prop_compose! {
    fn options()(model in ".*", context_length in any::<Option<u32>>(), parallel in 1_u32..,
                 threads in any::<Option<u32>>(), gpu_layers in any::<Option<u32>>(),
                 memory_limit_bytes in any::<Option<u64>>(), queue_limit in any::<u32>(),
                 cells in any::<Option<u32>>(), speculate in prop::sample::select(Speculate::ALL.to_vec()),
                 draft in any::<Option<String>>())
                 -> LoadOptions {
        LoadOptions {
            model: PathBuf::from(model), context_length, parallel, threads, gpu_layers,
            memory_limit_bytes, queue_limit, cells, speculate, draft: draft.map(PathBuf::from),
        }
    }
}

prop_compose! {
    fn device()(texts in any::<[String; 3]>(), kind in 0_u32..4, memory in any::<[u64; 2]>())
                -> Device {
        let [name, description, backend] = texts;
        Device {
            name, description, backend,
            kind: kind.try_into().unwrap(),
            memory_free_bytes: memory[0],
            memory_total_bytes: memory[1],
        }
    }
}

fn message() -> impl Strategy<Value = Message> {
    let id = || any::<u64>().prop_map(RequestId);
    let hello = prop_oneof![
        options().prop_map(Task::Load),
        Just(Task::Devices),
        any::<Option<u32>>().prop_map(Task::Measure)
    ];
    let measurement = (device(), any::<[u32; 2]>(), any::<bool>());
    let measurement = measurement.prop_map(|(device, figures, failed)| Measurement {
        device,
        bytes_per_second: figures[0].into(),
        flops: figures[1].into(),
        failure: failed.then(|| "cause".to_owned()),
    });
    prop_oneof![
        (any::<u32>(), hello).prop_map(|(version, task)| Message::Hello { version, task }),
        (id(), ask()).prop_map(|(id, ask)| Message::Ask(id, ask)),
        id().prop_map(Message::Cancel),
        (id(), any::<u32>()).prop_map(|(id, events)| Message::Credit(id, events)),
        (0.0_f32..=1.0).prop_map(Message::Loading),
        any::<[u32; 4]>().prop_map(|n| Message::Ready(ModelInfo {
            vocab_size: n[0],
            embedding_length: n[1],
            context_length: n[2],
            parallel: n[3],
            model_bytes: 7,
            infill: n[0] % 2 == 0,
            embeddings: n[1] % 2 == 0,
        })),
        ".*".prop_map(Message::LoadRefused),
        (id(), reply()).prop_map(|(id, reply)| Message::Reply(id, reply)),
        any::<[u64; 4]>().prop_map(|n| Message::Stats(Load {
            memory_bytes: n[0],
            prefill_tokens: n[1],
            cached_tokens: n[2],
            decode_tokens: n[3],
            ..Load::default()
        })),
        proptest::collection::vec(device(), 0..3).prop_map(Message::Devices),
        proptest::collection::vec(measurement, 0..3).prop_map(Message::Measured),
    ]
}

proptest! {
    /// Any messages survive the wire, however their bytes are cut into reads.
    #[test]
    fn round_trips(messages in proptest::collection::vec(message(), 1..4), cut in 1_usize..64) {
        let mut bytes = BytesMut::new();
        for message in &messages {
            encode(message.clone(), &mut bytes).unwrap();
        }
        let mut read = BytesMut::new();
        let mut got = Vec::new();
        for chunk in bytes.chunks(cut) {
            read.extend_from_slice(chunk);
            while let Some(message) = take(&mut read).unwrap() {
                got.push(message);
            }
        }
        prop_assert!(read.is_empty());
        prop_assert_eq!(got, messages);
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = decode(&bytes);
        let mut read = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = take(&mut read) {}
    }

    #[test]
    fn damaged_messages_never_panic(message in message(), at in any::<usize>(), byte in any::<u8>()) {
        let mut bytes = BytesMut::new();
        encode(message, &mut bytes).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = decode(&bytes[PREFIX_BYTES..]);
    }
}

#[test]
fn a_frame_over_the_limit_is_refused_before_memory_is_set_aside() {
    let mut read = BytesMut::from(&u32::MAX.to_be_bytes()[..]);
    assert!(matches!(take(&mut read), Err(IpcError::TooLarge { .. })));
    assert!(read.capacity() < 4096);
    let large = Message::LoadRefused("x".repeat(MAX_FRAME_BYTES + 1));
    let mut out = BytesMut::new();
    assert!(matches!(
        encode(large, &mut out),
        Err(IpcError::TooLarge { .. })
    ));
    assert!(out.is_empty());
}

#[test]
fn what_cannot_be_is_refused() {
    assert!(matches!(decode(&[]), Err(IpcError::Missing("body"))));
    // A hello of this version (field 2, then field 1) without a task.
    assert!(matches!(
        decode(&[0x12, 2, 8, 1]),
        Err(IpcError::Missing("task"))
    ));
    // A job (field 3) with nothing in it.
    assert!(matches!(
        decode(&[0x1a, 0]),
        Err(IpcError::Missing("prompt"))
    ));
}
