//! Chat questions and the chunks of their answers, as far as a terminal needs them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// `system`, `user` or `assistant`.
    pub role: &'static str,
    /// Its text.
    pub content: String,
}

impl Turn {
    /// What the person said.
    pub fn user(content: impl Into<String>) -> Self {
        Self {
            role: "user",
            content: content.into(),
        }
    }

    /// What the model said.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self {
            role: "assistant",
            content: content.into(),
        }
    }

    /// What comes before the conversation.
    pub fn system(content: impl Into<String>) -> Self {
        Self {
            role: "system",
            content: content.into(),
        }
    }
}

/// What a model is asked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Question {
    /// The model's name.
    pub model: String,
    /// The conversation so far.
    pub turns: Vec<Turn>,
    /// Tokens of the answer at most.
    pub max_tokens: Option<u32>,
    /// How freely tokens are chosen.
    pub temperature: Option<f32>,
    /// The same seed gives the same answer.
    pub seed: Option<u64>,
}

impl Question {
    pub(super) fn body(&self) -> Value {
        let mut body = json!({ "model": self.model, "messages": self.turns, "stream": true });
        let options = [
            ("max_completion_tokens", self.max_tokens.map(Value::from)),
            ("temperature", self.temperature.map(Value::from)),
            ("seed", self.seed.map(Value::from)),
        ];
        for (name, value) in options {
            if let Some(value) = value {
                body[name] = value;
            }
        }
        body
    }
}

/// One chunk of a streamed answer.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
pub struct Chunk {
    choices: Vec<Choice>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    reasoning_content: Option<String>,
}

impl Chunk {
    /// New text of the answer.
    pub fn text(&self) -> &str {
        let delta = self.choices.first().map(|choice| &choice.delta);
        delta
            .and_then(|delta| delta.content.as_deref())
            .unwrap_or("")
    }

    /// New text of the model's reasoning.
    pub fn reasoning(&self) -> &str {
        let delta = self.choices.first().map(|choice| &choice.delta);
        delta
            .and_then(|delta| delta.reasoning_content.as_deref())
            .unwrap_or("")
    }

    /// Whether the answer was cut at its limit.
    pub fn is_cut(&self) -> bool {
        let reason = self
            .choices
            .first()
            .and_then(|choice| choice.finish_reason.as_deref());
        reason == Some("length")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_sent_only_when_given() {
        let mut question = Question {
            model: "m".into(),
            turns: vec![Turn::user("hi")],
            ..Question::default()
        };
        assert_eq!(
            question.body(),
            json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }], "stream": true })
        );
        question.seed = Some(7);
        assert_eq!(question.body()["seed"], 7);
    }

    #[test]
    fn chunks_of_every_kind_are_read() {
        let chunk = |text| serde_json::from_str::<Chunk>(text).unwrap();
        let text = chunk(
            r#"{"id":"x","choices":[{"index":0,"delta":{"role":"assistant","content":"a"},"finish_reason":null}]}"#,
        );
        assert_eq!(
            (text.text(), text.reasoning(), text.is_cut()),
            ("a", "", false)
        );
        let end = chunk(r#"{"choices":[{"delta":{},"finish_reason":"length"}]}"#);
        assert!(end.is_cut());
        assert_eq!(chunk(r#"{"choices":[],"usage":{}}"#).text(), "");
    }
}
