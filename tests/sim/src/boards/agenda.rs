//! What happens when: a queue in which equal times keep their order.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

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

/// The queue.
#[derive(Default)]
pub(super) struct Agenda {
    order: std::collections::BinaryHeap<Reverse<(Duration, u64)>>,
    events: BTreeMap<u64, Event>,
    turn: u64,
}

impl Agenda {
    pub(super) fn push(&mut self, at: Duration, event: Event) {
        self.turn += 1;
        self.order.push(Reverse((at, self.turn)));
        self.events.insert(self.turn, event);
    }

    /// The next event that is not later than `end`.
    pub(super) fn pop(&mut self, end: Duration) -> Option<(Duration, Event)> {
        let Reverse((at, turn)) = *self.order.peek()?;
        if at > end {
            return None;
        }
        self.order.pop();
        Some((at, self.events.remove(&turn)?))
    }
}
