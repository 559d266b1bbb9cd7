//! What a chat message must be. Its text is nobody's business here.

use serde_json::{Map, Value};

use crate::error::ApiError;

/// Who may speak.
const ROLES: [&str; 5] = ["system", "developer", "user", "assistant", "tool"];

/// Checks every message.
///
/// # Errors
/// 400 that names the message and its field.
pub(super) fn check(messages: &[Value]) -> Result<(), ApiError> {
    if messages.is_empty() {
        let message = "`messages` must have at least one message.";
        return Err(ApiError::field("messages", message));
    }
    let mut numbered = messages.iter().enumerate();
    numbered.try_for_each(|(at, message)| check_message(message, &format!("messages[{at}]")))
}

fn check_message(message: &Value, at: &str) -> Result<(), ApiError> {
    let Some(message) = message.as_object() else {
        return Err(refusal(at, "must be an object"));
    };
    let role = message.get("role").and_then(Value::as_str);
    let Some(role) = role.filter(|role| ROLES.contains(role)) else {
        let wanted = format!("must be one of {}", ROLES.join(", "));
        return Err(refusal(&format!("{at}.role"), &wanted));
    };
    check_calls(message, at)?;
    check_content(message.get("content"), role, &format!("{at}.content"))
}

/// Only an assistant may say nothing: its message may be all tool calls.
fn check_content(content: Option<&Value>, role: &str, at: &str) -> Result<(), ApiError> {
    match content {
        Some(Value::String(_)) => Ok(()),
        Some(Value::Array(parts)) => {
            let mut numbered = parts.iter().enumerate();
            numbered.try_for_each(|(i, part)| check_part(part, &format!("{at}[{i}]")))
        }
        None | Some(Value::Null) if role == "assistant" => Ok(()),
        _ => Err(refusal(at, "must be a text or a list of text parts")),
    }
}

fn check_part(part: &Value, at: &str) -> Result<(), ApiError> {
    match part["type"].as_str() {
        Some("text") if part["text"].is_string() => Ok(()),
        Some("refusal") if part["refusal"].is_string() => Ok(()),
        Some("text" | "refusal") | None => Err(refusal(at, "must be a part with its `text`")),
        Some(_) => {
            let error = refusal(
                at,
                "must be text: images, sound and files are not supported",
            );
            Err(error.with_code("unsupported"))
        }
    }
}

fn check_calls(message: &Map<String, Value>, at: &str) -> Result<(), ApiError> {
    let calls = match message.get("tool_calls") {
        None | Some(Value::Null) => return Ok(()),
        Some(calls) => calls.as_array(),
    };
    if calls.is_some_and(|calls| calls.iter().all(is_call)) {
        return Ok(());
    }
    let wanted = "must be a list of calls, each with a function's name and arguments";
    Err(refusal(&format!("{at}.tool_calls"), wanted))
}

fn is_call(call: &Value) -> bool {
    let function = &call["function"];
    let arguments = &function["arguments"];
    function["name"].is_string() && (arguments.is_string() || arguments.is_object())
}

fn refusal(at: &str, wanted: &str) -> ApiError {
    ApiError::field(at.to_owned(), format!("`{at}` {wanted}."))
}
