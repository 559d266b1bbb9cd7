//! The wire form of every message: golden bytes, other versions, hostile bytes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

pub(super) fn generate_request() -> GenerateRequest {
    GenerateRequest {
        request_id: "req-1".into(),
        model: "org/repo:Q4_K_M".into(),
        prompt: Some(generate_request::Prompt::Chat(ChatPrompt {
            messages_json: r#"[{"role":"user","content":"hi"}]"#.into(),
            tools_json: r#"[{"type":"function"}]"#.into(),
            tool_choice: Some(ToolChoice {
                mode: tool_choice::Mode::Function.into(),
                function: "f".into(),
            }),
            parallel_tool_calls: true,
            template_kwargs_json: "{}".into(),
        })),
        sampling: Some(Sampling {
            temperature: Some(0.5),
            top_p: Some(0.9),
            top_k: Some(40),
            min_p: Some(0.05),
            repeat_penalty: Some(1.1),
            presence_penalty: Some(-0.5),
            frequency_penalty: Some(0.25),
            logit_bias: vec![LogitBias {
                token: 7,
                bias: -100.0,
            }],
            seed: Some(u64::MAX),
        }),
        max_tokens: Some(64),
        stop: vec!["\n\n".into()],
        format: Some(OutputFormat {
            format: Some(output_format::Format::JsonSchema("{}".into())),
        }),
        top_logprobs: Some(0),
        prompt_logprobs: true,
        privacy: Privacy::Trusted.into(),
        resume: Some(Resume {
            tokens: vec![1, 300],
            sent_text_bytes: 9,
        }),
    }
}

pub(super) fn embed_request() -> EmbedRequest {
    EmbedRequest {
        request_id: "req-2".into(),
        model: "m".into(),
        inputs: vec![
            EmbedInput {
                input: Some(embed_input::Input::Text("hi".into())),
            },
            EmbedInput {
                input: Some(embed_input::Input::Tokens(TokenPrompt {
                    tokens: vec![1, 2],
                })),
            },
        ],
        dimensions: Some(256),
        privacy: Privacy::Local.into(),
    }
}

fn event(event: generate_event::Event) -> GenerateEvent {
    GenerateEvent { event: Some(event) }
}

fn logprob() -> TokenLogprob {
    TokenLogprob {
        token: 5,
        text: vec![0xe2, 0x82],
        logprob: Some(-0.5),
        top: vec![TokenLogprob {
            token: 6,
            ..TokenLogprob::default()
        }],
    }
}

fn started() -> GenerateEvent {
    event(generate_event::Event::Started(Started {
        model: "m".into(),
        served_by: "p".into(),
        prompt_tokens: 10,
        cached_tokens: 4,
        seed: 1,
        prompt: vec![logprob()],
        prompt_text: "hi".into(),
    }))
}

fn delta() -> GenerateEvent {
    event(generate_event::Event::Delta(Delta {
        text: "é".into(),
        reasoning: "r".into(),
        tool_calls: vec![ToolCallDelta {
            index: 1,
            id: "call_1".into(),
            name: "f".into(),
            arguments: "{".into(),
        }],
        tokens: vec![5],
        logprobs: vec![logprob()],
    }))
}

fn finished() -> GenerateEvent {
    event(generate_event::Event::Finished(Finished {
        reason: FinishReason::ToolCalls.into(),
        completion_tokens: 3,
        stop: "\n".into(),
        timing: Some(Timing {
            queued_micros: 1,
            prefill_micros: 2,
            decode_micros: 3,
        }),
        served_by: Vec::new(),
    }))
}

fn failed() -> GenerateEvent {
    let failure = Failure::new(ErrorCode::Overloaded, "full")
        .with_param("model")
        .with_retry_after(2);
    event(generate_event::Event::Failed(failure))
}

fn embed_response() -> EmbedResponse {
    EmbedResponse {
        embeddings: vec![Embedding {
            values: vec![0.6, -0.8],
        }],
        prompt_tokens: 2,
        model: "m".into(),
        served_by: String::new(),
    }
}

/// Compares with the checked-in bytes, and reads them back.
#[track_caller]
fn assert_golden<M: Bounded + PartialEq + std::fmt::Debug>(message: &M, golden: &str) {
    assert_eq!(hex::encode(message.encode_to_vec()), golden.trim());
    let bytes = hex::decode(golden.trim()).unwrap();
    assert_eq!(&M::decode_bounded(&bytes).unwrap(), message);
}

#[test]
fn messages_are_golden() {
    assert_golden(
        &generate_request(),
        include_str!("golden/generate_request.hex"),
    );
    assert_golden(&embed_request(), include_str!("golden/embed_request.hex"));
    assert_golden(&embed_response(), include_str!("golden/embed_response.hex"));
}

#[test]
fn replies_of_embeddings_are_golden() {
    use embed_reply::Reply;
    let golden = |reply: Reply, bytes: &str| {
        assert_golden(&EmbedReply { reply: Some(reply) }, bytes);
    };
    golden(Reply::Queued(Queued { position: 5 }), "0a020805");
    let response = include_str!("golden/embed_response.hex").trim();
    golden(
        Reply::Response(embed_response()),
        &format!("1211{response}"),
    );
    let failure = Failure::new(ErrorCode::Overloaded, "full");
    golden(Reply::Failed(failure), "1a080805120466756c6c");
}

#[test]
fn events_are_golden() {
    let queued = event(generate_event::Event::Queued(Queued { position: 5 }));
    assert_golden(&queued, "0a020805");
    assert_golden(&started(), include_str!("golden/started.hex"));
    assert_golden(&delta(), include_str!("golden/delta.hex"));
    assert_golden(&finished(), include_str!("golden/finished.hex"));
    assert_golden(&failed(), include_str!("golden/failed.hex"));
}

#[test]
fn every_kind_of_prompt_is_golden() {
    use generate_request::Prompt;
    let golden = |prompt: Prompt, bytes: &str| {
        let request = GenerateRequest {
            prompt: Some(prompt),
            ..GenerateRequest::default()
        };
        assert_golden(&request, bytes);
    };
    golden(Prompt::Text("hi".into()), "22026869");
    golden(
        Prompt::Tokens(TokenPrompt { tokens: vec![1, 2] }),
        "2a040a020102",
    );
    let (prefix, suffix) = ("a".into(), "b".into());
    golden(
        Prompt::Infill(InfillPrompt { prefix, suffix }),
        "32060a0161120162",
    );
}

#[test]
fn error_codes_keep_their_numbers() {
    let numbers = ErrorCode::ALL.map(i32::from);
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let names: BTreeSet<_> = ErrorCode::ALL.iter().map(|c| c.as_str_name()).collect();
    assert_eq!(names.len(), ErrorCode::ALL.len());
    assert!(
        ErrorCode::try_from(13).is_err(),
        "a new code belongs in ALL"
    );
}

#[test]
fn what_may_pass_is_retryable() {
    let retryable: Vec<_> = ErrorCode::ALL
        .into_iter()
        .filter(|c| c.is_retryable())
        .collect();
    assert_eq!(
        retryable,
        [
            ErrorCode::Overloaded,
            ErrorCode::Loading,
            ErrorCode::NoPeer,
            ErrorCode::WorkerLost,
            ErrorCode::ShuttingDown,
        ]
    );
    assert!(Failure::new(ErrorCode::NoPeer, "").is_retryable());
}

#[test]
fn a_code_of_a_later_version_is_unspecified() {
    let failure = Failure {
        code: 999,
        ..Failure::default()
    };
    assert_eq!(failure.code(), ErrorCode::Unspecified);
    assert!(!failure.is_retryable());
}

#[test]
fn fields_of_a_later_version_are_ignored() {
    let mut bytes = generate_request().encode_to_vec();
    // Field 1000, length-delimited; field 1001, a number.
    bytes.extend([0xc2, 0x3e, 3, b'n', b'e', b'w', 0xc8, 0x3e, 7]);
    assert_eq!(
        GenerateRequest::decode_bounded(&bytes).unwrap(),
        generate_request()
    );
}

#[test]
fn an_event_of_a_later_version_is_no_event() {
    // Field 99 of the stream's `oneof`.
    let decoded = GenerateEvent::decode_bounded(&[0x9a, 0x06, 0]).unwrap();
    assert_eq!(decoded, GenerateEvent::default());
}

#[test]
fn size_is_checked_before_decoding() {
    let bytes = vec![0; MAX_REQUEST_BYTES + 1];
    let error = GenerateRequest::decode_bounded(&bytes).unwrap_err();
    let (bytes, limit) = (bytes.len(), MAX_REQUEST_BYTES);
    assert_eq!(error, DecodeError::TooLarge { bytes, limit });
}

#[test]
fn deep_nesting_is_refused() {
    let mut bytes = Vec::new();
    for _ in 0..2000 {
        let mut outer = vec![0x22];
        prost::encode_length_delimiter(bytes.len(), &mut outer).unwrap();
        outer.append(&mut bytes);
        bytes = outer;
    }
    assert!(TokenLogprob::decode(bytes.as_slice()).is_err());
}

#[test]
fn the_largest_answer_of_an_embedding_fits() {
    let answer = EmbedResponse {
        embeddings: vec![
            Embedding {
                values: vec![0.1; 4096]
            };
            crate::limits::MAX_EMBED_INPUTS
        ],
        ..EmbedResponse::default()
    };
    let reply = EmbedReply {
        reply: Some(embed_reply::Reply::Response(answer)),
    };
    assert!(reply.encoded_len() <= EmbedReply::MAX_BYTES);
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        let _ = GenerateRequest::decode_bounded(&bytes);
        let _ = GenerateEvent::decode_bounded(&bytes).map(|e| format!("{e:?}"));
        let _ = EmbedRequest::decode_bounded(&bytes);
        let _ = EmbedResponse::decode_bounded(&bytes);
        let _ = EmbedReply::decode_bounded(&bytes);
    }

    #[test]
    fn damaged_messages_never_panic(at: prop::sample::Index, bit in 0..8_u32) {
        for message in [started(), delta(), finished(), failed()] {
            let mut bytes = message.encode_to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let _ = GenerateEvent::decode_bounded(&bytes);
            let _ = GenerateEvent::decode_bounded(&bytes[..at]);
        }
        let mut bytes = generate_request().encode_to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let _ = GenerateRequest::decode_bounded(&bytes).map(|r| r.validate());
    }

    #[test]
    fn text_round_trips(text: String, tokens: Vec<u32>) {
        let message = event(generate_event::Event::Delta(Delta { text, tokens, ..Delta::default() }));
        let decoded = GenerateEvent::decode_bounded(&message.encode_to_vec()).unwrap();
        prop_assert_eq!(decoded, message);
    }
}
