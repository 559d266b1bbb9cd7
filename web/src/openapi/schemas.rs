//! The schemas of the document: the fields that are read and given. Requests may carry others,
//! which are ignored. It knows no route.

use serde_json::{Value, json};

use crate::boards::KINDS;

/// Every schema by name.
pub(super) fn all() -> Value {
    let mut all = openai();
    if let (Some(all), Value::Object(more)) = (all.as_object_mut(), blackboard()) {
        all.extend(more);
    }
    all
}

fn openai() -> Value {
    json!({
        "Object": { "type": "object" },
        "Objects": { "type": "array", "items": { "type": "object" } },
        "Demand": demand(),
        "Named": object(&["name"], &json!({ "name": { "type": "string" } })),
        "Health": object(&["status"], &json!({ "status": { "type": "string" } })),
        "Error": error(),
        "Model": model(),
        "ModelList": list("Model"),
        "ChatRequest": chat_request(),
        "ChatCompletion": answer("chat.completion"),
        "CompletionRequest": completion_request(),
        "Completion": answer("text_completion"),
        "EmbeddingRequest": embedding_request(),
        "EmbeddingList": list("Object"),
        "ResponseRequest": response_request(),
        "Response": object(&["id", "object", "status", "output"], &json!({
            "id": { "type": "string" },
            "object": { "const": "response" },
            "created_at": { "type": "integer" },
            "status": { "enum": ["in_progress", "completed", "incomplete", "failed"] },
            "output": { "type": "array", "items": { "type": "object" } },
            "usage": { "type": ["object", "null"] },
            "shoal": served(),
        })),
    })
}

fn demand() -> Value {
    let (text, number) = (json!({ "type": "string" }), json!({ "type": "number" }));
    let count = json!({ "type": "integer" });
    let fields = [
        "model",
        "arrivals_per_second",
        "arrivals_error",
        "unmet_per_second",
        "unmet_error",
        "waiting_ms",
        "authors",
        "heads",
    ];
    let model = json!({
        "model": text, "arrivals_per_second": number, "arrivals_error": number,
        "unmet_per_second": number, "unmet_error": number, "waiting_ms": number,
        "authors": count, "heads": count,
    });
    object(
        &["half_life_seconds", "models"],
        &json!({
            "half_life_seconds": count,
            "models": { "type": "array", "items": object(&fields, &model) },
        }),
    )
}

fn blackboard() -> Value {
    let text = json!({ "type": "string" });
    let perhaps = json!({ "type": ["string", "null"] });
    let attachment = json!({ "name": perhaps, "base64": text });
    let attachments = json!({ "type": "array", "items": object(&["base64"], &attachment) });
    json!({
        "Boards": { "type": "array", "items": object(&["name", "notes", "last_written", "followed"], &json!({
            "name": text, "notes": { "type": "integer" },
            "last_written": { "type": ["integer", "null"] }, "followed": { "type": "boolean" },
        })) },
        "NewNote": object(&["board", "kind", "body"], &json!({
            "board": text, "kind": { "enum": KINDS }, "body": text, "parent": perhaps,
            "agent": perhaps, "expires_in_seconds": { "type": ["integer", "null"] },
            "attachments": attachments, "allow_secrets": { "type": "boolean" },
        })),
        "Note": note(&text, &perhaps),
        "Notes": { "type": "array", "items": { "$ref": "#/components/schemas/Note" } },
        "Following": object(&["board", "followed"], &json!({
            "board": text, "followed": { "type": "boolean" },
        })),
        "Posting": object(&["allowed"], &json!({ "allowed": { "type": "boolean" } })),
        "AuthorChange": object(&["author", "standing"], &json!({
            "author": text,
            "standing": { "oneOf": [
                { "enum": ["muted", "unknown"] },
                object(&["trusted"], &json!({
                    "trusted": object(&[], &json!({ "name": perhaps })),
                })),
            ] },
        })),
    })
}

fn note(text: &Value, perhaps: &Value) -> Value {
    let fields = [
        "id",
        "board",
        "kind",
        "parent",
        "body",
        "agent",
        "author",
        "author_name",
        "standing",
        "verified",
        "written",
        "expires",
        "withdrawn",
        "attachments",
        "warnings",
    ];
    object(
        &fields,
        &json!({
            "id": text, "board": text, "kind": { "enum": KINDS }, "parent": perhaps, "body": text,
            "agent": perhaps, "author": text, "author_name": perhaps,
            "standing": { "enum": ["self", "trusted", "unknown", "muted"] },
            "verified": { "type": "boolean" }, "written": { "type": "integer" },
            "expires": { "type": "integer" }, "withdrawn": { "type": "boolean" },
            "attachments": { "type": "array", "items": { "type": "object" } },
            "warnings": { "type": "array", "items": text },
        }),
    )
}

fn object(required: &[&str], properties: &Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}

fn list(of: &str) -> Value {
    object(
        &["object", "data"],
        &json!({
            "object": { "const": "list" },
            "data": { "type": "array", "items": { "$ref": format!("#/components/schemas/{of}") } },
        }),
    )
}

fn error() -> Value {
    let nullable = json!({ "type": ["string", "null"] });
    let inner = object(
        &["message", "type", "param", "code"],
        &json!({
            "message": { "type": "string" }, "type": { "type": "string" },
            "param": nullable, "code": nullable,
        }),
    );
    object(&["error"], &json!({ "error": inner }))
}

fn model() -> Value {
    object(
        &["id", "object", "created", "owned_by"],
        &json!({
            "id": { "type": "string" },
            "object": { "const": "model" },
            "created": { "type": "integer" },
            "owned_by": { "type": "string" },
        }),
    )
}

/// Fields that chat and plain completions share.
fn sampling() -> Value {
    let penalty = json!({ "type": ["number", "null"], "minimum": -2, "maximum": 2 });
    json!({
        "model": { "type": "string" },
        "stream": { "type": ["boolean", "null"] },
        "stream_options": { "type": ["object", "null"] },
        "temperature": { "type": ["number", "null"], "minimum": 0, "maximum": 2 },
        "top_p": { "type": ["number", "null"], "minimum": 0, "maximum": 1 },
        "top_k": { "type": ["integer", "null"], "minimum": 0 },
        "min_p": { "type": ["number", "null"], "minimum": 0, "maximum": 1 },
        "repeat_penalty": { "type": ["number", "null"] },
        "presence_penalty": penalty,
        "frequency_penalty": penalty,
        "logit_bias": { "type": ["object", "null"], "additionalProperties": { "type": "number" } },
        "max_tokens": { "type": ["integer", "null"], "minimum": 0 },
        "n": { "type": ["integer", "null"], "minimum": 1, "maximum": 128 },
        "seed": { "type": ["integer", "null"] },
        "stop": { "type": ["string", "array", "null"], "items": { "type": "string" } },
        "user": { "type": ["string", "null"] },
    })
}

fn with_sampling(required: &[&str], own: Value) -> Value {
    let mut properties = sampling();
    if let (Some(all), Value::Object(own)) = (properties.as_object_mut(), own) {
        all.extend(own);
    }
    object(required, &properties)
}

fn chat_request() -> Value {
    let message = object(
        &["role"],
        &json!({
            "role": { "enum": ["system", "developer", "user", "assistant", "tool"] },
            "content": { "type": ["string", "array", "null"] },
            "tool_calls": { "type": ["array", "null"] },
            "tool_call_id": { "type": ["string", "null"] },
        }),
    );
    with_sampling(
        &["model", "messages"],
        json!({
            "messages": { "type": "array", "minItems": 1, "items": message },
            "max_completion_tokens": { "type": ["integer", "null"], "minimum": 0 },
            "tools": { "type": ["array", "null"], "items": { "type": "object" } },
            "tool_choice": { "type": ["string", "object", "null"] },
            "parallel_tool_calls": { "type": ["boolean", "null"] },
            "response_format": { "type": ["object", "null"] },
            "logprobs": { "type": ["boolean", "null"] },
            "top_logprobs": { "type": ["integer", "null"], "minimum": 0, "maximum": 20 },
        }),
    )
}

fn completion_request() -> Value {
    with_sampling(
        &["model", "prompt"],
        json!({
            "prompt": { "type": ["string", "array"] },
            "suffix": { "type": ["string", "null"] },
            "echo": { "type": ["boolean", "null"] },
            "logprobs": { "type": ["integer", "null"], "minimum": 0 },
        }),
    )
}

fn embedding_request() -> Value {
    object(
        &["model", "input"],
        &json!({
            "model": { "type": "string" },
            "input": { "type": ["string", "array"] },
            "encoding_format": { "enum": ["float", "base64", null] },
            "dimensions": { "type": ["integer", "null"], "minimum": 1 },
        }),
    )
}

fn response_request() -> Value {
    object(
        &["model", "input"],
        &json!({
            "model": { "type": "string" },
            "input": { "type": ["string", "array"] },
            "instructions": { "type": ["string", "null"] },
            "max_output_tokens": { "type": ["integer", "null"], "minimum": 1 },
            "temperature": { "type": ["number", "null"], "minimum": 0, "maximum": 2 },
            "top_p": { "type": ["number", "null"], "minimum": 0, "maximum": 1 },
            "stream": { "type": ["boolean", "null"] },
            "tools": { "type": ["array", "null"], "items": { "type": "object" } },
            "tool_choice": { "type": ["string", "object", "null"] },
            "parallel_tool_calls": { "type": ["boolean", "null"] },
            "text": { "type": ["object", "null"] },
            "top_logprobs": { "type": ["integer", "null"], "minimum": 0, "maximum": 20 },
        }),
    )
}

/// There only where another node than this one took part.
fn served() -> Value {
    object(
        &["served_by"],
        &json!({
            "served_by": {
                "description": "The peers that answered, in order; `local` is this node",
                "type": "array",
                "items": { "type": "string" },
            },
        }),
    )
}

fn answer(kind: &str) -> Value {
    object(
        &["id", "object", "created", "model", "choices"],
        &json!({
            "id": { "type": "string" },
            "object": { "const": kind },
            "created": { "type": "integer" },
            "model": { "type": "string" },
            "choices": { "type": "array", "items": { "type": "object" } },
            "usage": { "type": ["object", "null"] },
            "shoal": served(),
        }),
    )
}
