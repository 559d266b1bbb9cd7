//! What happens when: a queue in which equal times keep their order.

use std::{cmp::Ordering, collections::BinaryHeap, rc::Rc, time::Duration};

use dht::core::join::{DialId, SearchId, Way};

use crate::mesh::Message;

/// What happens to a peer, named by its number.
#[derive(Debug)]
pub(crate) enum Event {
    Start(usize),
    /// The join procedure's deadline.
    Join(usize),
    /// The group's deadline, as it was set at that time.
    Groups(usize),
    Upkeep(usize),
    Searched(usize, SearchId, Way),
    /// A dial of the join procedure came to its end.
    Joined {
        from: usize,
        to: usize,
        id: DialId,
    },
    /// A dial to somebody near came to its end.
    Dialled {
        from: usize,
        to: usize,
    },
    /// The answer to a probe.
    Answer {
        at: usize,
        of: usize,
        rtt: Duration,
    },
    /// The other end of a connection is found to be gone.
    Lapsed {
        connection: u64,
    },
    Gossip {
        to: usize,
        from: usize,
        message: Rc<Message>,
    },
    Hostile(usize),
    /// Somebody goes and somebody comes.
    Churn,
    /// Some paths are slow for a while.
    Congestion,
}

struct Entry {
    at: Duration,
    turn: u64,
    event: Event,
}

/// The queue.
#[derive(Default)]
pub(crate) struct Schedule {
    entries: BinaryHeap<Entry>,
    turn: u64,
}

impl Schedule {
    pub(crate) fn push(&mut self, at: Duration, event: Event) {
        self.turn += 1;
        let turn = self.turn;
        self.entries.push(Entry { at, turn, event });
    }

    /// The next event that is not later than `end`.
    pub(crate) fn pop(&mut self, end: Duration) -> Option<(Duration, Event)> {
        let is_due = self.entries.peek().is_some_and(|entry| entry.at <= end);
        let entry = is_due.then(|| self.entries.pop()).flatten()?;
        Some((entry.at, entry.event))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.turn).cmp(&(self.at, self.turn))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}
