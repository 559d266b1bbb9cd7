//! What the cache of a stage holds: the length of each sequence and of each parked prefix, by the
//! operations and steps that were carried out. A step names the tokens that it builds on
//! (`keep_n`), so a stage can tell by itself whether it has them; whoever sends it steps (the head
//! in this process, or a peer's) is believed nothing.
//!
//! It performs nothing: a shell carries out what is allowed here and reports what failed.

use std::collections::BTreeMap;

use super::slots::{KvOp, ParkId, SlotId};

/// Prefixes parked at a stage at most: more than a head's own limit, which is the memory of half a
/// cache ([`crate::core::slots`]), so that a head that keeps to it is never refused.
pub const MAX_PARKED: usize = 1024;

/// Bounds of a stage's cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Sequences.
    pub sequences: u32,
    /// Tokens that one sequence may have.
    pub cells: usize,
    /// Tokens of all parked prefixes together.
    pub parked_tokens: usize,
}

/// Why an operation or a step is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HoldingsError {
    /// The sequence does not exist.
    #[error("a sequence that does not exist")]
    NoSequence,
    /// It has fewer tokens than the step or the operation builds on.
    #[error("the sequence has {held} tokens, {wanted} are built on")]
    Missing {
        /// Tokens that it has.
        held: usize,
        /// Tokens that it should have.
        wanted: usize,
    },
    /// The sequence would be longer than the cache.
    #[error("the sequence would be longer than the cache")]
    TooLong,
    /// No room to park it.
    #[error("no room for a parked prefix")]
    NoRoom,
    /// A step without tokens.
    #[error("a step without tokens")]
    Empty,
}

/// The lengths.
#[derive(Debug, Clone)]
pub struct Holdings {
    bounds: Bounds,
    lengths: Vec<usize>,
    parked: BTreeMap<ParkId, usize>,
    parked_tokens: usize,
}

impl Holdings {
    /// An empty cache.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            lengths: vec![0; bounds.sequences as usize],
            bounds,
            parked: BTreeMap::new(),
            parked_tokens: 0,
        }
    }

    /// Tokens of a sequence; 0 where there is none.
    #[must_use]
    pub fn length(&self, slot: SlotId) -> usize {
        self.lengths.get(slot.0 as usize).copied().unwrap_or(0)
    }

    /// Sequences that hold anything.
    pub fn filled(&self) -> impl Iterator<Item = SlotId> + '_ {
        let numbered = (0u32..).zip(&self.lengths);
        numbered.filter_map(|(slot, length)| (*length > 0).then_some(SlotId(slot)))
    }

    /// Whether an operation can be carried out on what is held.
    ///
    /// # Errors
    /// Every [`HoldingsError`] but `Empty`.
    pub fn check(&self, op: KvOp) -> Result<(), HoldingsError> {
        let (sequence, wanted, held) = match op {
            KvOp::Cut { slot, .. } => (slot, 0, 0),
            KvOp::Share { from, to, len } => {
                self.exists(from)?;
                (to, len, self.length(from))
            }
            KvOp::Park { slot, .. } => {
                let tokens = self.length(slot);
                let is_full = self.parked.len() >= MAX_PARKED
                    || self.parked_tokens + tokens > self.bounds.parked_tokens;
                if is_full {
                    return Err(HoldingsError::NoRoom);
                }
                (slot, 1, tokens)
            }
            KvOp::Unpark { id, slot } => (slot, 1, self.parked.get(&id).copied().unwrap_or(0)),
            KvOp::Discard { .. } => return Ok(()),
        };
        self.exists(sequence)?;
        if held < wanted {
            return Err(HoldingsError::Missing { held, wanted });
        }
        Ok(())
    }

    /// An operation that [`Self::check`] allowed was carried out.
    pub fn on_done(&mut self, op: KvOp) {
        match op {
            KvOp::Cut { slot, keep } => self.set(slot, self.length(slot).min(keep)),
            KvOp::Share { to, len, .. } => self.set(to, len),
            KvOp::Park { slot, id } => {
                self.forget(id);
                self.parked.insert(id, self.length(slot));
                self.parked_tokens += self.length(slot);
            }
            KvOp::Unpark { id, slot } => {
                let length = self.parked.get(&id).copied().unwrap_or(0);
                self.set(slot, length);
            }
            KvOp::Discard { id } => self.forget(id),
        }
    }

    /// A sequence holds nothing any more.
    pub fn on_lost(&mut self, slot: SlotId) {
        self.set(slot, 0);
    }

    /// Nothing is parked any more.
    pub fn forget_parked(&mut self) {
        self.parked.clear();
        self.parked_tokens = 0;
    }

    /// Whether a step of `n` tokens after the first `keep_n` of a sequence can be computed.
    ///
    /// # Errors
    /// Every [`HoldingsError`] but `NoRoom`.
    pub fn check_step(&self, slot: SlotId, keep_n: usize, n: usize) -> Result<(), HoldingsError> {
        self.exists(slot)?;
        let held = self.length(slot);
        if n == 0 {
            return Err(HoldingsError::Empty);
        }
        if held < keep_n {
            let wanted = keep_n;
            return Err(HoldingsError::Missing { held, wanted });
        }
        match keep_n.checked_add(n) {
            Some(length) if length <= self.bounds.cells => Ok(()),
            _ => Err(HoldingsError::TooLong),
        }
    }

    /// A step was computed.
    pub fn on_computed(&mut self, slot: SlotId, keep_n: usize, n: usize) {
        self.set(slot, keep_n.saturating_add(n));
    }

    fn exists(&self, slot: SlotId) -> Result<(), HoldingsError> {
        match self.lengths.get(slot.0 as usize) {
            Some(_) => Ok(()),
            None => Err(HoldingsError::NoSequence),
        }
    }

    fn set(&mut self, slot: SlotId, length: usize) {
        if let Some(held) = self.lengths.get_mut(slot.0 as usize) {
            *held = length;
        }
    }

    fn forget(&mut self, id: ParkId) {
        self.parked_tokens -= self.parked.remove(&id).unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        sequences: 3,
        cells: 20,
        parked_tokens: 30,
    };

    fn ops() -> impl Strategy<Value = KvOp> {
        let slot = || (0u32..5).prop_map(SlotId);
        let id = || (0u64..4).prop_map(ParkId);
        prop_oneof![
            (slot(), 0usize..25).prop_map(|(slot, keep)| KvOp::Cut { slot, keep }),
            (slot(), slot(), 0usize..25).prop_map(|(from, to, len)| KvOp::Share { from, to, len }),
            (slot(), id()).prop_map(|(slot, id)| KvOp::Park { slot, id }),
            (id(), slot()).prop_map(|(id, slot)| KvOp::Unpark { id, slot }),
            id().prop_map(|id| KvOp::Discard { id }),
        ]
    }

    #[derive(Debug, Clone)]
    enum Deed {
        Op(KvOp),
        Step(SlotId, usize, usize),
    }

    fn deeds() -> impl Strategy<Value = Vec<Deed>> {
        let step = (0u32..5, 0usize..25, 0usize..25)
            .prop_map(|(slot, keep_n, n)| Deed::Step(SlotId(slot), keep_n, n));
        prop::collection::vec(prop_oneof![ops().prop_map(Deed::Op), step], 0..80)
    }

    proptest! {
        #[test]
        fn whatever_is_asked_for_the_bounds_hold(deeds in deeds()) {
            let mut holdings = Holdings::new(BOUNDS);
            for deed in deeds {
                match deed {
                    Deed::Op(op) if holdings.check(op).is_ok() => holdings.on_done(op),
                    Deed::Step(slot, keep_n, n)
                        if holdings.check_step(slot, keep_n, n).is_ok() =>
                    {
                        prop_assert!(keep_n <= holdings.length(slot));
                        holdings.on_computed(slot, keep_n, n);
                    }
                    _ => {}
                }
                prop_assert!(holdings.lengths.iter().all(|length| *length <= BOUNDS.cells));
                prop_assert!(holdings.parked_tokens <= BOUNDS.parked_tokens + BOUNDS.cells);
                let parked: usize = holdings.parked.values().sum();
                prop_assert_eq!(parked, holdings.parked_tokens);
            }
        }
    }

    #[test]
    fn a_step_builds_on_what_is_there() {
        let mut holdings = Holdings::new(BOUNDS);
        let slot = SlotId(1);
        assert_eq!(holdings.check_step(slot, 0, 5), Ok(()));
        holdings.on_computed(slot, 0, 5);
        let missing = HoldingsError::Missing { held: 5, wanted: 6 };
        assert_eq!(holdings.check_step(slot, 6, 1), Err(missing));
        assert_eq!(
            holdings.check_step(slot, 3, 18),
            Err(HoldingsError::TooLong)
        );
        assert_eq!(holdings.check_step(slot, 3, 0), Err(HoldingsError::Empty));
        let foreign = holdings.check_step(SlotId(3), 0, 1);
        assert_eq!(foreign, Err(HoldingsError::NoSequence));
        holdings.on_computed(slot, 3, 1);
        assert_eq!(holdings.length(slot), 4);
        assert_eq!(holdings.filled().collect::<Vec<_>>(), [slot]);
        holdings.on_lost(slot);
        assert_eq!(holdings.filled().count(), 0);
    }

    #[test]
    fn what_is_parked_comes_back_and_may_be_missing() {
        let mut holdings = Holdings::new(BOUNDS);
        holdings.on_computed(SlotId(0), 0, 15);
        let park = |id| KvOp::Park {
            slot: SlotId(0),
            id: ParkId(id),
        };
        let back = |id| KvOp::Unpark {
            id: ParkId(id),
            slot: SlotId(2),
        };
        holdings.on_done(park(0));
        holdings.on_done(park(1));
        assert_eq!(holdings.check(park(2)), Err(HoldingsError::NoRoom));
        holdings.on_done(KvOp::Discard { id: ParkId(1) });
        assert_eq!(holdings.check(park(2)), Ok(()));
        let missing = HoldingsError::Missing { held: 0, wanted: 1 };
        assert_eq!(holdings.check(back(1)), Err(missing));
        holdings.on_done(back(0));
        assert_eq!(holdings.length(SlotId(2)), 15);
    }
}
