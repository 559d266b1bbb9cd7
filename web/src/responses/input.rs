//! The input of a response as chat messages. It knows no other field.

use serde_json::{Map, Value, json};

use crate::{
    error::ApiError,
    fields::{Fields, missing, wrong},
};

/// Chat messages of `instructions` and `input`.
///
/// # Errors
/// 400 for an input of a wrong shape, an empty one, an image, or a reference to something stored.
pub(super) fn messages(
    instructions: Option<String>,
    input: Option<Value>,
) -> Result<Vec<Value>, ApiError> {
    let mut messages = Vec::new();
    if let Some(text) = instructions {
        messages.push(json!({ "role": "system", "content": text }));
    }
    match input {
        None => return Err(missing("input")),
        Some(Value::String(text)) if !text.is_empty() => {
            messages.push(json!({ "role": "user", "content": text }));
        }
        Some(Value::Array(items)) if !items.is_empty() => {
            for item in items {
                push_item(&mut messages, item)?;
            }
        }
        Some(_) => return Err(wrong("input", "a text or a list of items, not empty")),
    }
    Ok(messages)
}

fn push_item(messages: &mut Vec<Value>, item: Value) -> Result<(), ApiError> {
    let Value::Object(object) = item else {
        return Err(wrong("input", "a list of objects"));
    };
    let mut item = Fields::of(object);
    let kind = item.string("type")?;
    match kind.as_deref() {
        None | Some("message") => messages.push(message(&mut item)?),
        Some("function_call") => push_call(messages, &mut item)?,
        Some("function_call_output") => messages.push(call_output(&mut item)?),
        // What a model thought before is not shown to it again, as with OpenAI's own.
        Some("reasoning") => {}
        Some("item_reference") => {
            let message = "Nothing is stored here, so no item can be referred to; send it whole.";
            return Err(ApiError::field("input", message).with_code("unsupported"));
        }
        Some(other) => {
            let message = format!("An input item of type `{other}` is not supported.");
            return Err(ApiError::field("input", message).with_code("unsupported"));
        }
    }
    Ok(())
}

fn message(item: &mut Fields) -> Result<Value, ApiError> {
    let role = item.required_string("role")?;
    if !["user", "assistant", "system", "developer"].contains(&role.as_str()) {
        return Err(wrong(
            "input",
            "messages of user, assistant, system or developer",
        ));
    }
    let content = text_of(item.take("content"))?;
    Ok(json!({ "role": role, "content": content }))
}

/// Calls that follow one another belong to one assistant message, as chat has it.
fn push_call(messages: &mut Vec<Value>, item: &mut Fields) -> Result<(), ApiError> {
    let call = json!({
        "id": item.required_string("call_id")?,
        "type": "function",
        "function": {
            "name": item.required_string("name")?,
            "arguments": item.string("arguments")?.unwrap_or_default(),
        },
    });
    let last = messages.last_mut().and_then(Value::as_object_mut);
    if let Some(last) = last.filter(|last| last.get("role") == Some(&json!("assistant"))) {
        let calls = last.entry("tool_calls").or_insert_with(|| json!([]));
        if let Some(calls) = calls.as_array_mut() {
            calls.push(call);
            return Ok(());
        }
    }
    messages.push(json!({ "role": "assistant", "content": null, "tool_calls": [call] }));
    Ok(())
}

fn call_output(item: &mut Fields) -> Result<Value, ApiError> {
    Ok(json!({
        "role": "tool",
        "tool_call_id": item.required_string("call_id")?,
        "content": text_of(item.take("output"))?,
    }))
}

/// A text, or the texts of a list of parts, joined.
fn text_of(content: Option<Value>) -> Result<String, ApiError> {
    match content {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(parts)) => parts.iter().map(part_text).collect(),
        _ => Err(wrong("input", "items with a text or a list of parts")),
    }
}

fn part_text(part: &Value) -> Result<&str, ApiError> {
    let part: Option<&Map<String, Value>> = part.as_object();
    let field = |name: &str| part.and_then(|part| part.get(name)).and_then(Value::as_str);
    match field("type") {
        Some("input_text" | "output_text" | "text") => {
            field("text").ok_or_else(|| wrong("input", "text parts with a `text`"))
        }
        Some("refusal") => Ok(field("refusal").unwrap_or_default()),
        Some(other) => {
            let message = format!("A content part of type `{other}` is not supported.");
            Err(ApiError::field("input", message).with_code("unsupported"))
        }
        None => Err(wrong("input", "content parts with a `type`")),
    }
}
