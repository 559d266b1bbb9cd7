//! Between jobs and their wire form.

use super::super::{IpcError, wire};
use crate::engine::{Grammar, Job, Prompt, Resume, Sampling};

pub(super) fn job_to_wire(job: Job) -> wire::Job {
    let (bias_tokens, bias_values) = job.sampling.logit_bias.into_iter().unzip();
    wire::Job {
        request_id: job.request_id,
        prompt: Some(prompt_to_wire(job.prompt)),
        sampling: Some(wire::Sampling {
            temperature: job.sampling.temperature,
            top_p: job.sampling.top_p,
            top_k: job.sampling.top_k,
            min_p: job.sampling.min_p,
            repeat_penalty: job.sampling.repeat_penalty,
            presence_penalty: job.sampling.presence_penalty,
            frequency_penalty: job.sampling.frequency_penalty,
            bias_tokens,
            bias_values,
        }),
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
        grammar: match job.grammar {
            Grammar::None => None,
            Grammar::JsonObject => Some(wire::Grammar::JsonObject(())),
            Grammar::JsonSchema(schema) => Some(wire::Grammar::JsonSchema(schema)),
            Grammar::Gbnf(rules) => Some(wire::Grammar::Gbnf(rules)),
        },
    }
}

pub(super) fn job_from_wire(job: wire::Job) -> Result<Job, IpcError> {
    Ok(Job {
        request_id: job.request_id,
        prompt: prompt_from_wire(job.prompt.ok_or(IpcError::Missing("prompt"))?)?,
        sampling: sampling_from_wire(job.sampling.ok_or(IpcError::Missing("sampling"))?)?,
        seed: job.seed,
        max_tokens: job.max_tokens,
        stop: job.stop,
        grammar: match job.grammar {
            None => Grammar::None,
            Some(wire::Grammar::JsonObject(())) => Grammar::JsonObject,
            Some(wire::Grammar::JsonSchema(schema)) => Grammar::JsonSchema(schema),
            Some(wire::Grammar::Gbnf(rules)) => Grammar::Gbnf(rules),
        },
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

fn sampling_from_wire(sampling: wire::Sampling) -> Result<Sampling, IpcError> {
    if sampling.bias_tokens.len() != sampling.bias_values.len() {
        return Err(IpcError::Bad("logit bias"));
    }
    let tokens = sampling.bias_tokens.into_iter();
    Ok(Sampling {
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k,
        min_p: sampling.min_p,
        repeat_penalty: sampling.repeat_penalty,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        logit_bias: tokens.zip(sampling.bias_values).collect(),
    })
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
