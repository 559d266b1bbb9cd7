//! What the client has of an answer, and the request that goes on from there.
//!
//! Bytes are counted as the head's session counts them: text, reasoning, arguments, and each
//! call's name and id. It shows nothing by itself.

use protocol::ModelName;
use protocol::generate::{Delta, Finished, GenerateRequest, Resume, Started};
use protocol::limits::{MAX_TOKEN_TEXT_BYTES, MAX_TOKENS};

use crate::core::ranking::Target;

/// What the client has.
#[derive(Debug)]
pub(super) struct Progress {
    seed: u64,
    model: String,
    max_tokens: usize,
    with_logprobs: bool,
    begun: bool,
    tokens: Vec<u32>,
    sent_bytes: u64,
    /// Who gave a token, in order.
    targets: Vec<Target>,
}

impl Progress {
    /// Nothing yet, or what the request itself says to go on from; that is taken out of it.
    pub(super) fn new(request: &mut GenerateRequest, seed: u64) -> Self {
        let resume = request.resume.take().unwrap_or_default();
        let wanted = request
            .max_tokens
            .map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        Self {
            seed,
            model: request.model.clone(),
            max_tokens: wanted.unwrap_or(MAX_TOKENS).min(MAX_TOKENS),
            with_logprobs: request.top_logprobs.is_some(),
            begun: false,
            tokens: resume.tokens,
            sent_bytes: resume.sent_text_bytes,
            targets: Vec::new(),
        }
    }

    /// The client has seen the beginning.
    pub(super) fn is_begun(&self) -> bool {
        self.begun
    }

    /// The request to the next head.
    pub(super) fn request(&self, request: &GenerateRequest) -> GenerateRequest {
        let mut request = request.clone();
        if !self.tokens.is_empty() || self.sent_bytes > 0 {
            request.resume = Some(Resume {
                tokens: self.tokens.clone(),
                sent_text_bytes: self.sent_bytes,
            });
        }
        // They were shown with the beginning.
        request.prompt_logprobs &= !self.begun;
        request
    }

    /// Whether an answer with this delta could still be resumed within the protocol's limits
    /// (`GenerateRequest::validate`).
    pub(super) fn admits(&self, delta: &Delta) -> bool {
        let tokens = self.tokens.len() + delta.tokens.len();
        // One token more: the beginning of its text may come before it.
        let most = (tokens as u64 + 1).saturating_mul(MAX_TOKEN_TEXT_BYTES);
        let scored = !self.with_logprobs || delta.logprobs.len() == delta.tokens.len();
        tokens <= self.max_tokens && self.sent_bytes + bytes(delta) <= most && scored
    }

    pub(super) fn add(&mut self, delta: &Delta) {
        self.tokens.extend_from_slice(&delta.tokens);
        self.sent_bytes += bytes(delta);
    }

    /// A head gives its first token: what the client is shown of its beginning, the first time.
    pub(super) fn begin(&mut self, target: Target, started: Started) -> Option<Started> {
        if self.targets.last() != Some(&target) {
            self.targets.push(target);
        }
        if std::mem::replace(&mut self.begun, true) {
            return None;
        }
        Some(Started {
            // Who answers is known here, and the seed was ours; no peer's word is needed.
            served_by: name(&target),
            seed: self.seed,
            model: match ModelName::check(&started.model) {
                Ok(()) => started.model,
                Err(_) => self.model.clone(),
            },
            ..started
        })
    }

    /// The end, with the names of all who took part.
    pub(super) fn finish(&self, finished: Finished) -> Finished {
        let alone = self.targets == [Target::Own];
        let names = self.targets.iter().map(name);
        let most = u32::try_from(self.max_tokens).unwrap_or(u32::MAX);
        let least = u32::try_from(self.tokens.len()).unwrap_or(u32::MAX);
        Finished {
            completion_tokens: finished.completion_tokens.clamp(least.min(most), most),
            served_by: if alone { Vec::new() } else { names.collect() },
            ..finished
        }
    }
}

/// The protocol's name of whoever answers.
fn name(target: &Target) -> String {
    match target {
        Target::Own => String::new(),
        Target::Peer(node) => node.to_string(),
    }
}

fn bytes(delta: &Delta) -> u64 {
    let calls = delta.tool_calls.iter();
    let calls = calls.map(|call| call.id.len() + call.name.len() + call.arguments.len());
    (delta.text.len() + delta.reasoning.len() + calls.sum::<usize>()) as u64
}
