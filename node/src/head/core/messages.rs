//! Chat messages as clients send them, made into what templates expect.
//!
//! It owns OpenAI's message shapes and the repairs for templates that know less: content parts
//! joined, legacy fields renamed, roles folded. It renders nothing.

use serde_json::{Map, Value, json};

use super::caps::Caps;
use super::prompt::PromptError;

#[cfg(test)]
mod tests;

/// Messages of one request; ten times what agents reach.
const MAX_MESSAGES: usize = 16_384;

/// Length of the call ids that Mistral's templates insist on.
const SHORT_ID: usize = 9;

/// One message: an object with `role` and `content`, and only keys that templates know.
pub type Message = Map<String, Value>;

/// Reads and checks `messages_json`.
///
/// # Errors
/// [`PromptError::Messages`], with what is wrong.
pub fn read(text: &str) -> Result<Vec<Message>, PromptError> {
    let wrong = |what: &str| PromptError::Messages(what.to_owned());
    let raw: Vec<Value> =
        serde_json::from_str(text).map_err(|_| wrong("must be an array of messages"))?;
    if raw.is_empty() {
        return Err(wrong("must not be empty"));
    }
    if raw.len() > MAX_MESSAGES {
        return Err(PromptError::Messages(format!("more than {MAX_MESSAGES}")));
    }
    let mut messages = Vec::with_capacity(raw.len());
    for (i, value) in raw.into_iter().enumerate() {
        let Value::Object(raw) = value else {
            return Err(PromptError::Messages(format!("[{i}] is not an object")));
        };
        messages.push(message(raw).map_err(|e| PromptError::Messages(format!("[{i}]: {e}")))?);
    }
    name_tool_results(&mut messages);
    Ok(messages)
}

fn message(mut raw: Map<String, Value>) -> Result<Message, String> {
    let role = match raw.get("role").and_then(Value::as_str) {
        Some(role @ ("system" | "developer" | "user" | "assistant" | "tool")) => role.to_owned(),
        Some("function") => "tool".to_owned(),
        Some(role) => return Err(format!("unknown role {role:?}")),
        None => return Err("a message needs a role".into()),
    };
    let mut message = Message::new();
    message.insert("role".into(), role.into());
    message.insert(
        "content".into(),
        text_content(raw.remove("content"))?.into(),
    );
    for key in ["name", "tool_call_id"] {
        if let Some(Value::String(value)) = raw.remove(key) {
            message.insert(key.into(), value.into());
        }
    }
    let reasoning = raw
        .remove("reasoning_content")
        .or_else(|| raw.remove("reasoning"));
    if let Some(Value::String(reasoning)) = reasoning {
        message.insert("reasoning_content".into(), reasoning.into());
    }
    let calls = tool_calls(raw.remove("tool_calls"), raw.remove("function_call"))?;
    if !calls.is_empty() {
        message.insert("tool_calls".into(), calls.into());
    }
    Ok(message)
}

/// A string, nothing, or an array of text parts.
fn text_content(content: Option<Value>) -> Result<String, String> {
    match content {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) => {
            let texts = parts.iter().map(part_text).collect::<Result<Vec<_>, _>>()?;
            Ok(texts.join("\n"))
        }
        Some(_) => Err("content must be a string or an array of parts".into()),
    }
}

fn part_text(part: &Value) -> Result<&str, String> {
    if let Some(text) = part.as_str() {
        return Ok(text);
    }
    let kind = part.get("type").and_then(Value::as_str).unwrap_or("text");
    let text = match kind {
        "text" | "input_text" | "output_text" => part.get("text"),
        "refusal" => part.get("refusal"),
        _ => {
            return Err(format!(
                "this model takes text only, not parts of type {kind:?}"
            ));
        }
    };
    text.and_then(Value::as_str)
        .ok_or_else(|| "a text part needs a text".into())
}

fn tool_calls(calls: Option<Value>, legacy: Option<Value>) -> Result<Vec<Value>, String> {
    let calls = match (calls, legacy) {
        (Some(Value::Array(calls)), _) => calls,
        (None | Some(Value::Null), Some(function @ Value::Object(_))) => {
            vec![json!({ "type": "function", "function": function })]
        }
        (None | Some(Value::Null), _) => return Ok(Vec::new()),
        (Some(_), _) => return Err("tool_calls must be an array".into()),
    };
    calls.into_iter().map(tool_call).collect()
}

/// A call with its arguments as an object, where they are one.
fn tool_call(mut call: Value) -> Result<Value, String> {
    let name = call.pointer("/function/name").and_then(Value::as_str);
    if name.is_none_or(str::is_empty) {
        return Err("a tool call needs its function's name".into());
    }
    let arguments = match call.pointer_mut("/function/arguments").map(Value::take) {
        None | Some(Value::Null) => json!({}),
        Some(Value::String(text)) if text.trim().is_empty() => json!({}),
        Some(Value::String(text)) => match serde_json::from_str(&text) {
            Ok(object @ Value::Object(_)) => object,
            _ => Value::String(text),
        },
        Some(other) => other,
    };
    call["type"] = "function".into();
    call["function"]["arguments"] = arguments;
    Ok(call)
}

/// Tool results get their function's name, which some templates print.
fn name_tool_results(messages: &mut [Message]) {
    let mut names = Map::new();
    for message in messages {
        let calls = message.get("tool_calls").and_then(Value::as_array);
        for call in calls.into_iter().flatten() {
            if let (Some(id), Some(name)) = (
                call.get("id").and_then(Value::as_str),
                call.pointer("/function/name"),
            ) {
                names.insert(id.to_owned(), name.clone());
            }
        }
        let id = message.get("tool_call_id").and_then(Value::as_str);
        if message["role"] == "tool"
            && !message.contains_key("name")
            && let Some(name) = id.and_then(|id| names.get(id))
        {
            message.insert("name".into(), name.clone());
        }
    }
}

/// Fits messages to what the template knows, as probed.
pub fn fit(mut messages: Vec<Message>, caps: &Caps) -> Vec<Message> {
    for message in &mut messages {
        if message["role"] == "developer" && !caps.developer {
            message["role"] = "system".into();
        }
        if !caps.tool_calls {
            calls_to_text(message);
        } else if !caps.object_arguments {
            arguments_to_text(message);
        }
        if !caps.tool_results {
            result_to_text(message);
        }
        if caps.short_ids {
            shorten_ids(message);
        }
    }
    if !caps.system {
        messages = system_to_user(messages);
    }
    if caps.typed_content {
        messages.iter_mut().for_each(type_content);
    }
    messages
}

/// Calls in words, for templates that know none: as Hermes writes them.
fn calls_to_text(message: &mut Message) {
    if let Some(Value::Array(calls)) = message.remove("tool_calls") {
        let mut text = content(message).to_owned();
        for call in &calls {
            let function = &call["function"];
            let call = json!({ "name": function["name"], "arguments": function["arguments"] });
            let gap = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}<tool_call>\n{call}\n</tool_call>"));
        }
        message["content"] = text.into();
    }
}

fn result_to_text(message: &mut Message) {
    if message["role"] == "tool" {
        let result = format!("<tool_response>\n{}\n</tool_response>", content(message));
        message["role"] = "user".into();
        message["content"] = result.into();
        message.remove("tool_call_id");
    }
}

fn arguments_to_text(message: &mut Message) {
    let Some(Value::Array(calls)) = message.get_mut("tool_calls") else {
        return;
    };
    for call in calls {
        let arguments = &mut call["function"]["arguments"];
        if !arguments.is_string() {
            *arguments = arguments.to_string().into();
        }
    }
}

fn shorten_ids(message: &mut Message) {
    if let Some(Value::String(id)) = message.get_mut("tool_call_id") {
        *id = short_id(id);
    }
    if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
        for call in calls {
            if let Some(Value::String(id)) = call.get_mut("id") {
                *id = short_id(id);
            }
        }
    }
}

/// An id of nine letters and digits; the same for the same id.
fn short_id(id: &str) -> String {
    if id.len() == SHORT_ID && id.chars().all(|c| c.is_ascii_alphanumeric()) {
        return id.to_owned();
    }
    let hash = blake3::hash(id.as_bytes());
    hash.to_hex()[..SHORT_ID].to_owned()
}

fn type_content(message: &mut Message) {
    let text = content(message).to_owned();
    message["content"] = json!([{ "type": "text", "text": text }]);
}

/// A message's text.
pub fn content(message: &Message) -> &str {
    message
        .get("content")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn is_role(message: &Message, role: &str) -> bool {
    message.get("role").is_some_and(|known| known == role)
}

/// System messages in front of the first user message, for templates without that role.
pub fn system_to_user(messages: Vec<Message>) -> Vec<Message> {
    let (system, mut rest): (Vec<_>, Vec<_>) =
        messages.into_iter().partition(|m| is_role(m, "system"));
    if system.is_empty() {
        return rest;
    }
    let text = joined(&system);
    match rest.iter_mut().find(|m| is_role(m, "user")) {
        Some(user) => {
            let text = format!("{text}\n\n{}", content(user));
            user["content"] = text.into();
        }
        None => rest.insert(0, plain("user", text)),
    }
    rest
}

/// All system messages as one in front, for templates that take one only there.
pub fn system_first(messages: Vec<Message>) -> Vec<Message> {
    let (system, mut rest): (Vec<_>, Vec<_>) =
        messages.into_iter().partition(|m| is_role(m, "system"));
    if !system.is_empty() {
        rest.insert(0, plain("system", joined(&system)));
    }
    rest
}

/// Neighbours of one role as one message, for templates in which roles must alternate.
pub fn alternating(messages: Vec<Message>) -> Vec<Message> {
    let mut merged: Vec<Message> = Vec::with_capacity(messages.len());
    for message in messages {
        let plain = |m: &Message| !m.contains_key("tool_calls") && !m.contains_key("tool_call_id");
        match merged.last_mut() {
            Some(last) if last["role"] == message["role"] && plain(last) && plain(&message) => {
                let text = format!("{}\n\n{}", content(last), content(&message));
                last["content"] = text.into();
            }
            _ => merged.push(message),
        }
    }
    merged
}

/// Puts text into the system message, or makes one.
pub fn instruct(messages: &mut Vec<Message>, text: &str) {
    match messages.iter_mut().find(|m| is_role(m, "system")) {
        Some(system) => {
            let whole = format!("{}\n\n{text}", content(system));
            system["content"] = whole.into();
        }
        None => messages.insert(0, plain("system", text.to_owned())),
    }
}

fn joined(messages: &[Message]) -> String {
    let texts: Vec<&str> = messages.iter().map(content).collect();
    texts.join("\n\n")
}

fn plain(role: &str, text: String) -> Message {
    Message::from_iter([
        ("role".to_owned(), Value::from(role)),
        ("content".to_owned(), Value::from(text)),
    ])
}
