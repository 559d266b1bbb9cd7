//! What stages give back, and what they could not do: to bytes and back.

use super::{MAX_WORDS, PayloadError, small};
use crate::core::scheduler::JobId;
use crate::core::slots::{ParkId, SlotId};
use crate::stage::{Cause, Failure, Given, RawLogprob, wire};

pub(super) fn failure_to_wire(failure: Failure) -> wire::Failure {
    use wire::{FailedPart, FailureKind};
    let kind = match failure {
        Failure::Part { job, slot, cause } => FailureKind::Part(FailedPart {
            job: job.0,
            slot: slot.0,
            refused: match cause {
                Cause::Missing => None,
                Cause::Refused(words) => Some(words.chars().take(MAX_WORDS / 4).collect()),
            },
        }),
        Failure::Slot(slot) => FailureKind::Slot(slot.0),
        Failure::Park(id) => FailureKind::Park(id.0),
    };
    wire::Failure { kind: Some(kind) }
}

pub(super) fn failure_from_wire(failure: wire::Failure) -> Result<Failure, PayloadError> {
    use wire::FailureKind;
    Ok(match failure.kind.ok_or(PayloadError::Bad("failure"))? {
        FailureKind::Part(part) => Failure::Part {
            job: JobId(part.job),
            slot: SlotId(part.slot),
            cause: match part.refused {
                None => Cause::Missing,
                Some(words) if words.len() <= MAX_WORDS => Cause::Refused(words),
                Some(_) => return Err(PayloadError::Bad("failure's words")),
            },
        },
        FailureKind::Slot(slot) => Failure::Slot(SlotId(slot)),
        FailureKind::Park(id) => Failure::Park(ParkId(id)),
    })
}

pub(super) fn given_to_wire(given: Given) -> wire::Given {
    let (job, token, at, logprob) = match given {
        Given::Token {
            job,
            token,
            logprob,
        } => (job, Some(token), None, logprob),
        Given::Nothing { job } => (job, None, None, None),
        Given::Prompt { job, at, logprob } => {
            (job, Some(logprob.token), Some(small(at)), Some(logprob))
        }
    };
    let (top_tokens, top_logprobs) = logprob
        .as_ref()
        .map(|logprob| logprob.top.iter().copied().unzip())
        .unwrap_or_default();
    wire::Given {
        job: job.0,
        token,
        at,
        logprob: logprob.map(|logprob| logprob.logprob),
        top_tokens,
        top_logprobs,
    }
}

pub(super) fn given_from_wire(given: wire::Given) -> Result<Given, PayloadError> {
    if given.top_tokens.len() != given.top_logprobs.len() {
        return Err(PayloadError::Bad("list of likeliest tokens"));
    }
    let job = JobId(given.job);
    let Some(token) = given.token else {
        return Ok(Given::Nothing { job });
    };
    let top = given.top_tokens.into_iter().zip(given.top_logprobs);
    let logprob = given.logprob.map(|logprob| RawLogprob {
        token,
        logprob,
        top: top.collect(),
    });
    match (given.at, logprob) {
        (None, logprob) => Ok(Given::Token {
            job,
            token,
            logprob,
        }),
        (Some(at), Some(logprob)) => Ok(Given::Prompt {
            job,
            at: at as usize,
            logprob,
        }),
        (Some(_), None) => Err(PayloadError::Bad("token of a prompt")),
    }
}
