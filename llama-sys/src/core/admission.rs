//! Who waits and who may begin. First come, first served; nobody is passed over, so nobody
//! starves. An answer that lost its place ([`Admission::push_front`]) goes first.
//!
//! Cells are promised optimistically: an answer begins when its prompt and the next
//! [`GROWTH_CELLS`] tokens fit beside what the running ones hold and may soon need. To reserve
//! each answer's limit instead would leave most of the cache unused, for most answers end long
//! before it. When growth uses up the cache all the same, the youngest answer gives way: it
//! loses its cells, waits at the head of the queue, and is computed again from its tokens. So no
//! answer fails for want of memory, and the oldest always goes on.

use std::collections::VecDeque;

/// Cells kept for the growth of each running answer: about what fits between two answers' ends
/// on a busy engine, so that giving way stays rare.
pub const GROWTH_CELLS: usize = 64;

/// The queue of jobs.
#[derive(Debug, Clone)]
pub struct Admission<J> {
    waiting: VecDeque<J>,
    limit: usize,
}

impl<J: Copy + PartialEq> Admission<J> {
    /// A queue in which `limit` jobs may wait.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            limit,
        }
    }

    /// Puts a job at the end; `places` of those that wait can begin at once. False if the queue
    /// is full.
    #[must_use]
    pub fn push(&mut self, job: J, places: usize) -> bool {
        let room = self.waiting.len() < self.limit + places;
        if room {
            self.waiting.push_back(job);
        }
        room
    }

    /// Puts a job that had begun back, before all others; the limit does not hold for it.
    pub fn push_front(&mut self, job: J) {
        self.waiting.push_front(job);
    }

    /// Takes a job out, wherever it is.
    pub fn remove(&mut self, job: J) {
        self.waiting.retain(|j| *j != job);
    }

    /// Those that wait, the next first: the index is the number of jobs ahead.
    pub fn iter(&self) -> impl Iterator<Item = J> + '_ {
        self.waiting.iter().copied()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// True if nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// What the decision to begin looks at, in cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Cells in all.
    pub total: usize,
    /// Cells that running answers hold.
    pub busy: usize,
    /// Tokens that running answers are known to need: prompts not computed yet, and growth.
    pub promised: usize,
    /// New cells that the job takes: its tokens that are not cached, cached ones that nobody
    /// runs on, and growth.
    pub wanted: usize,
}

impl Demand {
    /// True if the job may begin. One that would run alone always may: a sequence is never
    /// longer than the cache.
    #[must_use]
    pub fn fits(self, alone: bool) -> bool {
        alone || self.busy + self.promised + self.wanted <= self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_come_first_served_and_bounded() {
        let mut queue = Admission::new(1);
        assert!(queue.push(1, 1) && queue.push(2, 1) && !queue.push(3, 1));
        queue.push_front(0);
        assert_eq!(queue.iter().collect::<Vec<_>>(), [0, 1, 2]);
        queue.remove(1);
        assert_eq!((queue.iter().next(), queue.len()), (Some(0), 2));
    }

    #[test]
    fn a_job_begins_when_it_fits_or_is_alone() {
        let demand = Demand {
            total: 100,
            busy: 40,
            promised: 20,
            wanted: 40,
        };
        assert!(demand.fits(false));
        let more = Demand {
            wanted: 41,
            ..demand
        };
        assert!(!more.fits(false) && more.fits(true));
    }
}
