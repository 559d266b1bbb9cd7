//! A whole completion: all pieces of all choices put together.

use futures::StreamExt;
use protocol::generate::{Failure, TokenLogprob, generate_event::Event};
use serde_json::{Value, json};

use super::{
    logprobs::LegacyLogprobs,
    piece::{Layout, Place},
};
use crate::{
    answers::{Answers, ChoiceEvent},
    envelope::Envelope,
    usage::{Usage, finish_reason},
};

#[derive(Debug, Default)]
struct Choice {
    text: String,
    tokens: Vec<TokenLogprob>,
    finish_reason: &'static str,
}

/// Reads every choice to its end.
///
/// # Errors
/// The failure of the first choice that fails.
pub(super) async fn collect(
    mut answers: Answers,
    mut envelope: Envelope,
    layout: Layout,
) -> Result<Value, Failure> {
    let mut whole: Vec<Choice> = Vec::new();
    whole.resize_with(layout.choices, Choice::default);
    let mut usage = Usage::default();
    while let Some(ChoiceEvent { choice, event }) = answers.next().await {
        let Some(state) = whole.get_mut(choice as usize) else {
            continue;
        };
        match event {
            Event::Queued(_) => {}
            Event::Started(mut started) => {
                envelope.name_model(&started.model);
                if layout.counts_prompt(choice) {
                    usage.add_prompt(&started);
                }
                let echoed = layout.on_started(choice, &started, &mut Place::default());
                state.text.push_str(&echoed.text);
                if layout.echo.is_some() {
                    state.tokens.append(&mut started.prompt);
                }
            }
            Event::Delta(mut delta) => {
                state.tokens.append(&mut delta.logprobs);
                let piece = layout.on_delta(delta, &mut Place::default());
                state.text.push_str(&piece.text);
            }
            Event::Finished(finished) => {
                usage.add_finished(&finished);
                envelope.name_servers(&finished.served_by);
                state.finish_reason = finish_reason(finished.reason());
            }
            Event::Failed(failure) => return Err(failure),
        }
    }
    let choices = whole.into_iter().enumerate();
    let choices = choices.map(|(index, choice)| choice.json(index, layout.logprobs));
    Ok(envelope.whole(choices.collect(), usage.json()))
}

impl Choice {
    fn json(self, index: usize, alternatives: Option<u32>) -> Value {
        let logprobs = alternatives.map(|alternatives| {
            let mut list = LegacyLogprobs::default();
            list.extend(&self.tokens, alternatives, 0);
            list
        });
        json!({
            "index": index,
            "text": self.text,
            "logprobs": logprobs,
            "finish_reason": self.finish_reason,
        })
    }
}
