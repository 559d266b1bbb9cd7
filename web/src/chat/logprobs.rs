//! Log-probabilities in the shape of chat completions.

use protocol::generate::TokenLogprob;
use serde::{Serialize, Serializer, ser::SerializeSeq};

/// What OpenAI sends where it has no value.
const UNKNOWN: f32 = -9999.0;

/// `logprobs` of a choice.
#[derive(Debug, Serialize)]
pub(super) struct Logprobs<'a> {
    #[serde(serialize_with = "scored")]
    pub(super) content: &'a [TokenLogprob],
}

#[derive(Serialize)]
struct Scored<'a> {
    #[serde(flatten)]
    token: Token<'a>,
    #[serde(serialize_with = "alternatives")]
    top_logprobs: &'a [TokenLogprob],
}

#[derive(Serialize)]
struct Token<'a> {
    token: std::borrow::Cow<'a, str>,
    logprob: f32,
    bytes: &'a [u8],
}

impl<'a> From<&'a TokenLogprob> for Token<'a> {
    fn from(token: &'a TokenLogprob) -> Self {
        Self {
            token: String::from_utf8_lossy(&token.text),
            logprob: token.logprob.filter(|l| l.is_finite()).unwrap_or(UNKNOWN),
            bytes: &token.text,
        }
    }
}

fn scored<S: Serializer>(tokens: &[TokenLogprob], serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(tokens.len()))?;
    for token in tokens {
        list.serialize_element(&Scored {
            token: token.into(),
            top_logprobs: &token.top,
        })?;
    }
    list.end()
}

fn alternatives<S: Serializer>(tokens: &[TokenLogprob], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(tokens.iter().map(Token::from))
}
