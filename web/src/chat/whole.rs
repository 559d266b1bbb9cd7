//! A whole chat answer: all events of all choices put together.

use futures::StreamExt;
use protocol::generate::{Delta, Failure, TokenLogprob, ToolCallDelta, generate_event::Event};
use serde_json::{Value, json};

use super::logprobs::Logprobs;
use crate::{
    answers::{Answers, ChoiceEvent},
    envelope::Envelope,
    usage::{Usage, finish_reason},
};

#[derive(Debug, Default)]
struct Choice {
    text: String,
    reasoning: String,
    calls: Vec<Call>,
    logprobs: Vec<TokenLogprob>,
    finish_reason: &'static str,
}

#[derive(Debug, Default)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

/// Reads every choice to its end.
///
/// # Errors
/// The failure of the first choice that fails.
pub(super) async fn collect(
    mut answers: Answers,
    mut envelope: Envelope,
    choices: usize,
) -> Result<Value, Failure> {
    let mut whole: Vec<Choice> = Vec::new();
    whole.resize_with(choices, Choice::default);
    let mut usage = Usage::default();
    while let Some(ChoiceEvent { choice, event }) = answers.next().await {
        let Some(state) = whole.get_mut(choice as usize) else {
            continue;
        };
        match event {
            Event::Queued(_) => {}
            Event::Started(started) => {
                envelope.name_model(&started.model);
                if choice == 0 {
                    usage.add_prompt(&started);
                }
            }
            Event::Delta(delta) => {
                usage.add_delta(&delta);
                state.add(delta);
            }
            Event::Finished(finished) => {
                usage.add_finished(&finished);
                envelope.name_servers(&finished.served_by);
                state.finish_reason = finish_reason(finished.reason());
            }
            Event::Failed(failure) => return Err(failure),
        }
    }
    let choices = whole.into_iter().enumerate().map(|(i, c)| c.json(i));
    Ok(envelope.whole(choices.collect(), usage.json()))
}

impl Choice {
    fn add(&mut self, delta: Delta) {
        self.text.push_str(&delta.text);
        self.reasoning.push_str(&delta.reasoning);
        self.logprobs.extend(delta.logprobs);
        for call in delta.tool_calls {
            self.add_call(&call);
        }
    }

    /// Calls come one after the other; a fragment belongs to one that has begun.
    fn add_call(&mut self, delta: &ToolCallDelta) {
        let index = delta.index as usize;
        if index == self.calls.len() {
            self.calls.push(Call::default());
        }
        let Some(call) = self.calls.get_mut(index) else {
            return;
        };
        call.id.push_str(&delta.id);
        call.name.push_str(&delta.name);
        call.arguments.push_str(&delta.arguments);
    }

    fn json(self, index: usize) -> Value {
        let content = match self.text.is_empty() && !self.calls.is_empty() {
            true => Value::Null,
            false => Value::String(self.text),
        };
        let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
        if !self.reasoning.is_empty() {
            message["reasoning_content"] = self.reasoning.into();
        }
        if !self.calls.is_empty() {
            message["tool_calls"] = self.calls.into_iter().map(Call::json).collect();
        }
        json!({
            "index": index,
            "message": message,
            "logprobs": logprobs(&self.logprobs),
            "finish_reason": self.finish_reason,
        })
    }
}

impl Call {
    fn json(self) -> Value {
        json!({
            "id": self.id,
            "type": "function",
            "function": { "name": self.name, "arguments": self.arguments },
        })
    }
}

/// `null` where unused, as whole answers have it.
fn logprobs(tokens: &[TokenLogprob]) -> Value {
    if tokens.is_empty() {
        return Value::Null;
    }
    let mut shown = json!(Logprobs { content: tokens });
    shown["refusal"] = Value::Null;
    shown
}
