//! What the failures of several heads come to for the client. It keeps the one that says most,
//! and trusts no peer's words: they are one bounded line.

use protocol::generate::{ErrorCode, Failure};

use super::event::{Loss, is_requests_fault};
use crate::core::ranking::{Choice, Target};

/// A peer's word that the request is wrong is taken when another one agrees: a broken or hostile
/// head must not be able to refuse for all.
const WITNESSES: u32 = 2;

/// Characters of a peer's message that are shown.
const MAX_SHOWN: usize = 300;

/// Seconds after which a client may be told to come again, at most.
const MAX_RETRY_AFTER: u32 = 600;

/// Bytes of the name of a request's field.
const MAX_PARAM_BYTES: usize = 64;

/// What is known of the failures.
#[derive(Debug, Default)]
pub struct Verdict {
    failure: Option<Failure>,
    witnesses: u32,
    /// Contexts of this many tokens do not hold the prompt.
    too_small: Option<u32>,
}

impl Verdict {
    /// A head was lost.
    pub fn note(&mut self, choice: Choice, loss: Loss) {
        let Loss::Refused(failure) = loss else {
            self.failure.get_or_insert_with(unreachable);
            return;
        };
        let code = failure.code();
        if code == ErrorCode::ContextLengthExceeded {
            self.too_small = self.too_small.max(choice.context_tokens);
        } else if is_requests_fault(code) {
            self.witnesses += match choice.target {
                Target::Own => WITNESSES,
                Target::Peer(_) => 1,
            };
        }
        let said_more = self.failure.as_ref();
        let said_more = said_more.is_some_and(|kept| is_requests_fault(kept.code()));
        if is_requests_fault(code) || !said_more {
            self.failure = Some(match choice.target {
                Target::Own => failure,
                Target::Peer(_) => plain(failure),
            });
        }
    }

    /// The request is wrong, wherever it is sent.
    pub fn is_final(&self) -> bool {
        self.witnesses >= WITNESSES
    }

    /// Whether a context may hold what smaller ones did not.
    pub fn could_hold(&self, context_tokens: Option<u32>) -> bool {
        match (self.too_small, context_tokens) {
            (Some(too_small), Some(context)) => context > too_small,
            _ => true,
        }
    }

    /// What the client gets.
    pub fn failure(&self, attempts: u32) -> Failure {
        let failure = self.failure.clone().unwrap_or_else(unreachable);
        if attempts < 2 || !failure.is_retryable() {
            return failure;
        }
        let message = format!("{attempts} heads were asked: {}", failure.message);
        Failure { message, ..failure }
    }
}

fn unreachable() -> Failure {
    let message = "No peer that serves the model can be reached now. Try again shortly.";
    Failure::new(ErrorCode::NoPeer, message)
}

/// A peer's failure in one line of plain text, with a code of ours.
fn plain(failure: Failure) -> Failure {
    let code = match failure.code() {
        ErrorCode::Unspecified => ErrorCode::Internal,
        // Its advert was out of date, or its owner does not serve us: what it advises is for its
        // own clients.
        ErrorCode::ModelNotFound | ErrorCode::Privacy => return unreachable(),
        code => code,
    };
    let line = failure.message.chars().take(MAX_SHOWN);
    let line: String = line.map(|c| if c.is_control() { ' ' } else { c }).collect();
    let is_name = failure.param.len() <= MAX_PARAM_BYTES
        && failure.param.bytes().all(|b| b.is_ascii_graphic());
    Failure::new(code, line.trim())
        .with_param(if is_name {
            failure.param
        } else {
            String::new()
        })
        .with_retry_after(failure.retry_after_seconds.min(MAX_RETRY_AFTER))
}
