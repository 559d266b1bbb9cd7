//! Fields that chat and plain completions share: sampling, limits, stops, choices, streaming.
//! It knows neither messages nor prompts.

use protocol::generate::{GenerateRequest, LogitBias, Sampling};
use serde_json::Value;

use crate::{
    caller::Caller,
    config::WebConfig,
    error::ApiError,
    fields::{Fields, wrong},
};

/// Penalties of the OpenAI API lie within this.
const PENALTY: f32 = 2.0;
/// A repeat penalty above this forbids every repetition.
const MAX_REPEAT_PENALTY: f32 = 10.0;
/// Biases of the OpenAI API lie within this.
const MAX_BIAS: f64 = 100.0;
/// Bytes of prompts, each counted once for each of its choices: every choice is a request of its
/// own, and 128 copies of the longest prompt would be 768 MiB.
const MAX_SPREAD_BYTES: usize = 64 << 20;

/// The shared fields, understood.
#[derive(Debug)]
pub(crate) struct Params {
    /// The name that the client used.
    pub(crate) model: String,
    /// How tokens are chosen.
    pub(crate) sampling: Sampling,
    /// Strings that end the answer.
    pub(crate) stop: Vec<String>,
    /// `n`: answers wanted of each prompt.
    pub(crate) choices: u32,
    /// Whether events are wanted.
    pub(crate) stream: bool,
    /// `stream_options.include_usage` of a stream.
    pub(crate) include_usage: bool,
}

impl Params {
    /// Takes the shared fields.
    ///
    /// # Errors
    /// 400 with the field at fault.
    pub(crate) fn parse(fields: &mut Fields, config: &WebConfig) -> Result<Self, ApiError> {
        let choices = fields.integer("n", 1..=i64::from(config.max_choices))?;
        let stream = fields.flag("stream")?;
        let include_usage = include_usage(fields)?;
        Ok(Self {
            model: fields.required_string("model")?,
            sampling: sampling(fields)?,
            stop: stop(fields)?,
            choices: choices.map_or(1, clamp),
            stream,
            include_usage: stream && include_usage,
        })
    }

    /// The request as it stands so far, for a prompt that is still to be set.
    pub(crate) fn request(&self, caller: &Caller) -> GenerateRequest {
        GenerateRequest {
            request_id: caller.request_id.generation(0),
            model: self.model.clone(),
            sampling: Some(self.sampling.clone()),
            stop: self.stop.clone(),
            privacy: caller.privacy.into(),
            ..GenerateRequest::default()
        }
    }

    /// One request for each choice of each of `prompts`, in order: ids of their own, and of a
    /// seed its successors, so that choices differ and the same request still gives the same
    /// answers. The first choice of every prompt has the client's own seed.
    ///
    /// # Errors
    /// 400 for more choices or more copies of the prompt than one request may have.
    pub(crate) fn spread(
        &self,
        prompts: Vec<GenerateRequest>,
        caller: &Caller,
        config: &WebConfig,
    ) -> Result<Vec<GenerateRequest>, ApiError> {
        let choices = self.choices as usize;
        let bytes: usize = prompts.iter().map(prompt_bytes).sum();
        let count = prompts.len().saturating_mul(choices);
        let limit = config.max_choices as usize;
        if count > limit || bytes.saturating_mul(choices) > MAX_SPREAD_BYTES && choices > 1 {
            let wanted = format!("so that there are at most {limit} answers in one request");
            return Err(wrong("n", &wanted));
        }
        let mut all = Vec::with_capacity(count);
        for prompt in prompts {
            for choice in 0..self.choices {
                let mut request = prompt.clone();
                request.request_id = caller.request_id.generation(all.len());
                if let Some(sampling) = &mut request.sampling {
                    sampling.seed = sampling.seed.map(|seed| seed.wrapping_add(choice.into()));
                }
                all.push(request);
            }
        }
        Ok(all)
    }
}

/// A limit as the protocol has it; beyond its range it limits nothing.
pub(crate) fn clamp(limit: i64) -> u32 {
    u32::try_from(limit.max(0)).unwrap_or(u32::MAX)
}

fn prompt_bytes(request: &GenerateRequest) -> usize {
    use protocol::generate::generate_request::Prompt;
    match &request.prompt {
        None => 0,
        Some(Prompt::Chat(chat)) => chat.messages_json.len() + chat.tools_json.len(),
        Some(Prompt::Text(text)) => text.len(),
        Some(Prompt::Tokens(prompt)) => prompt.tokens.len() * 4,
        Some(Prompt::Infill(infill)) => infill.prefix.len() + infill.suffix.len(),
    }
}

fn sampling(fields: &mut Fields) -> Result<Sampling, ApiError> {
    let top_k = fields.integer("top_k", -1..=i64::MAX)?;
    let repeat = f32::MIN_POSITIVE..=MAX_REPEAT_PENALTY;
    let repeat_penalty = fields.number("repeat_penalty", repeat.clone())?;
    let repetition_penalty = fields.number("repetition_penalty", repeat)?;
    let seed = fields.integer("seed", i64::MIN..=i64::MAX)?;
    Ok(Sampling {
        temperature: fields.number("temperature", 0.0..=2.0)?,
        top_p: fields.number("top_p", 0.0..=1.0)?,
        // −1 is how some clients say "off".
        top_k: top_k.map(clamp),
        min_p: fields.number("min_p", 0.0..=1.0)?,
        repeat_penalty: repeat_penalty.or(repetition_penalty),
        presence_penalty: fields.number("presence_penalty", -PENALTY..=PENALTY)?,
        frequency_penalty: fields.number("frequency_penalty", -PENALTY..=PENALTY)?,
        logit_bias: logit_bias(fields)?,
        seed: seed.map(i64::cast_unsigned),
    })
}

fn logit_bias(fields: &mut Fields) -> Result<Vec<LogitBias>, ApiError> {
    let biases = fields.object("logit_bias")?.unwrap_or_default();
    let one = |(token, bias): (String, Value)| {
        let bias = bias.as_f64().filter(|bias| bias.abs() <= MAX_BIAS);
        #[expect(clippy::cast_possible_truncation, reason = "a logit is a float")]
        let bias = bias.map(|bias| bias as f32);
        let pair = token.parse().ok().zip(bias);
        pair.map(|(token, bias)| LogitBias { token, bias })
            .ok_or_else(|| wrong("logit_bias", "token ids with numbers from -100 to 100"))
    };
    biases.into_iter().map(one).collect()
}

/// One string or several. An empty one stops nothing and is left out.
fn stop(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let stops = match fields.take("stop") {
        None => return Ok(Vec::new()),
        Some(Value::Array(stops)) => stops,
        Some(one) => vec![one],
    };
    let text = |stop: Value| match stop {
        Value::String(text) => Ok(text),
        _ => Err(wrong("stop", "a string or a list of strings")),
    };
    let texts: Result<Vec<String>, ApiError> = stops.into_iter().map(text).collect();
    Ok(texts?.into_iter().filter(|text| !text.is_empty()).collect())
}

fn include_usage(fields: &mut Fields) -> Result<bool, ApiError> {
    let Some(options) = fields.object("stream_options")? else {
        return Ok(false);
    };
    Fields::of(options).flag("include_usage")
}
