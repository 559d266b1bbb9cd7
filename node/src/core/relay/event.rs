//! What goes into the relay of an answer, and what comes out.

use protocol::generate::generate_event::Event;
use protocol::generate::{ErrorCode, Failure, GenerateRequest};

use crate::core::ranking::{Choice, Target};

/// One request to one head, within one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttemptId(pub u32);

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The heads to ask, best first: the answer to [`Output::Rank`]. Empty: none, or no second
    /// request is allowed now.
    Ranked(Vec<Choice>),
    /// A head said something.
    Event {
        /// To which request.
        attempt: AttemptId,
        /// What it said.
        event: Event,
    },
    /// A head says nothing more.
    Lost {
        /// To which request.
        attempt: AttemptId,
        /// Why.
        loss: Loss,
    },
    /// The client was slow until now, and so nobody was listened to: silence was nobody's fault.
    Held,
    /// The deadline came.
    Tick,
}

/// Why a head says nothing more.
#[derive(Debug, Clone, PartialEq)]
pub enum Loss {
    /// It could not be reached.
    Unreachable,
    /// Its stream ended without a last event.
    Cut,
    /// It said nothing for too long.
    Silent,
    /// It said what no head may say.
    Misconduct,
    /// It refused, or failed in mid-answer.
    Refused(Failure),
}

impl Loss {
    /// Whether the head is to blame, and not the request.
    pub fn is_its_fault(&self) -> bool {
        match self {
            Self::Refused(failure) => !is_requests_fault(failure.code()),
            _ => true,
        }
    }
}

/// Whether a code says that the request is wrong, wherever it is sent.
pub(super) fn is_requests_fault(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::InvalidRequest | ErrorCode::Unsupported | ErrorCode::ContextLengthExceeded
    )
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Rank the heads anew, and say so at once by [`Input::Ranked`].
    Rank {
        /// For a second request beside one that is late: only if the budget allows.
        is_hedge: bool,
    },
    /// Send this request to this head.
    Open {
        /// What the head's events are called.
        attempt: AttemptId,
        /// Whom.
        target: Target,
        /// What.
        request: Box<GenerateRequest>,
    },
    /// Nobody listens to this head any more: cancel.
    Close(AttemptId),
    /// The client gets this.
    Show(Event),
    /// The head failed: it is asked later from now on.
    Blame(Target),
    /// The head finished an answer.
    Praise(Target),
    /// The answer is over; the last event was shown.
    End,
}
