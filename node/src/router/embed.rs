//! Embeddings from the best head that gives them: one after the other, for there is nothing to
//! resume. It believes a peer's vectors only in their form.

use std::time::Duration;

use protocol::generate::{EmbedRequest, EmbedResponse, Failure, embed_input::Input};
use tokio::time::timeout;

use super::heads::Reach;
use crate::core::ranking::{Choice, PromptSize, Target};
use crate::core::relay::{Loss, Verdict};
use crate::peers::OpenError;

/// Heads that are asked for one request at most.
const MAX_ATTEMPTS: usize = 3;

/// How long a peer may take: thousands of long texts on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The longest input decides what context is needed.
pub(super) fn size(request: &EmbedRequest) -> PromptSize {
    let sizes = request.inputs.iter().map(|input| match &input.input {
        Some(Input::Text(text)) => PromptSize::of_bytes(text.len()),
        Some(Input::Tokens(prompt)) => PromptSize::exactly(prompt.tokens.len()),
        None => PromptSize::exactly(0),
    });
    sizes
        .max_by_key(|size| size.least)
        .unwrap_or(PromptSize::exactly(0))
}

/// Asks the heads in turn.
pub(super) async fn run(
    reach: &Reach,
    choices: Vec<Choice>,
    request: EmbedRequest,
) -> Result<EmbedResponse, Failure> {
    let mut verdict = Verdict::default();
    let mut attempts = 0;
    for choice in choices.into_iter().take(MAX_ATTEMPTS) {
        if !verdict.could_hold(choice.context_tokens) {
            continue;
        }
        attempts += 1;
        match ask(reach, choice.target, &request).await {
            Ok(mut response) => {
                reach.praise(&choice.target);
                response.served_by = match choice.target {
                    Target::Own => String::new(),
                    Target::Peer(node) => node.to_string(),
                };
                return Ok(response);
            }
            Err(loss) => {
                if loss.is_its_fault() {
                    reach.blame(&choice.target);
                }
                verdict.note(choice, loss);
            }
        }
        if verdict.is_final() {
            break;
        }
    }
    Err(verdict.failure(attempts))
}

async fn ask(reach: &Reach, target: Target, request: &EmbedRequest) -> Result<EmbedResponse, Loss> {
    let asked = reach.embed(target, request.clone());
    let response = match target {
        // It loads its model within limits of its own.
        Target::Own => asked.await,
        Target::Peer(_) => match timeout(PATIENCE, asked).await {
            Ok(response) => response,
            Err(_) => return Err(Loss::Silent),
        },
    };
    match response {
        Ok(response) if is_sane(request, &response) => Ok(response),
        Ok(_) => Err(Loss::Misconduct),
        Err(OpenError::Refused(failure)) => Err(Loss::Refused(failure)),
        Err(OpenError::Unreachable) => Err(Loss::Unreachable),
    }
}

/// One vector of finite numbers for each input, all of one width.
fn is_sane(request: &EmbedRequest, response: &EmbedResponse) -> bool {
    let width = response.embeddings.first().map_or(0, |e| e.values.len());
    let sane = |values: &[f32]| values.len() == width && values.iter().all(|v| v.is_finite());
    width > 0
        && response.embeddings.len() == request.inputs.len()
        && response.embeddings.iter().all(|e| sane(&e.values))
}
