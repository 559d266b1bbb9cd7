//! The fields of a Responses request as one `GenerateRequest`, and what the response repeats of
//! them. It knows nothing of answers.

use protocol::generate::{
    ChatPrompt, Failure, GenerateRequest, OutputFormat, Sampling, ToolChoice,
    generate_request::Prompt, output_format, tool_choice::Mode,
};
use serde_json::{Map, Value, json};

use super::{input, object::Echo};
use crate::{
    caller::Caller,
    error::ApiError,
    fields::{Fields, wrong},
};

/// OpenAI's bound on metadata pairs; more would be stored by nobody.
const MAX_METADATA: usize = 16;

/// A request, understood.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) generate: GenerateRequest,
    pub(super) echo: Echo,
    pub(super) stream: bool,
}

/// Understands a request.
///
/// # Errors
/// 400 with the field at fault.
pub(super) fn parse(fields: &mut Fields, caller: &Caller) -> Result<Asked, ApiError> {
    refuse_state(fields)?;
    let model = fields.required_string("model")?;
    let stream = fields.flag("stream")?;
    let instructions = fields.string("instructions")?;
    let messages = input::messages(instructions.clone(), fields.take("input"))?;
    let sampling = sampling(fields)?;
    let max_tokens = fields.integer("max_output_tokens", 1..=i64::from(u32::MAX))?;
    let (tools, tool_choice) = (tools(fields)?, tool_choice(fields)?);
    let parallel = fields.boolean("parallel_tool_calls")?.unwrap_or(true);
    let (format, text) = text_format(fields)?;
    let top_logprobs = logprobs(fields)?;
    let metadata = metadata(fields)?;
    let echo = Echo {
        model: model.clone(),
        fields: object([
            ("instructions", json!(instructions)),
            ("max_output_tokens", json!(max_tokens)),
            ("temperature", json!(sampling.temperature)),
            ("top_p", json!(sampling.top_p)),
            ("parallel_tool_calls", json!(parallel)),
            ("tools", json!(tools)),
            ("tool_choice", tool_choice.1),
            ("text", text),
            ("reasoning", json!({ "effort": null, "summary": null })),
            ("metadata", Value::Object(metadata)),
            ("user", json!(fields.string("user")?)),
        ]),
    };
    let tools_json = chat_tools(&tools);
    let chat = ChatPrompt {
        messages_json: Value::Array(messages).to_string(),
        tools_json,
        tool_choice: Some(tool_choice.0),
        parallel_tool_calls: parallel,
        template_kwargs_json: String::new(),
    };
    let generate = GenerateRequest {
        request_id: caller.request_id.generation(0),
        model,
        prompt: Some(Prompt::Chat(chat)),
        sampling: Some(sampling),
        max_tokens: max_tokens.and_then(|n| u32::try_from(n).ok()),
        format,
        top_logprobs,
        privacy: caller.privacy.into(),
        ..GenerateRequest::default()
    };
    let refuse = |error| ApiError::from(Failure::from(error));
    generate.validate().map_err(refuse)?;
    Ok(Asked {
        generate,
        echo,
        stream,
    })
}

/// Nothing is stored here: what refers to something stored is refused, and clearly.
fn refuse_state(fields: &mut Fields) -> Result<(), ApiError> {
    for name in ["previous_response_id", "conversation", "prompt"] {
        if fields.take(name).is_some() {
            let message =
                format!("`{name}` is not supported: nothing is stored here. Send the whole input.");
            return Err(ApiError::field(name, message).with_code("unsupported"));
        }
    }
    if fields.flag("background")? {
        let message = "`background` is not supported: an answer lasts as long as its connection.";
        return Err(ApiError::field("background", message).with_code("unsupported"));
    }
    Ok(())
}

fn sampling(fields: &mut Fields) -> Result<Sampling, ApiError> {
    Ok(Sampling {
        temperature: fields.number("temperature", 0.0..=2.0)?,
        top_p: fields.number("top_p", 0.0..=1.0)?,
        seed: fields
            .integer("seed", i64::MIN..=i64::MAX)?
            .map(i64::cast_unsigned),
        ..Sampling::default()
    })
}

/// The tools as sent, functions only.
fn tools(fields: &mut Fields) -> Result<Vec<Value>, ApiError> {
    let tools = fields.array("tools")?.unwrap_or_default();
    for tool in &tools {
        if tool["type"] != "function" {
            let message = format!("Tools of type {} are not supported here.", tool["type"]);
            return Err(ApiError::field("tools", message).with_code("unsupported"));
        }
        if tool["name"].as_str().is_none_or(str::is_empty) {
            return Err(wrong("tools", "functions with a `name`"));
        }
    }
    Ok(tools)
}

/// The same tools in the shape of chat completions; none: empty.
fn chat_tools(tools: &[Value]) -> String {
    if tools.is_empty() {
        return String::new();
    }
    let nested = tools.iter().map(|tool| {
        let mut function = tool.as_object().cloned().unwrap_or_default();
        function.remove("type");
        json!({ "type": "function", "function": function })
    });
    Value::Array(nested.collect()).to_string()
}

/// The choice, and how the response repeats it.
fn tool_choice(fields: &mut Fields) -> Result<(ToolChoice, Value), ApiError> {
    let sent = fields.take("tool_choice").unwrap_or_else(|| json!("auto"));
    let mode = match sent.as_str() {
        Some("auto") => Mode::Auto,
        Some("none") => Mode::None,
        Some("required") => Mode::Required,
        Some(_) => return Err(wrong("tool_choice", "auto, none, required or a function")),
        None if sent["type"] == "function" => Mode::Function,
        None => return Err(wrong("tool_choice", "auto, none, required or a function")),
    };
    let function = sent["name"].as_str().unwrap_or_default().to_owned();
    if mode == Mode::Function && function.is_empty() {
        return Err(wrong("tool_choice", "a function with a `name`"));
    }
    let choice = ToolChoice {
        mode: mode.into(),
        function,
    };
    Ok((choice, sent))
}

/// `text.format`, and how the response repeats it.
fn text_format(fields: &mut Fields) -> Result<(Option<OutputFormat>, Value), ApiError> {
    let text = fields.object("text")?.unwrap_or_default();
    let format = text.get("format").filter(|format| !format.is_null());
    let Some(format) = format.cloned() else {
        return Ok((None, json!({ "format": { "type": "text" } })));
    };
    let enforced = match format["type"].as_str() {
        Some("text") => None,
        Some("json_object") => Some(output_format::Format::JsonObject(true)),
        Some("json_schema") if format["schema"].is_object() => Some(
            output_format::Format::JsonSchema(format["schema"].to_string()),
        ),
        Some("json_schema") => {
            return Err(ApiError::field(
                "text.format.schema",
                "`text.format.schema` is missing.",
            ));
        }
        _ => {
            let message = "`text.format.type` must be text, json_object or json_schema.";
            return Err(ApiError::field("text.format", message));
        }
    };
    let enforced = enforced.map(|format| OutputFormat {
        format: Some(format),
    });
    Ok((enforced, json!({ "format": format })))
}

/// Log-probabilities come with `top_logprobs` or when `include` names them.
fn logprobs(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    let top = fields.integer("top_logprobs", 0..=20)?;
    let included = fields.array("include")?.unwrap_or_default();
    let wanted = included.contains(&json!("message.output_text.logprobs"));
    let top = top.and_then(|n| u32::try_from(n).ok());
    Ok(top.or(wanted.then_some(0)))
}

fn metadata(fields: &mut Fields) -> Result<Map<String, Value>, ApiError> {
    let metadata = fields.object("metadata")?.unwrap_or_default();
    if metadata.len() > MAX_METADATA {
        return Err(wrong("metadata", &format!("at most {MAX_METADATA} pairs")));
    }
    Ok(metadata)
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
}
