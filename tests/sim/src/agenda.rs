//! What happens when: a queue in which equal times keep their order.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    time::Duration,
};

/// The queue.
pub(crate) struct Agenda<E> {
    order: BinaryHeap<Reverse<(Duration, u64)>>,
    events: BTreeMap<u64, E>,
    turn: u64,
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self {
            order: BinaryHeap::new(),
            events: BTreeMap::new(),
            turn: 0,
        }
    }
}

impl<E> Agenda<E> {
    pub(crate) fn push(&mut self, at: Duration, event: E) {
        self.turn += 1;
        self.order.push(Reverse((at, self.turn)));
        self.events.insert(self.turn, event);
    }

    /// The next event that is not later than `end`.
    pub(crate) fn pop(&mut self, end: Duration) -> Option<(Duration, E)> {
        let Reverse((at, turn)) = *self.order.peek()?;
        if at > end {
            return None;
        }
        self.order.pop();
        Some((at, self.events.remove(&turn)?))
    }
}
