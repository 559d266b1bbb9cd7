//! The response object, its items and its events, as the client sees them. It knows no state.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// Ids and time of one response.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// Behind `resp_`, `msg_`, …
    pub(super) suffix: String,
    /// Unix seconds.
    pub(super) created_at: u64,
}

impl Identity {
    /// The response's own id.
    pub(super) fn response(&self) -> String {
        format!("resp_{}", self.suffix)
    }

    /// The id of the item at `index`, of the kind that `prefix` names.
    pub(super) fn item(&self, prefix: &str, index: usize) -> String {
        format!("{prefix}_{}_{index}", self.suffix)
    }
}

/// One event: its name twice (as the SSE event's and inside), its place, and its fields.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ResponseEvent {
    /// `response.created`, …
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    /// 0, 1, 2, …
    pub(super) sequence_number: u64,
    /// The rest.
    #[serde(flatten)]
    pub(super) fields: Map<String, Value>,
}

/// What of the request the response repeats.
#[derive(Debug, Clone, Default)]
pub(super) struct Echo {
    /// The model's name as asked for.
    pub(super) model: String,
    /// Fields that stand in the response as they were sent.
    pub(super) fields: Map<String, Value>,
}

/// One item of the output.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Item {
    /// Text for the user.
    Message {
        /// All of it so far.
        text: String,
        /// One entry a token, when asked for.
        logprobs: Vec<Value>,
    },
    /// A function to call.
    Call {
        /// The id that the result refers to.
        call_id: String,
        /// The function.
        name: String,
        /// JSON text so far.
        arguments: String,
    },
    /// What the model thought.
    Reasoning {
        /// All of it so far.
        text: String,
    },
}

impl Item {
    /// Before the item's id.
    pub(super) fn prefix(&self) -> &'static str {
        match self {
            Self::Message { .. } => "msg",
            Self::Call { .. } => "fc",
            Self::Reasoning { .. } => "rs",
        }
    }

    /// The item with `status` `in_progress`, `completed` or `incomplete`.
    pub(super) fn json(&self, id: &str, status: &str) -> Value {
        match self {
            Self::Message { text, logprobs } => {
                let content = match (text.is_empty(), status) {
                    (true, "in_progress") => json!([]),
                    _ => json!([text_part(text, logprobs)]),
                };
                json!({
                    "id": id, "type": "message", "status": status, "role": "assistant",
                    "content": content,
                })
            }
            Self::Call {
                call_id,
                name,
                arguments,
            } => json!({
                "id": id, "type": "function_call", "status": status, "call_id": call_id,
                "name": name, "arguments": arguments,
            }),
            Self::Reasoning { text } => {
                let content = match text.is_empty() {
                    true => json!([]),
                    false => json!([{ "type": "reasoning_text", "text": text }]),
                };
                json!({
                    "id": id, "type": "reasoning", "status": status, "summary": [],
                    "content": content,
                })
            }
        }
    }
}

/// A message's one content part.
pub(super) fn text_part(text: &str, logprobs: &[Value]) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": logprobs })
}

/// Why a response is not complete, or that it is not yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Status {
    /// It goes on.
    InProgress,
    /// It ended well.
    Completed,
    /// The limit of tokens was reached.
    Incomplete,
    /// It broke off: code and message.
    Failed(String, String),
}

impl Status {
    /// Its name in the API.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
            Self::Failed(..) => "failed",
        }
    }
}

/// Counts of the answer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Usage {
    /// Tokens of the prompt.
    pub(super) input: u32,
    /// Of these, from the prefix cache.
    pub(super) cached: u32,
    /// Tokens generated.
    pub(super) output: u32,
    /// Of these, in deltas that only carried reasoning.
    pub(super) reasoning: u32,
}

impl Usage {
    fn json(self) -> Value {
        json!({
            "input_tokens": self.input,
            "input_tokens_details": { "cached_tokens": self.cached },
            "output_tokens": self.output,
            "output_tokens_details": { "reasoning_tokens": self.reasoning },
            "total_tokens": u64::from(self.input) + u64::from(self.output),
        })
    }
}

/// The whole response object. `usage` is `None` before the end.
pub(super) fn response(
    identity: &Identity,
    echo: &Echo,
    status: &Status,
    output: &[Value],
    usage: Option<Usage>,
) -> Value {
    let error = match status {
        Status::Failed(code, message) => json!({ "code": code, "message": message }),
        _ => Value::Null,
    };
    let incomplete = match status {
        Status::Incomplete => json!({ "reason": "max_output_tokens" }),
        _ => Value::Null,
    };
    let mut object = json!({
        "id": identity.response(),
        "object": "response",
        "created_at": identity.created_at,
        "status": status.name(),
        "background": false,
        "error": error,
        "incomplete_details": incomplete,
        "model": echo.model,
        "output": output,
        "previous_response_id": null,
        "store": false,
        "truncation": "disabled",
        "usage": usage.map(Usage::json),
    });
    if let Some(object) = object.as_object_mut() {
        object.extend(echo.fields.clone());
    }
    object
}
