//! Why a request gets no model, in the codes and words that clients get. It decides nothing.

use protocol::generate::{ErrorCode, Failure};

use crate::core::ranking::NobodyLeft;
use crate::core::residency::Refusal;
use crate::residency::{AcquireError, ExamineError};

/// Whether there is no such model here.
pub(super) fn is_not_found(error: &AcquireError) -> bool {
    matches!(error, AcquireError::Examine(ExamineError::NotFound(_)))
}

/// There is no such model; the API adds which there are.
pub(super) fn not_found(name: &str) -> Failure {
    let name: String = name
        .chars()
        .take(protocol::limits::MAX_MODEL_NAME_BYTES)
        .collect();
    let text = format!("The model `{name}` is not here. `shoal pull NAME` fetches one.");
    Failure::new(ErrorCode::ModelNotFound, text).with_param("model")
}

/// Every other refusal.
pub(super) fn of_acquire(error: &AcquireError) -> Failure {
    let code = match error {
        AcquireError::Examine(ExamineError::NotFound(_)) => ErrorCode::ModelNotFound,
        AcquireError::Examine(ExamineError::Ambiguous(_)) => ErrorCode::InvalidRequest,
        AcquireError::Examine(ExamineError::NoEngine(_)) => ErrorCode::NoPeer,
        AcquireError::Examine(_) => ErrorCode::LoadFailed,
        AcquireError::Refused { refusal, .. } => code(refusal),
    };
    let seconds = error
        .retry_after()
        .map_or(0, |after| after.as_secs().max(1));
    Failure::new(code, format!("{error}."))
        .with_retry_after(u32::try_from(seconds).unwrap_or(u32::MAX))
}

/// The model is too large for this machine, and no chain of peers holds it now. Peers come and go,
/// so this is nothing that is wrong with the model.
pub(super) fn of_no_chain(error: &AcquireError) -> Failure {
    let failure = of_acquire(error);
    match error {
        AcquireError::Refused {
            refusal: Refusal::LoadFailed { .. },
            ..
        } => Failure {
            code: ErrorCode::NoPeer.into(),
            ..failure
        },
        _ => failure,
    }
}

/// The model runs over peers, and the request may not be seen there.
pub(super) fn of_chain(model: &str) -> Failure {
    let text = format!(
        "The model `{model}` is too large for this machine and runs split over peers, but this \
         request's privacy level keeps its text from them. Send `x-shoal-privacy: swarm`, change \
         the setting `privacy`, or ask for a model that fits here."
    );
    Failure::new(ErrorCode::Privacy, text)
}

/// Why no head in reach may or can be asked.
pub(super) fn of_nobody(nobody: NobodyLeft, model: &str) -> Failure {
    match nobody {
        NobodyLeft::Forbidden => {
            let text = format!(
                "Peers serve the model `{model}`, but this request's privacy level allows none of \
                 them. Send `x-shoal-privacy: swarm` (or `trusted`), change the setting \
                 `privacy`, or `shoal pull` the model."
            );
            Failure::new(ErrorCode::Privacy, text)
        }
        NobodyLeft::TooLong(context) => {
            let text = format!(
                "The largest context in which `{model}` is served holds {context} tokens, and the \
                 request has more. Shorten it."
            );
            Failure::new(ErrorCode::ContextLengthExceeded, text).with_param("messages")
        }
        NobodyLeft::NoOffer => {
            let text = format!("No peer serves the model `{model}` any more. Try again shortly.");
            Failure::new(ErrorCode::NoPeer, text)
        }
    }
}

fn code(refusal: &Refusal) -> ErrorCode {
    match refusal {
        Refusal::TooLarge { .. } | Refusal::LoadFailed { .. } => ErrorCode::LoadFailed,
        Refusal::NoRoom | Refusal::Overloaded => ErrorCode::Overloaded,
        Refusal::StillLoading | Refusal::Unloaded => ErrorCode::Loading,
        Refusal::Stopping => ErrorCode::ShuttingDown,
    }
}
