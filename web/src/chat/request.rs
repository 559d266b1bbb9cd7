//! The fields of a chat request as one request for an answer. Messages and tools stay as the
//! client sent them: they are checked here, and rendered by the head that holds the model.

use protocol::generate::{
    ChatPrompt, GenerateRequest, OutputFormat, ToolChoice, generate_request::Prompt,
    output_format::Format, tool_choice::Mode,
};
use serde_json::{Map, Value, json};

use crate::{
    caller::Caller,
    config::WebConfig,
    error::ApiError,
    fields::{Fields, missing, wrong},
    params::{Params, clamp},
};

mod messages;

/// Understands a request.
///
/// # Errors
/// 400 with the field at fault.
pub(super) fn parse(
    fields: &mut Fields,
    caller: &Caller,
    config: &WebConfig,
) -> Result<(Params, GenerateRequest), ApiError> {
    let params = Params::parse(fields, config)?;
    let request = GenerateRequest {
        prompt: Some(Prompt::Chat(chat(fields)?)),
        max_tokens: max_tokens(fields)?,
        format: format(fields)?,
        top_logprobs: top_logprobs(fields)?,
        ..params.request(caller)
    };
    Ok((params, request))
}

fn chat(fields: &mut Fields) -> Result<ChatPrompt, ApiError> {
    let messages = fields
        .array("messages")?
        .ok_or_else(|| missing("messages"))?;
    messages::check(&messages)?;
    let tools = tools(fields)?;
    Ok(ChatPrompt {
        messages_json: Value::Array(messages).to_string(),
        tool_choice: Some(tool_choice(fields, &tools)?),
        tools_json: match tools.is_empty() {
            true => String::new(),
            false => Value::Array(tools).to_string(),
        },
        parallel_tool_calls: fields.boolean("parallel_tool_calls")?.unwrap_or(true),
        template_kwargs_json: template_kwargs(fields)?,
    })
}

/// `chat_template_kwargs`, and `reasoning_effort`, which some templates read.
fn template_kwargs(fields: &mut Fields) -> Result<String, ApiError> {
    let mut kwargs = fields.object("chat_template_kwargs")?.unwrap_or_default();
    if let Some(effort) = fields.string("reasoning_effort")? {
        kwargs
            .entry("reasoning_effort")
            .or_insert(Value::String(effort));
    }
    Ok(match kwargs.is_empty() {
        true => String::new(),
        false => Value::Object(kwargs).to_string(),
    })
}

/// `max_completion_tokens` wins over `max_tokens`.
fn max_tokens(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    let old = fields.integer("max_tokens", 0..=i64::MAX)?;
    let new = fields.integer("max_completion_tokens", 0..=i64::MAX)?;
    Ok(new.or(old).map(clamp))
}

fn tools(fields: &mut Fields) -> Result<Vec<Value>, ApiError> {
    let tools = fields.array("tools")?.unwrap_or_default();
    if tools.iter().all(is_tool) {
        return Ok(tools);
    }
    let wanted = "a list of `{\"type\": \"function\", \"function\": {\"name\": …}}`";
    Err(wrong("tools", wanted))
}

fn is_tool(tool: &Value) -> bool {
    let function = &tool["function"];
    let named = function["name"].as_str().is_some_and(|n| !n.is_empty());
    let parameters = &function["parameters"];
    tool["type"] == "function" && named && (parameters.is_null() || parameters.is_object())
}

fn tool_choice(fields: &mut Fields, tools: &[Value]) -> Result<ToolChoice, ApiError> {
    let refusal = || {
        wrong(
            "tool_choice",
            "none, auto, required, or a function of `tools`",
        )
    };
    let mut function = String::new();
    let mode = match fields.take("tool_choice") {
        None => Mode::Auto,
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Mode::Auto,
            "none" => Mode::None,
            "required" => Mode::Required,
            _ => return Err(refusal()),
        },
        Some(choice) => {
            let name = choice["function"]["name"].as_str().ok_or_else(refusal)?;
            name.clone_into(&mut function);
            Mode::Function
        }
    };
    let is_named = |tool: &Value| tool["function"]["name"] == function.as_str();
    let possible = match mode {
        Mode::Required => !tools.is_empty(),
        Mode::Function => tools.iter().any(is_named),
        Mode::Auto | Mode::None => true,
    };
    let mode = mode.into();
    possible
        .then_some(ToolChoice { mode, function })
        .ok_or_else(refusal)
}

/// `response_format`, or llama.cpp's `grammar`.
fn format(fields: &mut Fields) -> Result<Option<OutputFormat>, ApiError> {
    let asked = match fields.object("response_format")? {
        Some(format) => response_format(&format)?,
        None => None,
    };
    let grammar = fields.string("grammar")?.filter(|text| !text.is_empty());
    let format = match (asked, grammar) {
        (Some(_), Some(_)) => return Err(wrong("grammar", "used without `response_format`")),
        (asked, grammar) => asked.or(grammar.map(Format::Grammar)),
    };
    Ok(format.map(|format| OutputFormat {
        format: Some(format),
    }))
}

fn response_format(format: &Map<String, Value>) -> Result<Option<Format>, ApiError> {
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        // llama.cpp's server takes a schema here; so do its clients.
        Some("json_object") => match format.get("schema") {
            Some(schema @ Value::Object(_)) => Ok(Some(Format::JsonSchema(schema.to_string()))),
            _ => Ok(Some(Format::JsonObject(true))),
        },
        Some("json_schema") => schema(format.get("json_schema")).map(Some),
        _ => {
            let wanted = "an object with the `type` text, json_object or json_schema";
            Err(wrong("response_format", wanted))
        }
    }
}

/// The schema itself; without one, any JSON object is meant.
fn schema(wrapper: Option<&Value>) -> Result<Format, ApiError> {
    const FIELD: &str = "response_format.json_schema";
    let wrapper = wrapper.and_then(Value::as_object).ok_or_else(|| {
        ApiError::field(
            FIELD,
            format!("`{FIELD}` must be an object with a `schema`."),
        )
    })?;
    match wrapper.get("schema") {
        None | Some(Value::Null) => Ok(Format::JsonSchema(json!({ "type": "object" }).to_string())),
        Some(schema @ (Value::Object(_) | Value::Bool(_))) => {
            Ok(Format::JsonSchema(schema.to_string()))
        }
        Some(_) => {
            let message = format!("`{FIELD}.schema` must be a JSON Schema.");
            Err(ApiError::field(FIELD, message))
        }
    }
}

/// `logprobs: true` alone works; `top_logprobs` needs it.
fn top_logprobs(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    let wanted = fields.flag("logprobs")?;
    let top = fields.integer("top_logprobs", 0..=20)?;
    match (wanted, top) {
        (false, Some(1..)) => Err(wrong("top_logprobs", "used together with `logprobs: true`")),
        (false, _) => Ok(None),
        (true, top) => Ok(Some(clamp(top.unwrap_or(0)))),
    }
}
