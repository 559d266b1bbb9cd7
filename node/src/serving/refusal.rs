//! Why a peer gets no answer, in the codes and words that cross the network: what the peer can do
//! about it, and nothing of this machine's disk, memory or models.

use std::time::Duration;

use protocol::generate::{ErrorCode, Failure, RequestError};

use crate::core::fairness::Refusal as Full;
use crate::core::guests::Denial;
use crate::core::residency::Refusal;
use crate::residency::AcquireError;

pub(super) fn invalid(error: &RequestError) -> Failure {
    Failure::new(ErrorCode::InvalidRequest, error.to_string())
}

/// Another peer may serve it all the same, so nothing of this says that the request is wrong.
pub(super) fn denied(denial: Denial) -> Failure {
    Failure::new(ErrorCode::NoPeer, denial.to_string())
}

pub(super) fn full(refusal: Full) -> Failure {
    overloaded(refusal.to_string(), refusal.retry_after())
}

pub(super) fn stopping() -> Failure {
    Failure::new(ErrorCode::ShuttingDown, "this peer is stopping")
}

fn overloaded(text: String, after: Duration) -> Failure {
    let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
    let seconds = u32::try_from(seconds.max(1)).unwrap_or(u32::MAX);
    Failure::new(ErrorCode::Overloaded, text).with_retry_after(seconds)
}

/// The model could not be had.
pub(super) fn of_acquire(error: &AcquireError) -> Failure {
    let AcquireError::Refused { refusal, .. } = error else {
        return denied(Denial::Model);
    };
    match refusal {
        Refusal::StillLoading => Failure::new(ErrorCode::Loading, "the model is being loaded"),
        Refusal::Overloaded => overloaded(
            "too many requests wait for the model".into(),
            Duration::from_secs(1),
        ),
        Refusal::Stopping => stopping(),
        _ => denied(Denial::Model),
    }
}

/// A head's failure as a peer is told it: words about the request stay, words about this machine
/// do not.
pub(super) fn outward(failure: Failure) -> Failure {
    let (code, text) = match failure.code() {
        ErrorCode::InvalidRequest
        | ErrorCode::ContextLengthExceeded
        | ErrorCode::Unsupported
        | ErrorCode::Overloaded => return failure,
        ErrorCode::ModelNotFound | ErrorCode::LoadFailed | ErrorCode::NoPeer => {
            return denied(Denial::Model);
        }
        code @ ErrorCode::Loading => (code, "the model is being loaded"),
        code @ ErrorCode::WorkerLost => (code, "the peer's engine ended in mid-answer"),
        code @ ErrorCode::ShuttingDown => (code, "this peer is stopping"),
        _ => (ErrorCode::Internal, "the peer failed"),
    };
    Failure::new(code, text).with_retry_after(failure.retry_after_seconds)
}
