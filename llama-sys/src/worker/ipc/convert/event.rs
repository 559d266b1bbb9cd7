//! Between an answer's events and their wire form.

use super::super::{IpcError, wire};
use crate::engine::{Delta, Event, FinishReason, JobError, Timing, TokenLogprob};
use wire::{EventKind, JobErrorKind};

pub(super) fn to_wire(event: Event) -> wire::Event {
    let kind = match event {
        Event::Queued { position } => EventKind::Queued(position),
        Event::Started {
            prompt_tokens,
            cached_tokens,
            prompt,
        } => EventKind::Started(wire::Started {
            prompt_tokens,
            cached_tokens,
            prompt: prompt.into_iter().map(scored_to_wire).collect(),
        }),
        Event::Delta(delta) => EventKind::Delta(wire::Delta {
            text: delta.text,
            tokens: delta.tokens,
            logprobs: delta.logprobs.into_iter().map(scored_to_wire).collect(),
        }),
        Event::Finished {
            reason,
            stop,
            completion_tokens,
            timing,
        } => EventKind::Finished(wire::Finished {
            length: reason == FinishReason::Length,
            stop,
            completion_tokens,
            queued_micros: timing.queued_micros,
            prefill_micros: timing.prefill_micros,
            decode_micros: timing.decode_micros,
        }),
        Event::Failed(error) => EventKind::Failed(error_to_wire(error)),
    };
    wire::Event { kind: Some(kind) }
}

pub(super) fn from_wire(event: wire::Event) -> Result<Event, IpcError> {
    Ok(match event.kind.ok_or(IpcError::Missing("event"))? {
        EventKind::Queued(position) => Event::Queued { position },
        EventKind::Started(started) => Event::Started {
            prompt_tokens: started.prompt_tokens,
            cached_tokens: started.cached_tokens,
            prompt: all_scored(started.prompt)?,
        },
        EventKind::Delta(delta) => Event::Delta(Delta {
            text: delta.text,
            tokens: delta.tokens,
            logprobs: all_scored(delta.logprobs)?,
        }),
        EventKind::Finished(finished) => Event::Finished {
            reason: match finished.length {
                true => FinishReason::Length,
                false => FinishReason::Stop,
            },
            stop: finished.stop,
            completion_tokens: finished.completion_tokens,
            timing: Timing {
                queued_micros: finished.queued_micros,
                prefill_micros: finished.prefill_micros,
                decode_micros: finished.decode_micros,
            },
        },
        EventKind::Failed(error) => Event::Failed(error_from_wire(error)),
    })
}

/// The wire keeps one level of alternatives; theirs are dropped.
fn scored_to_wire(mut scored: TokenLogprob) -> wire::Scored {
    let top = std::mem::take(&mut scored.top);
    wire::Scored {
        token: Some(candidate_to_wire(scored)),
        top: top.into_iter().map(candidate_to_wire).collect(),
    }
}

fn candidate_to_wire(scored: TokenLogprob) -> wire::Candidate {
    wire::Candidate {
        token: scored.token,
        bytes: scored.bytes,
        logprob: scored.logprob,
    }
}

fn all_scored(list: Vec<wire::Scored>) -> Result<Vec<TokenLogprob>, IpcError> {
    let scored = |scored: wire::Scored| {
        let mut token = scored
            .token
            .map(candidate)
            .ok_or(IpcError::Missing("token"))?;
        token.top = scored.top.into_iter().map(candidate).collect();
        Ok(token)
    };
    list.into_iter().map(scored).collect()
}

fn candidate(candidate: wire::Candidate) -> TokenLogprob {
    TokenLogprob {
        token: candidate.token,
        bytes: candidate.bytes,
        logprob: candidate.logprob,
        top: Vec::new(),
    }
}

pub(super) fn error_to_wire(error: JobError) -> wire::JobError {
    let (kind, text, first, second) = match error {
        JobError::ContextLengthExceeded {
            prompt_tokens,
            context_length,
        } => (
            JobErrorKind::ContextLengthExceeded,
            String::new(),
            prompt_tokens,
            context_length,
        ),
        JobError::Overloaded { waiting } => (JobErrorKind::Overloaded, String::new(), waiting, 0),
        JobError::Grammar(text) => (JobErrorKind::Grammar, text, 0, 0),
        JobError::Invalid(text) => (JobErrorKind::Invalid, text, 0, 0),
        JobError::Unsupported(text) => (JobErrorKind::Unsupported, text, 0, 0),
        JobError::WorkerLost => (JobErrorKind::WorkerLost, String::new(), 0, 0),
        JobError::LoadFailed(text) => (JobErrorKind::LoadFailed, text, 0, 0),
        JobError::Stopping => (JobErrorKind::Stopping, String::new(), 0, 0),
        JobError::Inference(text) => (JobErrorKind::Inference, text, 0, 0),
    };
    wire::JobError {
        kind: kind.into(),
        text,
        first,
        second,
    }
}

pub(super) fn error_from_wire(error: wire::JobError) -> JobError {
    let kind = error.kind();
    let wire::JobError {
        text,
        first,
        second,
        ..
    } = error;
    match kind {
        JobErrorKind::ContextLengthExceeded => JobError::ContextLengthExceeded {
            prompt_tokens: first,
            context_length: second,
        },
        JobErrorKind::Overloaded => JobError::Overloaded { waiting: first },
        JobErrorKind::Grammar => JobError::Grammar(text),
        JobErrorKind::Invalid => JobError::Invalid(text),
        JobErrorKind::Unsupported => JobError::Unsupported(text),
        JobErrorKind::WorkerLost => JobError::WorkerLost,
        JobErrorKind::LoadFailed => JobError::LoadFailed(text),
        JobErrorKind::Stopping => JobError::Stopping,
        JobErrorKind::Inference | JobErrorKind::Unknown => JobError::Inference(text),
    }
}
