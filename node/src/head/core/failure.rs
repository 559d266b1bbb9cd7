//! What engines and prompts refuse, in the words and codes that clients get.

use llama_sys::engine::JobError;
use protocol::generate::{ErrorCode, Failure};

use super::prompt::PromptError;

/// Seconds after which a full queue is worth another try.
const RETRY_OVERLOADED_SECONDS: u32 = 2;

/// Seconds that a worker takes to come back, about.
const RETRY_WORKER_SECONDS: u32 = 5;

impl From<PromptError> for Failure {
    fn from(error: PromptError) -> Self {
        let code = match &error {
            PromptError::Template(_) => ErrorCode::Unsupported,
            _ => ErrorCode::InvalidRequest,
        };
        Self::new(code, error.to_string()).with_param(error.param())
    }
}

/// A job's error as a client gets it. `prompt` is the request's field that holds the prompt.
pub fn of_job(error: JobError, prompt: &str) -> Failure {
    match error {
        JobError::ContextLengthExceeded {
            prompt_tokens,
            context_length,
        } => Failure::new(
            ErrorCode::ContextLengthExceeded,
            format!(
                "This model's context holds {context_length} tokens, but the request has \
                 {prompt_tokens}. Shorten it, or load the model with a larger --ctx-size."
            ),
        )
        .with_param(prompt),
        JobError::Overloaded { waiting } => Failure::new(
            ErrorCode::Overloaded,
            format!("Every place is taken and {waiting} requests wait. Try again shortly."),
        )
        .with_retry_after(RETRY_OVERLOADED_SECONDS),
        JobError::Grammar(cause) => Failure::new(
            ErrorCode::InvalidRequest,
            format!("The schema or grammar cannot be enforced: {cause}"),
        )
        .with_param("response_format"),
        JobError::Invalid(cause) => {
            Failure::new(ErrorCode::InvalidRequest, cause).with_param(prompt)
        }
        JobError::Unsupported(cause) => Failure::new(ErrorCode::Unsupported, cause),
        JobError::WorkerLost => Failure::new(
            ErrorCode::WorkerLost,
            "The model's process ended in mid-answer and is started again. Try again shortly.",
        )
        .with_retry_after(RETRY_WORKER_SECONDS),
        JobError::LoadFailed(cause) => Failure::new(
            ErrorCode::LoadFailed,
            format!("The model could not be loaded: {cause}"),
        ),
        JobError::Stopping => Failure::new(
            ErrorCode::ShuttingDown,
            "The model is being unloaded. Try again shortly.",
        )
        .with_retry_after(RETRY_OVERLOADED_SECONDS),
        other => Failure::new(ErrorCode::Internal, other.to_string()),
    }
}
