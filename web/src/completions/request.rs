//! The fields of a completion request as one request for each prompt.

use protocol::generate::{GenerateRequest, InfillPrompt, TokenPrompt, generate_request::Prompt};
use serde_json::Value;

use crate::{
    caller::Caller,
    config::WebConfig,
    error::ApiError,
    fields::{Fields, missing, whole_number, wrong},
    params::{Params, clamp},
};

/// OpenAI's own default of completions.
const DEFAULT_MAX_TOKENS: i64 = 16;

/// A completion request, understood.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) params: Params,
    /// One for each prompt.
    pub(super) prompts: Vec<GenerateRequest>,
    /// Whether the prompt comes back before its completion, and for each prompt its text; that
    /// of token ids is known to the head only.
    pub(super) echo: Option<Vec<Option<String>>>,
    /// Alternatives beside each token; `None`: no log-probabilities.
    pub(super) logprobs: Option<u32>,
}

/// Understands a request.
///
/// # Errors
/// 400 with the field at fault.
pub(super) fn parse(
    fields: &mut Fields,
    caller: &Caller,
    config: &WebConfig,
) -> Result<Asked, ApiError> {
    let params = Params::parse(fields, config)?;
    let best_of = fields.integer("best_of", 1..=i64::MAX)?;
    if best_of.is_some_and(|best_of| best_of != i64::from(params.choices)) {
        return Err(wrong("best_of", "the same as `n`"));
    }
    let echo = fields.flag("echo")?;
    let logprobs = fields.integer("logprobs", 0..=20)?.map(clamp);
    let max_tokens = fields.integer("max_tokens", 0..=i64::MAX)?;
    let prompts = prompts(fields.take("prompt").ok_or_else(|| missing("prompt"))?)?;
    let prompts = match fields.string("suffix")?.filter(|s| !s.is_empty()) {
        Some(_) if echo => return Err(wrong("suffix", "used without `echo`")),
        Some(suffix) => infill(prompts, &suffix)?,
        None => prompts,
    };
    let echoed = echo.then(|| prompts.iter().map(text_of).collect());
    let request = |prompt| GenerateRequest {
        prompt: Some(prompt),
        max_tokens: Some(clamp(max_tokens.unwrap_or(DEFAULT_MAX_TOKENS))),
        top_logprobs: logprobs,
        prompt_logprobs: echo && logprobs.is_some(),
        ..params.request(caller)
    };
    Ok(Asked {
        prompts: prompts.into_iter().map(request).collect(),
        echo: echoed,
        logprobs,
        params,
    })
}

fn text_of(prompt: &Prompt) -> Option<String> {
    match prompt {
        Prompt::Text(text) => Some(text.clone()),
        _ => None,
    }
}

/// A text, texts, token ids, or lists of token ids.
fn prompts(prompt: Value) -> Result<Vec<Prompt>, ApiError> {
    let items = match prompt {
        Value::String(text) => return Ok(vec![Prompt::Text(text)]),
        Value::Array(items) if !items.is_empty() => items,
        _ => return Err(refusal()),
    };
    if items[0].is_number() {
        return Ok(vec![tokens(&items)?]);
    }
    let one = |item| match item {
        Value::String(text) => Ok(Prompt::Text(text)),
        Value::Array(ids) => tokens(&ids),
        _ => Err(refusal()),
    };
    items.into_iter().map(one).collect()
}

fn tokens(ids: &[Value]) -> Result<Prompt, ApiError> {
    let id = |id: &Value| whole_number(id).and_then(|id| u32::try_from(id).ok());
    let tokens: Option<Vec<u32>> = ids.iter().map(id).collect();
    let tokens = tokens.filter(|tokens| !tokens.is_empty());
    tokens
        .map(|tokens| Prompt::Tokens(TokenPrompt { tokens }))
        .ok_or_else(refusal)
}

fn refusal() -> ApiError {
    let wanted = "a text, a list of texts, a list of token ids, or a list of such lists, not empty";
    wrong("prompt", wanted)
}

fn infill(prompts: Vec<Prompt>, suffix: &str) -> Result<Vec<Prompt>, ApiError> {
    let one = |prompt| match prompt {
        Prompt::Text(prefix) => Ok(Prompt::Infill(InfillPrompt {
            prefix,
            suffix: suffix.to_owned(),
        })),
        _ => Err(wrong("suffix", "used with a `prompt` of text")),
    };
    prompts.into_iter().map(one).collect()
}
