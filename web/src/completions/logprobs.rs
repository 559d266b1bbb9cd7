//! Log-probabilities in the legacy shape: four lists of equal length.

use std::fmt::Write;

use protocol::generate::TokenLogprob;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The four lists.
#[derive(Debug, Default, Serialize)]
pub(super) struct LegacyLogprobs {
    tokens: Vec<String>,
    /// `null` for the first token of a prompt.
    token_logprobs: Vec<Option<f32>>,
    /// The likeliest and the chosen one; `null` where none were asked for or known.
    top_logprobs: Vec<Option<Map<String, Value>>>,
    /// Characters of the returned text before each token.
    text_offset: Vec<usize>,
}

impl LegacyLogprobs {
    /// Adds tokens whose text begins `offset` characters into the returned text; answers where
    /// the next one begins.
    pub(super) fn extend(
        &mut self,
        tokens: &[TokenLogprob],
        alternatives: u32,
        mut offset: usize,
    ) -> usize {
        for token in tokens {
            self.tokens.push(shown(&token.text));
            self.token_logprobs
                .push(token.logprob.filter(|l| l.is_finite()));
            self.top_logprobs.push(top(token, alternatives));
            self.text_offset.push(offset);
            offset += characters(&token.text);
        }
        offset
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

fn top(token: &TokenLogprob, alternatives: u32) -> Option<Map<String, Value>> {
    if alternatives == 0 || token.logprob.is_none() {
        return None;
    }
    let ranked = token.top.iter().chain([token]);
    let mut map = Map::new();
    for entry in ranked {
        map.entry(shown(&entry.text))
            .or_insert(json!(entry.logprob));
    }
    Some(map)
}

/// Characters that begin in these bytes: tokens may cut a character, and then the first part
/// counts it.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte & 0xc0 != 0x80).count()
}

/// The text, or, as OpenAI writes tokens that are none by themselves, `bytes:\xe2\x82`.
fn shown(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let mut text = String::from("bytes:");
    for byte in bytes {
        let _ = write!(text, "\\x{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &[u8], logprob: Option<f32>) -> TokenLogprob {
        TokenLogprob {
            token: 1,
            text: text.to_vec(),
            logprob,
            top: Vec::new(),
        }
    }

    #[test]
    fn four_lists_of_equal_length() {
        let mut list = LegacyLogprobs::default();
        let mut chosen = token("é".as_bytes(), Some(-1.0));
        chosen.top = vec![token(b"a", Some(-0.5))];
        let cut = [token(b"\xe2\x82", Some(-2.0)), token(b"\xac", Some(0.0))];
        let offset = list.extend(&[token(b"ab", None), chosen], 1, 3);
        assert_eq!(list.extend(&cut, 1, offset), 7);
        assert_eq!(
            json!(list),
            json!({
                "tokens": ["ab", "é", "bytes:\\xe2\\x82", "bytes:\\xac"],
                "token_logprobs": [null, -1.0, -2.0, 0.0],
                "top_logprobs": [
                    null,
                    { "a": -0.5, "é": -1.0 },
                    { "bytes:\\xe2\\x82": -2.0 },
                    { "bytes:\\xac": 0.0 }
                ],
                "text_offset": [3, 5, 6, 7]
            })
        );
    }

    #[test]
    fn without_alternatives_there_are_none() {
        let mut list = LegacyLogprobs::default();
        list.extend(&[token(b"a", Some(-1.0))], 0, 0);
        assert_eq!(json!(list)["top_logprobs"], json!([null]));
    }
}
