//! Log-probabilities as the answer tells them: of chosen tokens, and of a prompt's own.

use super::task::Task;
use crate::core::logprob;
use crate::core::scheduler::Work;
use crate::core::select::Candidate;
use crate::core::session::Session;
use crate::engine::TokenLogprob;
use crate::ffi::context::Context;
use crate::ffi::model::Model;

/// The log-probability of `token` and of the `n` likeliest.
pub(super) fn describe(
    model: &Model,
    logits: &[f32],
    token: u32,
    n: u8,
    top: &mut Vec<Candidate>,
) -> Option<TokenLogprob> {
    let bytes = |token: u32| {
        let mut bytes = Vec::new();
        model.append_piece(token, true, &mut bytes);
        bytes
    };
    let entry = |token: u32, logprob: f32| TokenLogprob {
        token,
        bytes: bytes(token),
        logprob: Some(logprob),
        top: Vec::new(),
    };
    let logprob = logprob::of_token(logits, token, usize::from(n), top)?;
    let top = top.iter().map(|c| entry(c.token as u32, c.logit)).collect();
    Some(TokenLogprob {
        top,
        ..entry(token, logprob)
    })
}

/// Adds the log-probabilities of the prompt's tokens that follow those just computed, whose
/// logits begin at `row` of the last batch.
pub(super) fn add_prompt(
    task: &mut Task,
    context: &mut Context,
    session: &Session,
    (part, row): (&Work, usize),
    top: &mut Vec<Candidate>,
) {
    let Some(list) = &mut task.prompt else {
        return;
    };
    let prompt = &session.history()[..session.prompt_tokens()];
    if list.is_empty() {
        let mut bytes = Vec::new();
        task.words.model.append_piece(prompt[0], true, &mut bytes);
        list.push(TokenLogprob {
            token: prompt[0],
            bytes,
            logprob: None,
            top: Vec::new(),
        });
    }
    for i in 0..part.step.n {
        let next = part.step.keep_n + i + 1;
        // A job that was computed again after it gave way has the first ones already.
        if next != list.len() || next >= prompt.len() {
            continue;
        }
        if let Some(logits) = context.logits_mut(row + i) {
            let n = task.logprobs.unwrap_or(0);
            list.extend(describe(&task.words.model, logits, prompt[next], n, top));
        }
    }
}
