//! Whether a request keeps the protocol's limits, checked before anything is spent on it.
//!
//! The API checks a client's request and a head checks a peer's by the same rules. Fields are
//! named as OpenAI's API names them, for the message goes back to a client. What only the model
//! can tell (the context's length, the vocabulary) is not known here.

use std::ops::RangeInclusive;

use super::{
    ChatPrompt, EmbedInput, EmbedRequest, GenerateRequest, InfillPrompt, LogitBias, OutputFormat,
    Privacy, RequestError, Resume, Sampling, TokenPrompt, ToolChoice, embed_input,
    generate_request::Prompt, json, output_format::Format, tool_choice::Mode,
};
use crate::{
    ids::{ModelName, RequestId},
    limits::{
        MAX_EMBED_DIMENSIONS, MAX_EMBED_INPUTS, MAX_GRAMMAR_BYTES, MAX_LOGIT_BIAS,
        MAX_LOGIT_BIAS_VALUE, MAX_MESSAGES, MAX_PENALTY, MAX_PROMPT_BYTES, MAX_REPEAT_PENALTY,
        MAX_STOP_BYTES, MAX_STOP_STRINGS, MAX_TEMPERATURE, MAX_TEMPLATE_KWARGS_BYTES,
        MAX_TOKEN_TEXT_BYTES, MAX_TOKENS, MAX_TOOL_NAME_BYTES, MAX_TOOLS, MAX_TOOLS_BYTES,
        MAX_TOP_LOGPROBS,
    },
};

type Checked = Result<(), RequestError>;

impl GenerateRequest {
    /// Checks every field against the limits of [`crate::limits`].
    ///
    /// # Errors
    /// The first field at fault, as a [`RequestError`].
    pub fn validate(&self) -> Checked {
        RequestId::check(&self.request_id)?;
        ModelName::check(&self.model)?;
        self.prompt
            .as_ref()
            .ok_or(RequestError::Missing("prompt"))
            .and_then(check_prompt)?;
        self.sampling.as_ref().map_or(Ok(()), check_sampling)?;
        check_stop(&self.stop)?;
        self.format.as_ref().map_or(Ok(()), check_format)?;
        if let Some(alternatives) = self.top_logprobs {
            let value = f64::from(alternatives);
            check_range(
                "top_logprobs",
                value,
                0.0..=f64::from(MAX_TOP_LOGPROBS),
                "0..=20",
            )?;
        }
        check_privacy(self.privacy)?;
        match &self.resume {
            Some(resume) => self.check_resume(resume),
            None => Ok(()),
        }
    }

    /// An answer goes on under the seed that it began with, within the same limit of tokens.
    fn check_resume(&self, resume: &Resume) -> Checked {
        check_count("resume", resume.tokens.len(), MAX_TOKENS)?;
        let tokens = u64::try_from(resume.tokens.len()).unwrap_or(u64::MAX);
        let seeded = self.sampling.as_ref().is_some_and(|s| s.seed.is_some());
        let begun = tokens > 0 || resume.sent_text_bytes > 0;
        if begun && !seeded {
            return Err(malformed("seed", "given when an answer is resumed"));
        }
        if self.max_tokens.is_some_and(|max| tokens > u64::from(max)) {
            return Err(malformed("resume", "within `max_tokens`"));
        }
        // One token more: the beginning of its text may have been sent before it was told.
        let most = tokens
            .saturating_add(1)
            .saturating_mul(MAX_TOKEN_TEXT_BYTES);
        if resume.sent_text_bytes > most {
            return Err(malformed("resume", "text that its tokens can stand for"));
        }
        Ok(())
    }
}

impl EmbedRequest {
    /// Checks every field against the limits of [`crate::limits`].
    ///
    /// # Errors
    /// The first field at fault, as a [`RequestError`].
    pub fn validate(&self) -> Checked {
        RequestId::check(&self.request_id)?;
        ModelName::check(&self.model)?;
        if self.inputs.is_empty() {
            return Err(RequestError::Missing("input"));
        }
        check_count("input", self.inputs.len(), MAX_EMBED_INPUTS)?;
        self.inputs.iter().try_for_each(check_embed_input)?;
        let (bytes, tokens) = self.inputs.iter().fold((0, 0), add_input_size);
        check_length("input", bytes, MAX_PROMPT_BYTES)?;
        check_count("input", tokens, MAX_TOKENS)?;
        if let Some(dimensions) = self.dimensions {
            let range = 1.0..=f64::from(MAX_EMBED_DIMENSIONS);
            check_range("dimensions", f64::from(dimensions), range, "1..=65536")?;
        }
        check_privacy(self.privacy)
    }
}

fn check_prompt(prompt: &Prompt) -> Checked {
    match prompt {
        Prompt::Chat(chat) => check_chat(chat),
        Prompt::Text(text) => check_length("prompt", text.len(), MAX_PROMPT_BYTES),
        Prompt::Tokens(tokens) => check_tokens("prompt", tokens),
        Prompt::Infill(InfillPrompt { prefix, suffix }) => {
            check_length("prompt", prefix.len() + suffix.len(), MAX_PROMPT_BYTES)
        }
    }
}

fn check_chat(chat: &ChatPrompt) -> Checked {
    check_length("messages", chat.messages_json.len(), MAX_PROMPT_BYTES)?;
    match json::array_length(&chat.messages_json) {
        None => return Err(malformed("messages", "a JSON array of messages")),
        Some(0) => return Err(RequestError::Missing("messages")),
        Some(count) => check_count("messages", count, MAX_MESSAGES)?,
    }
    let tools = check_tools(&chat.tools_json)?;
    if let Some(choice) = &chat.tool_choice {
        check_tool_choice(choice, tools)?;
    }
    check_template_kwargs(&chat.template_kwargs_json)
}

/// Answers how many tools there are.
fn check_tools(tools_json: &str) -> Result<usize, RequestError> {
    if tools_json.is_empty() {
        return Ok(0);
    }
    check_length("tools", tools_json.len(), MAX_TOOLS_BYTES)?;
    let count = json::array_length(tools_json)
        .ok_or_else(|| malformed("tools", "a JSON array of tool definitions"))?;
    check_count("tools", count, MAX_TOOLS)?;
    Ok(count)
}

fn check_tool_choice(choice: &ToolChoice, tools: usize) -> Checked {
    let mode = Mode::try_from(choice.mode)
        .map_err(|_| malformed("tool_choice", "auto, none, required or a function"))?;
    check_length("tool_choice", choice.function.len(), MAX_TOOL_NAME_BYTES)?;
    match mode {
        Mode::Auto | Mode::None => Ok(()),
        Mode::Required | Mode::Function if tools == 0 => Err(RequestError::Missing("tools")),
        Mode::Function if choice.function.is_empty() => Err(RequestError::Missing("tool_choice")),
        Mode::Required | Mode::Function => Ok(()),
    }
}

fn check_template_kwargs(kwargs_json: &str) -> Checked {
    const PARAM: &str = "chat_template_kwargs";
    check_length(PARAM, kwargs_json.len(), MAX_TEMPLATE_KWARGS_BYTES)?;
    if kwargs_json.is_empty() || json::is_object(kwargs_json) {
        return Ok(());
    }
    Err(malformed(PARAM, "a JSON object"))
}

fn check_tokens(param: &'static str, prompt: &TokenPrompt) -> Checked {
    if prompt.tokens.is_empty() {
        return Err(RequestError::Missing(param));
    }
    check_count(param, prompt.tokens.len(), MAX_TOKENS)
}

fn check_sampling(sampling: &Sampling) -> Checked {
    let temperature = 0.0..=MAX_TEMPERATURE;
    let penalty = -MAX_PENALTY..=MAX_PENALTY;
    let repeat = f32::MIN_POSITIVE..=MAX_REPEAT_PENALTY;
    let bounded = [
        ("temperature", sampling.temperature, temperature, "0..=2"),
        ("top_p", sampling.top_p, 0.0..=1.0, "0..=1"),
        ("min_p", sampling.min_p, 0.0..=1.0, "0..=1"),
        (
            "repeat_penalty",
            sampling.repeat_penalty,
            repeat,
            "0..=10, 0 excluded",
        ),
        (
            "presence_penalty",
            sampling.presence_penalty,
            penalty.clone(),
            "-2..=2",
        ),
        (
            "frequency_penalty",
            sampling.frequency_penalty,
            penalty,
            "-2..=2",
        ),
    ];
    for (param, value, range, text) in bounded {
        let range = f64::from(*range.start())..=f64::from(*range.end());
        value.map_or(Ok(()), |value| {
            check_range(param, value.into(), range, text)
        })?;
    }
    check_count("logit_bias", sampling.logit_bias.len(), MAX_LOGIT_BIAS)?;
    sampling.logit_bias.iter().try_for_each(check_logit_bias)
}

/// −∞ forbids a token; every other bias is finite.
fn check_logit_bias(entry: &LogitBias) -> Checked {
    if entry.bias == f32::NEG_INFINITY {
        return Ok(());
    }
    let largest = f64::from(MAX_LOGIT_BIAS_VALUE);
    check_range(
        "logit_bias",
        entry.bias.into(),
        -largest..=largest,
        "-100..=100",
    )
}

fn check_stop(stop: &[String]) -> Checked {
    check_count("stop", stop.len(), MAX_STOP_STRINGS)?;
    stop.iter().try_for_each(|text| {
        if text.is_empty() {
            return Err(RequestError::Missing("stop"));
        }
        check_length("stop", text.len(), MAX_STOP_BYTES)
    })
}

fn check_format(format: &OutputFormat) -> Checked {
    const PARAM: &str = "response_format";
    match &format.format {
        None | Some(Format::JsonObject(_)) => Ok(()),
        Some(Format::JsonSchema(schema)) => {
            check_length(PARAM, schema.len(), MAX_GRAMMAR_BYTES)?;
            let valid = json::is_schema(schema);
            valid
                .then_some(())
                .ok_or_else(|| malformed(PARAM, "a JSON Schema"))
        }
        Some(Format::Grammar(grammar)) if grammar.is_empty() => Err(RequestError::Missing(PARAM)),
        Some(Format::Grammar(grammar)) => check_length(PARAM, grammar.len(), MAX_GRAMMAR_BYTES),
    }
}

fn check_privacy(privacy: i32) -> Checked {
    // A level that this version does not know may be stricter than all that it knows.
    Privacy::try_from(privacy)
        .map(|_| ())
        .map_err(|_| malformed("privacy", "local, trusted or swarm"))
}

fn check_embed_input(input: &EmbedInput) -> Checked {
    match &input.input {
        Some(embed_input::Input::Text(text)) if !text.is_empty() => Ok(()),
        Some(embed_input::Input::Tokens(tokens)) => check_tokens("input", tokens),
        _ => Err(RequestError::Missing("input")),
    }
}

fn add_input_size((bytes, tokens): (usize, usize), input: &EmbedInput) -> (usize, usize) {
    match &input.input {
        Some(embed_input::Input::Text(text)) => (bytes + text.len(), tokens),
        Some(embed_input::Input::Tokens(prompt)) => (bytes, tokens + prompt.tokens.len()),
        None => (bytes, tokens),
    }
}

fn check_length(param: &'static str, bytes: usize, limit: usize) -> Checked {
    if bytes > limit {
        return Err(RequestError::TooLong {
            param,
            bytes,
            limit,
        });
    }
    Ok(())
}

fn check_count(param: &'static str, count: usize, limit: usize) -> Checked {
    if count > limit {
        return Err(RequestError::TooMany {
            param,
            count,
            limit,
        });
    }
    Ok(())
}

/// NaN lies in no range.
fn check_range(
    param: &'static str,
    value: f64,
    allowed: RangeInclusive<f64>,
    range: &'static str,
) -> Checked {
    if allowed.contains(&value) {
        return Ok(());
    }
    Err(RequestError::OutOfRange {
        param,
        value,
        range,
    })
}

fn malformed(param: &'static str, expected: &'static str) -> RequestError {
    RequestError::Malformed { param, expected }
}

#[cfg(test)]
mod tests;
