//! How many streams of a connection are open, shared by its handler and every stream: whoever
//! drops a stream, anywhere, takes it off and wakes the handler. No lock, no queue: what ended
//! since the handler looked is a number.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures::task::AtomicWaker;

use super::{Limit, MAX_INBOUND, MAX_INBOUND_PER_CONNECTION, MAX_OUTBOUND_PER_CONNECTION};

/// One connection's streams.
#[derive(Debug)]
pub(super) struct Ledger {
    inbound: AtomicUsize,
    outbound: AtomicUsize,
    /// Ended and not yet reported.
    ended: AtomicUsize,
    /// Inbound streams of all connections.
    inbound_of_all: Arc<AtomicUsize>,
    /// The handler's.
    pub(super) waker: AtomicWaker,
}

impl Ledger {
    pub(super) fn new(inbound_of_all: Arc<AtomicUsize>) -> Self {
        Self {
            inbound: AtomicUsize::new(0),
            outbound: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            inbound_of_all,
            waker: AtomicWaker::new(),
        }
    }

    /// Counts a stream of the peer's, unless a limit is reached.
    pub(super) fn enter_inbound(self: &Arc<Self>) -> Result<Entry, Limit> {
        // Only the handler adds, so between the look and the addition the number can but fall.
        if self.inbound.load(Ordering::Acquire) >= MAX_INBOUND_PER_CONNECTION {
            return Err(Limit::Connection);
        }
        let all = &self.inbound_of_all;
        let under = |open| (open < MAX_INBOUND).then_some(open + 1);
        all.fetch_update(Ordering::AcqRel, Ordering::Acquire, under)
            .map_err(|_| Limit::All)?;
        self.inbound.fetch_add(1, Ordering::AcqRel);
        Ok(self.entry(true))
    }

    /// Whether there is room for one more stream of ours beside `opening`.
    pub(super) fn has_room(&self, opening: usize) -> bool {
        self.outbound.load(Ordering::Acquire) + opening < MAX_OUTBOUND_PER_CONNECTION
    }

    /// Counts a stream of ours.
    pub(super) fn enter_outbound(self: &Arc<Self>) -> Entry {
        self.outbound.fetch_add(1, Ordering::AcqRel);
        self.entry(false)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.inbound.load(Ordering::Acquire) + self.outbound.load(Ordering::Acquire) == 0
    }

    /// True once for each stream that ended.
    pub(super) fn take_ended(&self) -> bool {
        let one_less = |ended: usize| ended.checked_sub(1);
        self.ended
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less)
            .is_ok()
    }

    fn entry(self: &Arc<Self>, is_inbound: bool) -> Entry {
        Entry {
            ledger: self.clone(),
            is_inbound,
        }
    }
}

/// One stream, as long as it is open.
#[derive(Debug)]
pub(super) struct Entry {
    ledger: Arc<Ledger>,
    is_inbound: bool,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let ledger = &self.ledger;
        if self.is_inbound {
            ledger.inbound_of_all.fetch_sub(1, Ordering::AcqRel);
            ledger.inbound.fetch_sub(1, Ordering::AcqRel);
        } else {
            ledger.outbound.fetch_sub(1, Ordering::AcqRel);
        }
        ledger.ended.fetch_add(1, Ordering::AcqRel);
        ledger.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_and_each_end_is_said_once() {
        let all = Arc::new(AtomicUsize::new(0));
        let ledger = Arc::new(Ledger::new(all.clone()));
        let open: Vec<_> = std::iter::from_fn(|| ledger.enter_inbound().ok()).collect();
        assert_eq!(open.len(), MAX_INBOUND_PER_CONNECTION);
        assert_eq!(all.load(Ordering::Acquire), open.len());
        let ours = ledger.enter_outbound();
        assert!(ledger.has_room(MAX_OUTBOUND_PER_CONNECTION - 2));
        assert!(!ledger.has_room(MAX_OUTBOUND_PER_CONNECTION - 1));
        assert!(!ledger.is_empty() && !ledger.take_ended());
        let count = open.len() + 1;
        drop((open, ours));
        assert!(ledger.is_empty());
        assert_eq!(all.load(Ordering::Acquire), 0);
        let said = std::iter::from_fn(|| ledger.take_ended().then_some(())).count();
        assert_eq!(said, count);
    }

    #[test]
    fn all_connections_share_a_limit() {
        let all = Arc::new(AtomicUsize::new(MAX_INBOUND - 1));
        let ledgers = [(); 2].map(|()| Arc::new(Ledger::new(all.clone())));
        let entry = ledgers[0].enter_inbound().unwrap();
        assert_eq!(ledgers[1].enter_inbound().err(), Some(Limit::All));
        assert!(ledgers[1].is_empty());
        drop(entry);
        assert!(ledgers[1].enter_inbound().is_ok());
    }
}
