//! OpenAI's message shapes, read and repaired.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests")]

use super::*;

fn read_one(message: Value) -> Result<Message, PromptError> {
    read(&json!([message]).to_string()).map(|mut all| all.remove(0))
}

#[test]
fn content_comes_as_text() {
    let parts = json!([{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }]);
    let message = read_one(json!({ "role": "user", "content": parts })).unwrap();
    assert_eq!(content(&message), "a\nb");
    let empty = read_one(json!({ "role": "assistant", "content": null })).unwrap();
    assert_eq!(content(&empty), "");
    let image = json!([{ "type": "image_url", "image_url": { "url": "data:" } }]);
    let refused = read_one(json!({ "role": "user", "content": image })).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("[0]: this model takes text only"),
        "{refused}"
    );
}

#[test]
fn what_is_no_message_is_refused() {
    for bad in [
        json!({ "role": "wizard", "content": "x" }),
        json!({ "content": "x" }),
        json!({ "role": "user", "content": 5 }),
        json!({ "role": "assistant", "tool_calls": [{ "function": {} }] }),
        json!("hello"),
    ] {
        let refused = read_one(bad.clone()).unwrap_err();
        assert_eq!(refused.param(), "messages", "{bad}");
    }
    assert!(read("[]").is_err());
    assert!(read("{}").is_err());
}

#[test]
fn calls_get_objects_and_results_get_names() {
    let messages = json!([
        { "role": "user", "content": "?" },
        { "role": "assistant", "tool_calls": [
            { "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{\"b\":1,\"a\":2}" } }
        ] },
        { "role": "tool", "tool_call_id": "c1", "content": "ok" },
        { "role": "assistant", "function_call": { "name": "g", "arguments": "" } },
        { "role": "function", "name": "g", "content": "ok" }
    ]);
    let read = read(&messages.to_string()).unwrap();
    let arguments = &read[1]["tool_calls"][0]["function"]["arguments"];
    assert_eq!(
        arguments.to_string(),
        "{\"b\":1,\"a\":2}",
        "in the order given"
    );
    assert_eq!(read[2]["name"], "f");
    assert_eq!(
        read[3]["tool_calls"][0]["function"],
        json!({ "name": "g", "arguments": {} })
    );
    assert_eq!(read[4]["role"], "tool");
}

#[test]
fn ids_for_mistral_have_nine_letters() {
    assert_eq!(short_id("abc123DEF"), "abc123DEF");
    let short = short_id("call_0123456789abcdef");
    assert_eq!(short.len(), 9);
    assert_eq!(short, short_id("call_0123456789abcdef"));
}

#[test]
fn shapes_keep_every_word() {
    let messages = json!([
        { "role": "system", "content": "S1" },
        { "role": "user", "content": "U1" },
        { "role": "user", "content": "U2" },
        { "role": "system", "content": "S2" },
    ]);
    let messages = read(&messages.to_string()).unwrap();
    let first = system_first(messages.clone());
    assert_eq!(content(&first[0]), "S1\n\nS2");
    let merged = alternating(system_to_user(messages));
    assert_eq!(merged.len(), 1);
    assert_eq!(content(&merged[0]), "S1\n\nS2\n\nU1\n\nU2");
}
