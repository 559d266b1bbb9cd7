//! How many tokens a prompt has, as far as one can tell without the model's tokenizer.

use protocol::generate::GenerateRequest;
use protocol::generate::generate_request::Prompt;

/// Tokens of a usual answer: what is reckoned with where more are allowed.
pub const EXPECTED_ANSWER: u32 = 256;

/// Bytes a token, at most on the whole of a text: indented code and long words of one language.
const MOST_BYTES: usize = 8;

/// Bytes a token in English and in code: vocabularies of 100,000 tokens have 4 to 4.5.
const LIKELY_BYTES: usize = 4;

/// Bytes a token that a cautious guess takes: languages that the vocabulary knows badly.
const LEAST_BYTES: usize = 3;

/// Bounds of a prompt's tokens; equal where it came as tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PromptSize {
    /// It has hardly fewer.
    pub least: u32,
    /// It has hardly more.
    pub most: u32,
}

impl PromptSize {
    /// The bounds of a request's prompt.
    pub fn of(request: &GenerateRequest) -> Self {
        match &request.prompt {
            None => Self::exactly(0),
            Some(Prompt::Tokens(prompt)) => Self::exactly(prompt.tokens.len()),
            Some(Prompt::Text(text)) => Self::of_bytes(text.len()),
            Some(Prompt::Infill(infill)) => {
                Self::of_bytes(infill.prefix.len() + infill.suffix.len())
            }
            // As JSON it has quotes, names and escapes that the prompt lacks.
            Some(Prompt::Chat(chat)) => {
                Self::of_bytes(chat.messages_json.len() + chat.tools_json.len())
            }
        }
    }

    /// Of a text of this many bytes.
    pub fn of_bytes(bytes: usize) -> Self {
        Self {
            least: count(bytes / MOST_BYTES),
            most: count(bytes.div_ceil(LEAST_BYTES)),
        }
    }

    /// Of this many tokens.
    pub fn exactly(tokens: usize) -> Self {
        Self {
            least: count(tokens),
            most: count(tokens),
        }
    }

    /// What is predicted with.
    pub fn likely(&self) -> u32 {
        if self.least == self.most {
            return self.most;
        }
        let bytes = u64::from(self.most) * LEAST_BYTES as u64;
        u32::try_from(bytes / LIKELY_BYTES as u64).unwrap_or(u32::MAX)
    }
}

fn count(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}
