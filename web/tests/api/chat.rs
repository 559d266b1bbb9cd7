//! `POST /v1/chat/completions`, whole and streamed.

use protocol::generate::{
    Delta, ErrorCode, Failure, FinishReason, Finished, GenerateRequest, Privacy, Started,
    TokenLogprob, ToolCallDelta, generate_event::Event, generate_request::Prompt,
    output_format::Format, tool_choice::Mode,
};
use serde_json::{Value, json};

use crate::{
    client::Answer,
    scripted::{Script, Step, TestServer, delta, failed, finished, hello, queued, started, text},
};

const CHAT: &str = "/v1/chat/completions";

fn ask(more: Value) -> Value {
    let mut body = json!({
        "model": "org/one",
        "messages": [{ "role": "user", "content": "Hi" }],
    });
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    body
}

async fn with(play: fn(&GenerateRequest) -> Script, more: Value) -> (TestServer, Answer) {
    let server = TestServer::start(play).await;
    let answer = server.post(CHAT, &ask(more)).await;
    (server, answer)
}

/// The request that the backend got.
async fn asked(more: Value) -> GenerateRequest {
    let (server, answer) = with(hello, more).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    server.backend.last()
}

async fn refused(more: Value) -> Value {
    let (server, answer) = with(hello, more).await;
    assert!(server.backend.requests.lock().unwrap().is_empty());
    answer.refused(400)
}

/// Takes what differs from run to run out of an answer or chunk.
fn still(mut value: Value) -> Value {
    let id = value["id"].as_str().unwrap();
    assert!(id.starts_with("chatcmpl-") && id.len() == 41, "{id}");
    value["id"] = "ID".into();
    assert!(value["created"].as_u64().unwrap() > 1_700_000_000);
    value["created"] = 7.into();
    value
}

#[tokio::test]
async fn a_whole_answer() {
    let (_server, answer) = with(hello, json!({})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        still(answer.json()).to_string(),
        json!({
            "id": "ID",
            "object": "chat.completion",
            "created": 7,
            "model": "org/one:full",
            "system_fingerprint": concat!("shoal-", env!("CARGO_PKG_VERSION")),
            "choices": [{
                "index": 0,
                "message": { "role": "assistant", "content": "Hello", "refusal": null },
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "usage": {
                "prompt_tokens": 5,
                "completion_tokens": 2,
                "total_tokens": 7,
                "prompt_tokens_details": { "cached_tokens": 2 },
                "completion_tokens_details": { "reasoning_tokens": 0 },
            },
        })
        .to_string()
    );
}

#[tokio::test]
async fn a_stream_byte_for_byte() {
    let (_server, answer) = with(hello, json!({ "stream": true })).await;
    let events = answer.events();
    let first: Value = serde_json::from_str(&events[0]).unwrap();
    let head = format!(
        r#"{{"id":{},"object":"chat.completion.chunk","created":{},"model":"org/one:full","system_fingerprint":"shoal-{}","choices":["#,
        first["id"],
        first["created"],
        env!("CARGO_PKG_VERSION")
    );
    let choices = [
        r#"{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
        r#"{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}"#,
        r#"{"index":0,"delta":{"content":"lo"},"finish_reason":null}]}"#,
        r#"{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    ];
    let mut wanted: Vec<String> = choices.map(|c| format!("{head}{c}")).to_vec();
    wanted.push("[DONE]".to_owned());
    assert_eq!(events, wanted);
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
}

#[tokio::test]
async fn usage_comes_in_one_more_chunk() {
    let more = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let (_server, answer) = with(hello, more).await;
    let mut chunks = answer.chunks();
    let last = chunks.pop().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["total_tokens"], 7);
    assert_eq!(last["usage"]["prompt_tokens_details"]["cached_tokens"], 2);
    assert_eq!(chunks.len(), 4);
    for chunk in chunks {
        assert_eq!(chunk.get("usage"), Some(&Value::Null));
        assert_eq!(chunk["id"], last["id"]);
        assert_eq!(chunk["created"], last["created"]);
    }
}

fn calls(_: &GenerateRequest) -> Script {
    let call = |index, id: &str, name: &str, arguments: &str| {
        let (id, name) = (id.to_owned(), name.to_owned());
        let arguments = arguments.to_owned();
        delta(Delta {
            tool_calls: vec![ToolCallDelta {
                index,
                id,
                name,
                arguments,
            }],
            tokens: vec![1],
            ..Delta::default()
        })
    };
    Ok(vec![
        started(),
        call(0, "call_a", "weather", ""),
        call(0, "", "", "{\"city\":"),
        call(0, "", "", "\"Oslo\"}"),
        call(1, "call_b", "time", "{}"),
        finished(FinishReason::ToolCalls, 9),
    ])
}

#[tokio::test]
async fn tool_calls_whole() {
    let (_server, answer) = with(calls, json!({})).await;
    let choice = &answer.json()["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    let function = |name, arguments| json!({ "name": name, "arguments": arguments });
    assert_eq!(
        choice["message"]["tool_calls"],
        json!([
            {
                "id": "call_a",
                "type": "function",
                "function": function("weather", "{\"city\":\"Oslo\"}"),
            },
            { "id": "call_b", "type": "function", "function": function("time", "{}") },
        ])
    );
}

#[tokio::test]
async fn tool_calls_in_deltas_without_a_null() {
    let (_server, answer) = with(calls, json!({ "stream": true })).await;
    let chunks = answer.chunks();
    let deltas: Vec<String> = chunks
        .iter()
        .map(|chunk| chunk["choices"][0]["delta"].to_string())
        .collect();
    assert_eq!(
        deltas,
        [
            r#"{"role":"assistant","content":""}"#,
            r#"{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"weather","arguments":""}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"{\"city\":"}}]}"#,
            r#"{"tool_calls":[{"index":0,"function":{"arguments":"\"Oslo\"}"}}]}"#,
            r#"{"tool_calls":[{"index":1,"id":"call_b","type":"function","function":{"name":"time","arguments":"{}"}}]}"#,
            "{}",
        ]
    );
    let last = &chunks.last().unwrap()["choices"][0];
    assert_eq!(last["finish_reason"], "tool_calls");
}

fn scored(_: &GenerateRequest) -> Script {
    let alternative = TokenLogprob {
        token: 2,
        text: b"Ho".to_vec(),
        logprob: Some(-1.5),
        top: Vec::new(),
    };
    let token = TokenLogprob {
        token: 1,
        text: vec![0xc3],
        logprob: None,
        top: vec![alternative],
    };
    let scored = Delta {
        tokens: vec![1],
        logprobs: vec![token],
        ..Delta::default()
    };
    Ok(vec![
        started(),
        delta(scored),
        finished(FinishReason::Length, 1),
    ])
}

#[tokio::test]
async fn log_probabilities_with_their_bytes() {
    let (_server, answer) = with(scored, json!({ "logprobs": true, "top_logprobs": 1 })).await;
    let choice = answer.json()["choices"][0].clone();
    assert_eq!(choice["finish_reason"], "length");
    let content = json!([{
        "token": "\u{fffd}",
        "logprob": -9999.0,
        "bytes": [195],
        "top_logprobs": [{ "token": "Ho", "logprob": -1.5, "bytes": [72, 111] }],
    }]);
    assert_eq!(
        choice["logprobs"],
        json!({ "content": content, "refusal": null })
    );
    let (_server, answer) = with(scored, json!({ "logprobs": true, "stream": true })).await;
    let chunk = &answer.chunks()[1]["choices"][0];
    assert_eq!(chunk["delta"], json!({}));
    assert_eq!(chunk["logprobs"], json!({ "content": content }));
}

#[tokio::test]
async fn reasoning_stands_beside_the_text() {
    fn thinking(_: &GenerateRequest) -> Script {
        let thought = Delta {
            reasoning: "hm".to_owned(),
            tokens: vec![1, 2],
            ..Delta::default()
        };
        let end = finished(FinishReason::Stop, 3);
        Ok(vec![started(), delta(thought), text("yes"), end])
    }
    let (_server, answer) = with(thinking, json!({})).await;
    let answer = answer.json();
    let message = &answer["choices"][0]["message"];
    assert_eq!(message["reasoning_content"], "hm");
    assert_eq!(message["content"], "yes");
    let details = &answer["usage"]["completion_tokens_details"];
    assert_eq!(details["reasoning_tokens"], 2);
    let (_server, answer) = with(thinking, json!({ "stream": true })).await;
    let delta = &answer.chunks()[1]["choices"][0]["delta"];
    assert_eq!(delta, &json!({ "reasoning_content": "hm" }));
}

#[tokio::test]
async fn several_choices_have_their_own_seeds_and_indices() {
    fn by_seed(request: &GenerateRequest) -> Script {
        let seed = request.sampling.as_ref().unwrap().seed.unwrap();
        let word = seed.cast_signed().to_string();
        let end = finished(FinishReason::Stop, 1);
        Ok(vec![started(), text(&word), end])
    }
    let (server, answer) = with(by_seed, json!({ "n": 3, "seed": -2 })).await;
    let answer = answer.json();
    for (index, word) in ["-2", "-1", "0"].iter().enumerate() {
        assert_eq!(answer["choices"][index]["index"], index);
        assert_eq!(answer["choices"][index]["message"]["content"], *word);
    }
    // The prompt counts once.
    assert_eq!(answer["usage"]["prompt_tokens"], 5);
    assert_eq!(answer["usage"]["completion_tokens"], 3);
    let ids: std::collections::BTreeSet<String> = {
        let requests = server.backend.requests.lock().unwrap();
        requests.iter().map(|r| r.request_id.clone()).collect()
    };
    assert_eq!(ids.len(), 3);

    let body = ask(json!({ "n": 3, "seed": -2, "stream": true }));
    let chunks = server.post(CHAT, &body).await.chunks();
    for index in 0..3_i64 {
        let own = chunks.iter().map(|c| &c["choices"][0]);
        let own: Vec<_> = own.filter(|c| c["index"] == index).collect();
        assert_eq!(own.len(), 3, "role, text, end");
        assert_eq!(own[0]["delta"]["role"], "assistant");
        assert_eq!(own[1]["delta"]["content"], (index - 2).to_string());
        assert_eq!(own[2]["finish_reason"], "stop");
    }
}

#[tokio::test]
async fn every_parameter_arrives() {
    let request = asked(json!({
        "max_tokens": 5,
        "max_completion_tokens": 7,
        "temperature": 0.5,
        "top_p": 0.25,
        "top_k": 40,
        "min_p": 0.125,
        "repeat_penalty": 1.5,
        "presence_penalty": -2,
        "frequency_penalty": 2,
        "seed": 9_223_372_036_854_775_807_i64,
        "logit_bias": { "17": -100, "18": 0.5 },
        "stop": ["a", ""],
        "logprobs": true,
        "chat_template_kwargs": { "enable_thinking": false },
        "reasoning_effort": "low",
        "user": "u",
        "no_such_field": { "x": [1] },
        "tools": null,
        "n": null,
    }))
    .await;
    assert_eq!(request.model, "org/one");
    assert_eq!(request.max_tokens, Some(7));
    assert_eq!(request.stop, ["a"]);
    assert_eq!(request.top_logprobs, Some(0));
    let sampling = request.sampling.unwrap();
    assert_eq!(sampling.temperature, Some(0.5));
    assert_eq!(sampling.top_p, Some(0.25));
    assert_eq!(sampling.top_k, Some(40));
    assert_eq!(sampling.min_p, Some(0.125));
    assert_eq!(sampling.repeat_penalty, Some(1.5));
    assert_eq!(sampling.presence_penalty, Some(-2.0));
    assert_eq!(sampling.frequency_penalty, Some(2.0));
    assert_eq!(sampling.seed, Some(i64::MAX.cast_unsigned()));
    let biases = sampling.logit_bias.iter().map(|b| (b.token, b.bias));
    assert_eq!(biases.collect::<Vec<_>>(), [(17, -100.0), (18, 0.5)]);
    let Some(Prompt::Chat(chat)) = request.prompt else {
        panic!("a chat");
    };
    assert_eq!(chat.messages_json, r#"[{"role":"user","content":"Hi"}]"#);
    assert_eq!(chat.tools_json, "");
    assert!(chat.parallel_tool_calls);
    assert_eq!(
        chat.template_kwargs_json,
        r#"{"enable_thinking":false,"reasoning_effort":"low"}"#
    );
}

#[tokio::test]
async fn absent_parameters_stay_absent() {
    let request = asked(json!({ "temperature": null, "stop": "x" })).await;
    let sampling = request.sampling.clone().unwrap();
    assert_eq!(sampling, protocol::generate::Sampling::default());
    assert_eq!(request.max_tokens, None);
    assert_eq!(request.top_logprobs, None);
    assert_eq!(request.stop, ["x"]);
    assert_eq!(request.format, None);
    assert_eq!(request.privacy(), Privacy::Unspecified);
}

#[tokio::test]
async fn tools_and_their_choice_arrive_as_sent() {
    let tool = json!({
        "type": "function",
        "function": {
            "name": "f",
            "parameters": { "type": "object", "properties": { "z": {}, "a": {} } },
        },
    });
    let cases = [
        (json!(null), Mode::Auto, ""),
        (json!("auto"), Mode::Auto, ""),
        (json!("none"), Mode::None, ""),
        (json!("required"), Mode::Required, ""),
        (
            json!({ "type": "function", "function": { "name": "f" } }),
            Mode::Function,
            "f",
        ),
    ];
    for (choice, mode, function) in cases {
        let request = asked(json!({
            "tools": [tool],
            "tool_choice": choice,
            "parallel_tool_calls": false,
        }))
        .await;
        let Some(Prompt::Chat(chat)) = request.prompt else {
            panic!("a chat");
        };
        assert_eq!(chat.tools_json, json!([tool]).to_string());
        assert!(!chat.parallel_tool_calls);
        let asked = chat.tool_choice.unwrap();
        assert_eq!((asked.mode(), asked.function.as_str()), (mode, function));
    }
}

#[tokio::test]
async fn formats_arrive() {
    let schema = json!({ "type": "object", "properties": { "z": {}, "a": {} } });
    let text_of_schema = schema.to_string();
    let cases = [
        (json!({ "type": "text" }), None),
        (
            json!({ "type": "json_object" }),
            Some(Format::JsonObject(true)),
        ),
        (
            json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": schema } }),
            Some(Format::JsonSchema(text_of_schema.clone())),
        ),
        (
            json!({ "type": "json_object", "schema": schema }),
            Some(Format::JsonSchema(text_of_schema)),
        ),
    ];
    for (format, wanted) in cases {
        let request = asked(json!({ "response_format": format })).await;
        assert_eq!(request.format.and_then(|f| f.format), wanted);
    }
}

#[tokio::test]
async fn messages_of_every_role_and_shape() {
    let messages = json!([
        { "role": "system", "content": "s" },
        { "role": "developer", "content": [{ "type": "text", "text": "d" }] },
        { "role": "user", "content": "u", "name": "ann" },
        { "role": "assistant", "content": null, "tool_calls": [
            { "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } }
        ] },
        { "role": "tool", "tool_call_id": "c", "content": "t" },
        { "role": "assistant", "tool_calls": null },
    ]);
    let request = asked(json!({ "messages": messages })).await;
    let Some(Prompt::Chat(chat)) = request.prompt else {
        panic!("a chat");
    };
    assert_eq!(chat.messages_json, messages.to_string());
}

#[tokio::test]
async fn wrong_messages_are_refused_by_name() {
    let cases = [
        (json!({ "model": null }), "model"),
        (json!({ "model": 1 }), "model"),
        (json!({ "messages": null }), "messages"),
        (json!({ "messages": [] }), "messages"),
        (json!({ "messages": "hi" }), "messages"),
        (json!({ "messages": [1] }), "messages[0]"),
        (
            json!({ "messages": [{ "content": "x" }] }),
            "messages[0].role",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": "x" }, { "role": "robot" }] }),
            "messages[1].role",
        ),
        (
            json!({ "messages": [{ "role": "user" }] }),
            "messages[0].content",
        ),
        (
            json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url" }] }] }),
            "messages[0].content[0]",
        ),
        (
            json!({ "messages": [{ "role": "assistant", "tool_calls": [{}] }] }),
            "messages[0].tool_calls",
        ),
    ];
    refused_by_name(&cases).await;
}

#[tokio::test]
async fn wrong_parameters_are_refused_by_name() {
    let cases = [
        (json!({ "temperature": 2.1 }), "temperature"),
        (json!({ "temperature": -0.1 }), "temperature"),
        (json!({ "temperature": "hot" }), "temperature"),
        (json!({ "top_p": 1.1 }), "top_p"),
        (json!({ "top_p": -1 }), "top_p"),
        (json!({ "max_tokens": -1 }), "max_tokens"),
        (json!({ "max_tokens": 1.5 }), "max_tokens"),
        (
            json!({ "max_completion_tokens": -5 }),
            "max_completion_tokens",
        ),
        (json!({ "n": 0 }), "n"),
        (json!({ "n": 129 }), "n"),
        (json!({ "seed": 1.5 }), "seed"),
        (json!({ "seed": 18_446_744_073_709_551_615_u64 }), "seed"),
        (json!({ "stop": 1 }), "stop"),
        (json!({ "stop": [null] }), "stop"),
        (json!({ "stop": vec!["x"; 17] }), "stop"),
        (json!({ "stream": "yes" }), "stream"),
        (
            json!({ "logprobs": true, "top_logprobs": 21 }),
            "top_logprobs",
        ),
        (json!({ "top_logprobs": 3 }), "top_logprobs"),
        (json!({ "presence_penalty": 3 }), "presence_penalty"),
        (json!({ "logit_bias": { "x": 1 } }), "logit_bias"),
        (json!({ "logit_bias": { "1": 101 } }), "logit_bias"),
        (
            json!({ "response_format": { "type": "xml" } }),
            "response_format",
        ),
        (
            json!({ "response_format": { "type": "json_schema" } }),
            "response_format.json_schema",
        ),
        (json!({ "tools": [{ "type": "function" }] }), "tools"),
        (json!({ "tool_choice": "required" }), "tool_choice"),
        (json!({ "tool_choice": "maybe" }), "tool_choice"),
        (
            json!({ "tool_choice": { "type": "function", "function": { "name": "g" } } }),
            "tool_choice",
        ),
    ];
    refused_by_name(&cases).await;
}

async fn refused_by_name(cases: &[(Value, &str)]) {
    for (more, param) in cases {
        assert_eq!(refused(more.clone()).await["param"], *param, "{more}");
    }
}

#[tokio::test]
async fn refusals_of_the_backend_keep_their_status_also_for_streams() {
    fn too_long(_: &GenerateRequest) -> Script {
        let message = "The prompt has 9 tokens, the context 8.";
        let failure = Failure::new(ErrorCode::ContextLengthExceeded, message);
        Ok(vec![queued(), failed(failure.with_param("messages"))])
    }
    fn loading(_: &GenerateRequest) -> Script {
        Err(Failure::new(ErrorCode::Loading, "Loading.").with_retry_after(7))
    }
    for stream in [false, true] {
        let (_server, answer) = with(too_long, json!({ "stream": stream })).await;
        let error = answer.refused(400);
        assert_eq!(error["code"], "context_length_exceeded");
        assert_eq!(error["param"], "messages");
        let (_server, answer) = with(loading, json!({ "stream": stream })).await;
        answer.refused(503);
        assert_eq!(answer.header("retry-after"), Some("7"));
        let (_server, answer) = with(hello, json!({ "stream": stream, "model": "gone" })).await;
        let error = answer.refused(404);
        assert_eq!(error["code"], "model_not_found");
        assert_eq!(error["param"], "model");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("org/one, two"), "{message}");
    }
}

#[tokio::test]
async fn an_error_after_the_beginning_is_an_event_and_the_end() {
    fn dies(_: &GenerateRequest) -> Script {
        let failure = Failure::new(ErrorCode::WorkerLost, "The engine died.");
        Ok(vec![started(), text("Hel"), failed(failure)])
    }
    let (_server, answer) = with(dies, json!({ "stream": true })).await;
    let events = answer.events();
    let last: Value = serde_json::from_str(events.last().unwrap()).unwrap();
    assert_eq!(last["error"]["message"], "The engine died.");
    assert_eq!(last["error"]["code"], "worker_lost");
    assert_eq!(events.len(), 3);
    let (_server, answer) = with(dies, json!({})).await;
    answer.refused(503);
}

#[tokio::test]
async fn a_cut_answer_is_an_error_and_no_end() {
    let cut: fn(&GenerateRequest) -> Script = |_| Ok(vec![started(), text("Hel")]);
    let (_server, answer) = with(cut, json!({ "stream": true })).await;
    let last: Value = serde_json::from_str(answer.events().last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "worker_lost");
    let (_server, answer) = with(cut, json!({})).await;
    answer.refused(503);
}

#[tokio::test]
async fn one_failed_choice_fails_the_answer() {
    fn second_fails(request: &GenerateRequest) -> Script {
        match request.request_id.ends_with(".1") {
            true => Err(Failure::new(ErrorCode::Overloaded, "Full.")),
            false => hello(request),
        }
    }
    let (_server, answer) = with(second_fails, json!({ "n": 2 })).await;
    answer.refused(503);
}

#[tokio::test]
async fn headers_both_ways() {
    let server = TestServer::start(hello).await;
    let sent = [("x-request-id", "req-1"), ("x-shoal-privacy", "trusted")];
    let answer = server.post_with(CHAT, &sent, &ask(json!({}))).await;
    assert_eq!(answer.header("x-request-id"), Some("req-1"));
    assert_eq!(answer.header("x-shoal-served-by"), Some("local"));
    let request = server.backend.last();
    assert!(request.request_id.starts_with("req-1"));
    assert_eq!(request.privacy(), Privacy::Trusted);
    let stream = ask(json!({ "stream": true }));
    let answer = server.post(CHAT, &stream).await;
    assert_eq!(answer.header("x-request-id").unwrap().len(), 32);
    assert_eq!(answer.header("x-shoal-served-by"), Some("local"));
    let wrong = [("x-shoal-privacy", "everybody")];
    let answer = server.post_with(CHAT, &wrong, &ask(json!({}))).await;
    assert_eq!(answer.refused(400)["param"], "x-shoal-privacy");
}

#[tokio::test]
async fn the_last_chunk_and_the_whole_answer_name_the_peers() {
    let server = TestServer::start(|_| {
        let finished = Finished {
            reason: FinishReason::Stop.into(),
            completion_tokens: 1,
            served_by: vec!["peer-1".into(), String::new()],
            ..Finished::default()
        };
        let Step::Event(Event::Started(begun)) = started() else {
            unreachable!("a beginning")
        };
        let begun = Event::Started(Started {
            served_by: "peer-1".into(),
            ..begun
        });
        let finished = Event::Finished(finished);
        Ok(vec![Step::Event(begun), text("a"), Step::Event(finished)])
    })
    .await;
    let peers = json!({ "served_by": ["peer-1", "local"] });
    let answer = server.post(CHAT, &ask(json!({}))).await;
    assert_eq!(answer.header("x-shoal-served-by"), Some("peer-1"));
    assert_eq!(answer.json()["shoal"], peers);
    let answer = server.post(CHAT, &ask(json!({ "stream": true }))).await;
    let mut chunks = answer.chunks();
    let last = chunks.pop().unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["shoal"], peers);
    assert!(chunks.iter().all(|chunk| chunk.get("shoal").is_none()));
    let body = json!({ "model": "org/one", "input": "hi" });
    let answer = server.post("/v1/responses", &body).await;
    assert_eq!(answer.json()["shoal"], peers);
}
