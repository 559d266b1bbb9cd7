//! What happens on a board; when is the queue's to know.

use dht::core::board::MeetingId;

/// What happens; peers and messages by their number.
#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Heartbeat(usize),
    Gossip {
        from: usize,
        to: usize,
        message: usize,
    },
    /// The deadline of a peer's meetings.
    Poll(usize),
    /// A reconciliation comes to its end; of adversaries without an id.
    Visit {
        from: usize,
        to: usize,
        id: Option<MeetingId>,
    },
    Write,
    Churn,
    Return(usize),
    Dial {
        from: usize,
        to: usize,
    },
}
