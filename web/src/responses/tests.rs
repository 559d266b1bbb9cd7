//! The Responses API: requests into ours, and our events into its own.

use axum::http::HeaderMap;
use proptest::prelude::*;
use protocol::generate::{
    Delta, ErrorCode, Failure, FinishReason, Finished, Privacy, Started, ToolCallDelta,
    tool_choice::Mode,
};
use serde_json::{Value, json};

use super::*;
use crate::caller::RequestId;

fn caller() -> Caller {
    Caller {
        request_id: RequestId::of(&HeaderMap::new()),
        privacy: Privacy::Unspecified,
    }
}

fn parsed(body: &Value) -> Result<request::Asked, ApiError> {
    let mut fields = Fields::parse(body.to_string().as_bytes()).unwrap();
    request::parse(&mut fields, &caller())
}

fn chat(asked: &request::Asked) -> protocol::generate::ChatPrompt {
    match asked.generate.prompt.clone().unwrap() {
        protocol::generate::generate_request::Prompt::Chat(chat) => chat,
        other => panic!("{other:?}"),
    }
}

fn assembler() -> Assembler {
    let identity = object::Identity {
        suffix: "x".into(),
        created_at: 7,
    };
    Assembler::new(object::Echo::default(), identity)
}

fn text(text: &str) -> Event {
    Event::Delta(Delta {
        text: text.into(),
        tokens: vec![1],
        ..Delta::default()
    })
}

fn reasoning(text: &str) -> Event {
    Event::Delta(Delta {
        reasoning: text.into(),
        tokens: vec![1],
        ..Delta::default()
    })
}

fn call(index: u32, id: &str, name: &str, arguments: &str) -> Event {
    Event::Delta(Delta {
        tool_calls: vec![ToolCallDelta {
            index,
            id: id.into(),
            name: name.into(),
            arguments: arguments.into(),
        }],
        tokens: vec![1],
        ..Delta::default()
    })
}

fn finished(reason: FinishReason, tokens: u32) -> Event {
    Event::Finished(Finished {
        reason: reason.into(),
        completion_tokens: tokens,
        ..Finished::default()
    })
}

fn run(events: Vec<Event>) -> (Vec<Value>, Value) {
    let (mut assembler, mut out) = (assembler(), Vec::new());
    for event in events {
        assembler.handle(event, &mut out);
    }
    let out = out.iter().map(|event| json!(event)).collect();
    (out, assembler.into_response())
}

#[test]
fn input_items_become_chat_messages() {
    let asked = parsed(&json!({
        "model": "m",
        "instructions": "be brief",
        "input": [
            { "role": "user", "content": [{ "type": "input_text", "text": "weather?" }] },
            { "type": "reasoning", "summary": [] },
            { "type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}" },
            { "type": "function_call", "call_id": "c2", "name": "g", "arguments": "{}" },
            { "type": "function_call_output", "call_id": "c1", "output": "rain" },
        ],
        "tools": [{ "type": "function", "name": "f", "parameters": { "type": "object" } }],
        "tool_choice": { "type": "function", "name": "f" },
        "text": { "format": { "type": "json_schema", "name": "n", "schema": { "type": "object" } } },
        "max_output_tokens": 5, "temperature": 0, "stream": true, "unknown": 1,
    }))
    .unwrap();
    let prompt = chat(&asked);
    let messages: Value = serde_json::from_str(&prompt.messages_json).unwrap();
    let roles: Vec<&str> = messages
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool"]);
    assert_eq!(messages[2]["tool_calls"].as_array().unwrap().len(), 2);
    let tools: Value = serde_json::from_str(&prompt.tools_json).unwrap();
    assert_eq!(tools[0]["function"]["name"], "f");
    let choice = prompt.tool_choice.unwrap();
    assert_eq!(
        (choice.mode(), choice.function.as_str()),
        (Mode::Function, "f")
    );
    assert!(asked.stream && asked.generate.format.is_some());
    assert_eq!(asked.generate.max_tokens, Some(5));
}

#[test]
fn what_cannot_be_done_is_refused_by_field() {
    let cases = [
        (json!({ "input": "x" }), "model"),
        (json!({ "model": "m" }), "input"),
        (json!({ "model": "m", "input": [] }), "input"),
        (
            json!({ "model": "m", "input": [{ "type": "item_reference", "id": "i" }] }),
            "input",
        ),
        (
            json!({ "model": "m", "input": [{ "role": "user", "content": [{ "type": "input_image" }] }] }),
            "input",
        ),
        (
            json!({ "model": "m", "input": "x", "previous_response_id": "r" }),
            "previous_response_id",
        ),
        (
            json!({ "model": "m", "input": "x", "background": true }),
            "background",
        ),
        (
            json!({ "model": "m", "input": "x", "tools": [{ "type": "web_search" }] }),
            "tools",
        ),
        (
            json!({ "model": "m", "input": "x", "temperature": 2.5 }),
            "temperature",
        ),
        (
            json!({ "model": "m", "input": "x", "max_output_tokens": 0 }),
            "max_output_tokens",
        ),
        (
            json!({ "model": "m", "input": "x", "text": { "format": { "type": "xml" } } }),
            "text.format",
        ),
    ];
    for (body, param) in cases {
        let error = parsed(&body).unwrap_err();
        assert_eq!(error.status().as_u16(), 400, "{body}");
        assert_eq!(json!(error.body())["error"]["param"], param, "{body}");
    }
}

#[test]
fn the_transcript_of_a_text() {
    let started = Event::Started(Started {
        prompt_tokens: 9,
        cached_tokens: 4,
        ..Started::default()
    });
    let (events, response) = run(vec![
        started,
        text("Hel"),
        text("lo"),
        finished(FinishReason::Stop, 2),
    ]);
    let kinds: Vec<&str> = events.iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    assert_eq!(events[6]["text"], "Hello");
    assert_eq!(events.last().unwrap()["response"], response);
    assert_eq!(response["output"][0]["content"][0]["text"], "Hello");
    assert_eq!(
        response["usage"]["input_tokens_details"]["cached_tokens"],
        4
    );
    assert_eq!(response["usage"]["total_tokens"], 11);
}

#[test]
fn reasoning_text_and_calls_are_items_of_their_own() {
    let (events, response) = run(vec![
        reasoning("hm"),
        text("calling"),
        call(0, "c0", "f", ""),
        call(0, "", "", "{\"a\":"),
        call(0, "", "", "1}"),
        call(1, "c1", "g", "{}"),
        finished(FinishReason::ToolCalls, 6),
    ]);
    let output = response["output"].as_array().unwrap();
    let kinds: Vec<&str> = output
        .iter()
        .map(|item| item["type"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        ["reasoning", "message", "function_call", "function_call"]
    );
    assert_eq!(output[2]["arguments"], "{\"a\":1}");
    assert_eq!(
        response["usage"]["output_tokens_details"]["reasoning_tokens"],
        1
    );
    let done = |e: &&Value| e["type"] == "response.function_call_arguments.done";
    assert_eq!(events.iter().filter(done).count(), 2);
}

#[test]
fn the_limit_makes_it_incomplete_and_a_failure_failed() {
    let (events, response) = run(vec![text("a"), finished(FinishReason::Length, 1)]);
    assert_eq!(
        response["incomplete_details"]["reason"],
        "max_output_tokens"
    );
    assert_eq!(events.last().unwrap()["type"], "response.incomplete");
    let failed = Event::Failed(Failure::new(ErrorCode::WorkerLost, "gone"));
    let (events, response) = run(vec![text("a"), failed]);
    assert_eq!(response["error"]["code"], "worker_lost");
    assert_eq!(events.last().unwrap()["type"], "response.failed");
}

fn any_delta() -> impl Strategy<Value = Event> {
    prop_oneof![
        "[a-z ]{1,5}".prop_map(|t| text(&t)),
        "[a-z ]{1,5}".prop_map(|t| reasoning(&t)),
        (0u32..3, "[a-z]{1,5}").prop_map(|(index, t)| call(index, "c", "f", &t)),
    ]
}

proptest! {
    #[test]
    fn numbers_rise_by_one_and_items_nest(deltas in prop::collection::vec(any_delta(), 0..40)) {
        let mut events = deltas;
        events.push(finished(FinishReason::Stop, 3));
        let (events, response) = run(events);
        let mut open = None;
        for (at, event) in events.iter().enumerate() {
            prop_assert_eq!(&event["sequence_number"], &json!(at));
            match event["type"].as_str().unwrap() {
                "response.output_item.added" => {
                    prop_assert!(open.is_none());
                    open = Some(event["output_index"].clone());
                }
                "response.output_item.done" => prop_assert_eq!(open.take(), Some(event["output_index"].clone())),
                _ => if let Some(place) = event.get("output_index") {
                    prop_assert_eq!(Some(place), open.as_ref());
                }
            }
        }
        prop_assert!(open.is_none());
        prop_assert_eq!(&events.last().unwrap()["response"], &response);
        let added = events.iter().filter(|e| e["type"] == "response.output_item.added").count();
        prop_assert_eq!(added, response["output"].as_array().unwrap().len());
    }
}
