//! Between jobs and their wire form.

use super::super::{IpcError, wire};
use crate::engine::{Job, Prompt, Resume};
use crate::wire::{grammar_from_wire, grammar_to_wire};

pub(super) fn job_to_wire(job: Job) -> wire::Job {
    wire::Job {
        request_id: job.request_id,
        prompt: Some(prompt_to_wire(job.prompt)),
        sampling: Some(job.sampling.into()),
        seed: job.seed,
        max_tokens: job.max_tokens,
        stop: job.stop,
        logprobs: job.logprobs.map(u32::from),
        prompt_logprobs: job.prompt_logprobs,
        show_special: job.show_special,
        resume: job.resume.map(|resume| wire::Resume {
            tokens: resume.tokens,
            sent_text_bytes: resume.sent_text_bytes as u64,
        }),
        grammar: grammar_to_wire(job.grammar),
    }
}

pub(super) fn job_from_wire(job: wire::Job) -> Result<Job, IpcError> {
    Ok(Job {
        request_id: job.request_id,
        prompt: prompt_from_wire(job.prompt.ok_or(IpcError::Missing("prompt"))?)?,
        sampling: {
            let sampling = job.sampling.ok_or(IpcError::Missing("sampling"))?;
            let uneven = |_| IpcError::Bad("logit bias");
            sampling.try_into().map_err(uneven)?
        },
        seed: job.seed,
        max_tokens: job.max_tokens,
        stop: job.stop,
        grammar: grammar_from_wire(job.grammar),
        logprobs: narrow(job.logprobs)?,
        prompt_logprobs: job.prompt_logprobs,
        show_special: job.show_special,
        resume: match job.resume {
            None => None,
            Some(resume) => Some(Resume {
                tokens: resume.tokens,
                sent_text_bytes: usize::try_from(resume.sent_text_bytes)
                    .map_err(|_| IpcError::Bad("sent_text_bytes"))?,
            }),
        },
    })
}

fn narrow(logprobs: Option<u32>) -> Result<Option<u8>, IpcError> {
    let narrow = |n| u8::try_from(n).map_err(|_| IpcError::Bad("logprobs"));
    logprobs.map(narrow).transpose()
}

pub(super) fn prompt_to_wire(prompt: Prompt) -> wire::Prompt {
    let kind = match prompt {
        Prompt::Text {
            text,
            parse_special,
        } => wire::PromptKind::Text(wire::Text {
            text,
            parse_special,
        }),
        Prompt::Tokens(tokens) => wire::PromptKind::Tokens(wire::Tokens { tokens }),
        Prompt::Infill { prefix, suffix } => {
            wire::PromptKind::Infill(wire::Infill { prefix, suffix })
        }
    };
    wire::Prompt { kind: Some(kind) }
}

pub(super) fn prompt_from_wire(prompt: wire::Prompt) -> Result<Prompt, IpcError> {
    Ok(match prompt.kind.ok_or(IpcError::Missing("prompt"))? {
        wire::PromptKind::Text(wire::Text {
            text,
            parse_special,
        }) => Prompt::Text {
            text,
            parse_special,
        },
        wire::PromptKind::Tokens(tokens) => Prompt::Tokens(tokens.tokens),
        wire::PromptKind::Infill(wire::Infill { prefix, suffix }) => {
            Prompt::Infill { prefix, suffix }
        }
    })
}
