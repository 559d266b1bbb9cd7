//! Token counts and finish reasons in the API's words.

use protocol::generate::{Delta, FinishReason, Finished, Started};
use serde::Serialize;

/// The API's word for why an answer ended.
pub(crate) fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop | FinishReason::Unspecified => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_calls",
    }
}

/// Tokens of one request, all its choices together; a prompt counts once for all its choices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Tokens of the prompts.
    pub(crate) prompt: u64,
    /// Of these, taken from a prefix cache.
    pub(crate) cached: u64,
    /// Tokens generated.
    pub(crate) completion: u64,
    /// Of these, reasoning.
    pub(crate) reasoning: u64,
}

impl Usage {
    /// Counts a prompt.
    pub(crate) fn add_prompt(&mut self, started: &Started) {
        self.prompt += u64::from(started.prompt_tokens);
        self.cached += u64::from(started.cached_tokens);
    }

    /// Counts a delta's tokens where they are reasoning.
    pub(crate) fn add_delta(&mut self, delta: &Delta) {
        if !delta.reasoning.is_empty() && delta.text.is_empty() {
            self.reasoning += delta.tokens.len() as u64;
        }
    }

    /// Counts a choice's tokens.
    pub(crate) fn add_finished(&mut self, finished: &Finished) {
        self.completion += u64::from(finished.completion_tokens);
    }

    /// The `usage` object of chat completions and completions.
    pub(crate) fn json(&self) -> UsageJson {
        UsageJson {
            prompt_tokens: self.prompt,
            completion_tokens: self.completion,
            total_tokens: self.prompt + self.completion,
            prompt_tokens_details: PromptDetails {
                cached_tokens: self.cached,
            },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: self.reasoning.min(self.completion),
            },
        }
    }
}

/// `usage` as clients read it.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct UsageJson {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct PromptDetails {
    cached_tokens: u64,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
}
