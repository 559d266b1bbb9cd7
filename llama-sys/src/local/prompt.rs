//! Prompts to tokens, tokens to text.

use crate::core::session::Lexicon;
use crate::engine::{JobError, Prompt, TokenLogprob};
use crate::ffi::model::Model;
use crate::stage::RawLogprob;

/// Texts in one embedding request: OpenAI's own limit.
const MAX_EMBEDDING_INPUTS: usize = 2048;

/// Bytes that a prompt makes work for.
pub(super) fn size_bytes(prompt: &Prompt) -> usize {
    match prompt {
        Prompt::Text { text, .. } => text.len(),
        Prompt::Tokens(tokens) => tokens.len(),
        Prompt::Infill { prefix, suffix } => prefix.len() + suffix.len(),
    }
}

/// The tokens of a prompt.
pub(super) fn tokens(model: &Model, prompt: Prompt) -> Result<Vec<u32>, JobError> {
    match prompt {
        Prompt::Text {
            text,
            parse_special,
        } => text_tokens(model, &text, parse_special),
        Prompt::Tokens(tokens) => {
            check(model, &tokens)?;
            Ok(tokens)
        }
        Prompt::Infill { prefix, suffix } => infill_tokens(model, &prefix, &suffix),
    }
}

/// The text's tokens, with BOS where the model wants it, but not twice.
fn text_tokens(model: &Model, text: &str, parse_special: bool) -> Result<Vec<u32>, JobError> {
    let mut tokens = tokenize(model, text, true, parse_special)?;
    if let (Some(bos), [first, second, ..]) = (model.bos(), tokens.as_slice())
        && *first == bos
        && *second == bos
    {
        tokens.remove(0);
    }
    Ok(tokens)
}

fn infill_tokens(model: &Model, prefix: &str, suffix: &str) -> Result<Vec<u32>, JobError> {
    let Some(around) = model.infill_tokens() else {
        let message = "this model cannot fill in the middle: it has no tokens for it";
        return Err(JobError::Unsupported(message.into()));
    };
    let mut tokens: Vec<u32> = model.bos().into_iter().collect();
    tokens.push(around.prefix);
    tokens.extend(tokenize(model, prefix, false, false)?);
    tokens.push(around.suffix);
    tokens.extend(tokenize(model, suffix, false, false)?);
    tokens.push(around.middle);
    Ok(tokens)
}

fn tokenize(
    model: &Model,
    text: &str,
    add_special: bool,
    parse_special: bool,
) -> Result<Vec<u32>, JobError> {
    model
        .tokenize(text, add_special, parse_special)
        .map_err(|e| JobError::Invalid(e.to_string()))
}

/// Refuses tokens outside the vocabulary.
pub(super) fn check(model: &Model, tokens: &[u32]) -> Result<(), JobError> {
    let vocab = model.vocab_size();
    match tokens.iter().find(|t| **t >= vocab) {
        Some(token) => Err(JobError::Invalid(format!(
            "token {token} is outside the vocabulary of {vocab} tokens"
        ))),
        None => Ok(()),
    }
}

/// The tokens of texts to be embedded, none longer than `most`.
pub(super) fn embedding_inputs(
    model: &Model,
    inputs: Vec<Prompt>,
    most: u32,
) -> Result<Vec<Vec<u32>>, JobError> {
    if inputs.len() > MAX_EMBEDDING_INPUTS {
        let message = format!("at most {MAX_EMBEDDING_INPUTS} texts can be embedded at once");
        return Err(JobError::Invalid(message));
    }
    let one = |input| {
        if matches!(input, Prompt::Infill { .. }) {
            return Err(JobError::Invalid("an embedding takes one text".into()));
        }
        let tokens = tokens(model, input)?;
        let length = u32::try_from(tokens.len()).unwrap_or(u32::MAX);
        if length > most {
            return Err(JobError::ContextLengthExceeded {
                prompt_tokens: length,
                context_length: most,
            });
        }
        if tokens.is_empty() {
            return Err(JobError::Invalid("the text to be embedded is empty".into()));
        }
        Ok(tokens)
    };
    inputs.into_iter().map(one).collect()
}

/// The text of tokens, special ones as the model writes them.
pub(super) fn detokenize(model: &Model, tokens: &[u32]) -> Result<String, JobError> {
    check(model, tokens)?;
    let mut bytes = Vec::with_capacity(tokens.len() * 4);
    for &token in tokens {
        model.append_piece(token, true, &mut bytes);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// How tokens show in an answer.
#[derive(Debug, Clone)]
pub(super) struct Words {
    pub(super) model: std::sync::Arc<Model>,
    pub(super) show_special: bool,
}

impl Words {
    /// A token, without how likely it was.
    pub(super) fn undescribed(&self, token: u32) -> TokenLogprob {
        let mut bytes = Vec::new();
        self.model.append_piece(token, true, &mut bytes);
        TokenLogprob {
            token,
            bytes,
            logprob: None,
            top: Vec::new(),
        }
    }

    /// A log-probability, with words.
    pub(super) fn describe(&self, raw: &RawLogprob) -> TokenLogprob {
        let entry = |token: u32, logprob: f32| TokenLogprob {
            logprob: Some(logprob),
            ..self.undescribed(token)
        };
        TokenLogprob {
            top: raw.top.iter().map(|(token, l)| entry(*token, *l)).collect(),
            ..entry(raw.token, raw.logprob)
        }
    }
}

impl Lexicon for Words {
    fn append_bytes(&self, token: u32, bytes: &mut Vec<u8>) {
        self.model.append_piece(token, self.show_special, bytes);
    }

    fn ends_answer(&self, token: u32) -> bool {
        self.model.is_end(token)
    }
}
