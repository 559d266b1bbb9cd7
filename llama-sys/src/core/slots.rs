//! Which sequence of the KV cache holds which tokens, and what of it a new prompt can use again.
//! It mirrors llama.cpp's unified cache (one pool of cells, a cell may belong to several
//! sequences) and says which operations keep the two alike; it performs none.
//!
//! A sequence whose answer ended keeps its tokens as a *cached prefix* until other jobs run: then
//! it is *parked*, moved to ordinary memory ([`Slots::park_idle`]), because attention passes over
//! every cell in use, also of others, and cells that lie scattered between those of others take
//! its tiles apart. A prompt that begins like a parked prefix has it brought back, which takes a
//! hundredth of computing it.

#![expect(
    clippy::cast_possible_truncation,
    reason = "llama.cpp has 256 sequences at most"
)]

mod parked;

use parked::{Found, Parking};

pub use parked::ParkId;

/// A sequence of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotId(pub u32);

/// What must be done to the cache, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvOp {
    /// Drop the tokens of `slot` from position `keep` on.
    Cut {
        /// The sequence.
        slot: SlotId,
        /// Tokens that stay.
        keep: usize,
    },
    /// Let the empty sequence `to` share the first `len` tokens of `from`.
    Share {
        /// The sequence that has the tokens.
        from: SlotId,
        /// The sequence that gets them.
        to: SlotId,
        /// How many.
        len: usize,
    },
    /// Copy all of `slot` out of the cache, under `id`.
    Park {
        /// The sequence.
        slot: SlotId,
        /// Its name from now on.
        id: ParkId,
    },
    /// Bring what was parked under `id` back into the empty sequence `slot`. It stays parked.
    Unpark {
        /// What.
        id: ParkId,
        /// The sequence that gets it.
        slot: SlotId,
    },
    /// Forget what was parked under `id`.
    Discard {
        /// What.
        id: ParkId,
    },
}

/// So many tokens are worth being used again or copied. Fewer are computed in less time than one
/// decode step of a busy engine takes; and a prompt behind a few tokens of another lies across the
/// tiles of attention (64 tokens by 64 cells), each of which then reaches into one more.
const WORTH_REUSING_TOKENS: usize = 16;

/// What a cache can do, by the model's architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// Attention only: any prefix of any sequence.
    Any,
    /// A recurrent state stands at one position only: a whole sequence or nothing.
    Whole,
}

#[derive(Debug, Clone, Default)]
struct Slot {
    tokens: Vec<u32>,
    /// The cell of each token.
    cells: Vec<u32>,
    busy: bool,
    used_at: u64,
}

/// All sequences of a cache.
#[derive(Debug, Clone)]
pub struct Slots {
    slots: Vec<Slot>,
    /// How many sequences each cell belongs to, and how many busy ones.
    references: Vec<[u16; 2]>,
    free: Vec<u32>,
    busy_cells: usize,
    reuse: Reuse,
    clock: u64,
    parking: Parking,
    gone: Vec<ParkId>,
}

impl Slots {
    /// `sequences` empty ones over `cells` cells, and room to park `parked` tokens.
    #[must_use]
    pub fn new(sequences: u32, cells: u32, reuse: Reuse, parked: usize) -> Self {
        Self {
            slots: vec![Slot::default(); sequences as usize],
            references: vec![[0; 2]; cells as usize],
            free: (0..cells).rev().collect(),
            busy_cells: 0,
            reuse,
            clock: 0,
            // A recurrent state takes the same memory for any number of tokens.
            parking: Parking::new(if reuse == Reuse::Any { parked } else { 0 }),
            gone: Vec::new(),
        }
    }

    /// Cells in all.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.references.len()
    }

    /// Cells in use, cached prefixes included.
    #[must_use]
    pub fn used_cells(&self) -> usize {
        self.cells() - self.free.len()
    }

    /// Cells that busy sequences use. The rest can be had.
    #[must_use]
    pub fn busy_cells(&self) -> usize {
        self.busy_cells
    }

    /// Tokens that `slot` holds.
    #[must_use]
    pub fn tokens(&self, slot: SlotId) -> &[u32] {
        &self.slots[slot.0 as usize].tokens
    }

    /// How much of `tokens` could come from the cache or from what is parked, and how many cells
    /// of that no busy sequence holds (they stop being available to others).
    #[must_use]
    pub fn prospect(&self, tokens: &[u32]) -> (usize, usize) {
        let best = self.best_prefix(tokens);
        if let Some(found) = self.worth_unparking(tokens, best) {
            return (found.common, found.common);
        }
        let Some((slot, len)) = best else {
            return (0, 0);
        };
        let cells = self.slots[slot].cells[..len].iter();
        let idle = cells.filter(|c| self.references[**c as usize][1] == 0);
        (len, idle.count())
    }

    /// Makes a sequence busy for a prompt. With `reuse_cache` it begins with the longest known
    /// prefix, all tokens but one at most. Answers the sequence and that prefix's length; `None`
    /// if all sequences are busy.
    pub fn acquire(
        &mut self,
        tokens: &[u32],
        reuse_cache: bool,
        ops: &mut Vec<KvOp>,
    ) -> Option<(SlotId, usize)> {
        let best = if reuse_cache {
            self.best_prefix(tokens)
        } else {
            None
        };
        let parked = self.worth_unparking(tokens, best).filter(|_| reuse_cache);
        let victim = self.victim(best.map(|(slot, _)| slot));
        let (slot, len) = match (parked, best) {
            (Some(found), _) => (self.unpark(found, victim?, ops), found.common),
            (None, Some((from, len))) if self.is_taken_over(from, len, victim) => (from, len),
            (None, Some((from, len))) => (self.share(from, victim?, len, ops), len),
            (None, None) => {
                let slot = victim?;
                self.vacate(slot, None, ops);
                (slot, 0)
            }
        };
        let id = SlotId(slot as u32);
        self.cut(id, len, ops);
        self.set_busy(slot, true);
        Some((id, len))
    }

    /// The parked prefix that serves `tokens` better than what is in the cache, if the cache has
    /// room for it.
    fn worth_unparking(&self, tokens: &[u32], best: Option<(usize, usize)>) -> Option<Found> {
        let most = tokens.len().saturating_sub(1);
        let room = self.cells() - self.busy_cells;
        let found = self.parking.find(&tokens[..most], room)?;
        let cached = best.map_or(0, |(_, len)| len);
        (found.common >= cached + WORTH_REUSING_TOKENS).then_some(found)
    }

    /// Brings a parked prefix back into the idle sequence `to`.
    fn unpark(&mut self, found: Found, to: usize, ops: &mut Vec<KvOp>) -> usize {
        let spared = Some(found.id);
        self.vacate(to, spared, ops);
        while self.free.len() < found.len && self.vacate_oldest(spared, ops) {}
        let tokens = self.parking.touch(found.id).unwrap_or_default().to_vec();
        let slot = SlotId(to as u32);
        ops.push(KvOp::Unpark { id: found.id, slot });
        let cells = self.free.split_off(self.free.len() - tokens.len());
        for &cell in &cells {
            self.references[cell as usize] = [1, 0];
        }
        self.slots[to].tokens = tokens;
        self.slots[to].cells = cells;
        if found.common == found.len {
            // The sequence goes on from there, and is parked in its longer form one day.
            self.parking.remove(found.id);
            ops.push(KvOp::Discard { id: found.id });
        }
        to
    }

    /// True if the prefix is used where it is, instead of being shared with another sequence.
    fn is_taken_over(&self, from: usize, len: usize, victim: Option<usize>) -> bool {
        let slot = &self.slots[from];
        let tail = slot.tokens.len() - len;
        let no_other = victim.is_none_or(|v| v == from);
        !slot.busy && (tail < WORTH_REUSING_TOKENS || no_other)
    }

    /// The sequence with the longest beginning in common with `tokens`, and how long that is.
    /// Of equals the newest: a prompt that is asked again then stands on the very numbers of
    /// the last time (the same prefix computed in other batches differs in its last digits).
    fn best_prefix(&self, tokens: &[u32]) -> Option<(usize, usize)> {
        let most = tokens.len().saturating_sub(1);
        let usable = |slot: &Slot| {
            let common = common_prefix(&slot.tokens, &tokens[..most]);
            match self.reuse {
                Reuse::Any if common >= WORTH_REUSING_TOKENS => common,
                Reuse::Whole if !slot.busy && common == slot.tokens.len() => common,
                _ => 0,
            }
        };
        let ranked = self
            .slots
            .iter()
            .enumerate()
            .map(|(i, s)| (usable(s), !s.busy, s.used_at, i));
        let (len, _, _, slot) = ranked.max()?;
        (len > 0).then_some((slot, len))
    }

    /// The idle sequence to give up: an empty one, else the longest unused. `spare` only if
    /// there is no other.
    fn victim(&self, spare: Option<usize>) -> Option<usize> {
        let idle = self.slots.iter().enumerate().filter(|(_, s)| !s.busy);
        idle.min_by_key(|(i, s)| (Some(*i) == spare, !s.tokens.is_empty(), s.used_at))
            .map(|(i, _)| i)
    }

    fn share(&mut self, from: usize, to: usize, len: usize, ops: &mut Vec<KvOp>) -> usize {
        let target = SlotId(to as u32);
        self.vacate(to, None, ops);
        let cells = self.slots[from].cells[..len].to_vec();
        for &cell in &cells {
            self.references[cell as usize][0] += 1;
        }
        self.slots[to].tokens = self.slots[from].tokens[..len].to_vec();
        self.slots[to].cells = cells;
        ops.push(KvOp::Share {
            from: SlotId(from as u32),
            to: target,
            len,
        });
        to
    }

    /// Gives cells to `tokens` at the end of the busy sequence `slot`. Parks cached prefixes
    /// where it must. False, and nothing changed but those, if busy sequences hold too many
    /// cells.
    pub fn extend(&mut self, slot: SlotId, tokens: &[u32], ops: &mut Vec<KvOp>) -> bool {
        while self.free.len() < tokens.len() {
            if !self.vacate_oldest(None, ops) {
                return false;
            }
        }
        for &token in tokens {
            let Some(cell) = self.free.pop() else {
                return false;
            };
            self.references[cell as usize] = [1, 1];
            self.busy_cells += 1;
            let slot = &mut self.slots[slot.0 as usize];
            slot.tokens.push(token);
            slot.cells.push(cell);
        }
        true
    }

    /// Parks all that is idle: for when busy sequences are computed. Recurrent states stay, they
    /// are in nobody's way.
    pub fn park_idle(&mut self, ops: &mut Vec<KvOp>) {
        while self.reuse == Reuse::Any && self.vacate_oldest(None, ops) {}
    }

    /// Parks the longest unused cached prefix. False if there is none.
    fn vacate_oldest(&mut self, spared: Option<ParkId>, ops: &mut Vec<KvOp>) -> bool {
        let oldest = self.cached().min_by_key(|(_, s)| s.used_at);
        let Some(slot) = oldest.map(|(i, _)| i) else {
            return false;
        };
        self.vacate(slot, spared, ops);
        true
    }

    /// Empties an idle sequence; what it holds is parked, where that is worth it and `spared`
    /// need not go for it.
    fn vacate(&mut self, slot: usize, spared: Option<ParkId>, ops: &mut Vec<KvOp>) {
        let tokens = &self.slots[slot].tokens;
        let id = SlotId(slot as u32);
        if tokens.len() >= WORTH_REUSING_TOKENS {
            let parked = self.parking.park(tokens, spared, &mut self.gone);
            ops.extend(self.gone.drain(..).map(|id| KvOp::Discard { id }));
            ops.extend(parked.map(|parked| KvOp::Park {
                slot: id,
                id: parked,
            }));
        }
        self.cut(id, 0, ops);
    }

    /// What was to be parked under `id` could not be copied.
    pub fn not_parked(&mut self, id: ParkId) {
        self.parking.remove(id);
    }

    /// Idle sequences that hold tokens.
    fn cached(&self) -> impl Iterator<Item = (usize, &Slot)> {
        let all = self.slots.iter().enumerate();
        all.filter(|(_, s)| !s.busy && !s.tokens.is_empty())
    }

    /// Drops all tokens of `slot` but the first `keep`.
    pub fn cut(&mut self, slot: SlotId, keep: usize, ops: &mut Vec<KvOp>) {
        let target = &mut self.slots[slot.0 as usize];
        if target.tokens.len() <= keep {
            return;
        }
        target.tokens.truncate(keep);
        for cell in target.cells.drain(keep..) {
            let [all, busy] = &mut self.references[cell as usize];
            *all -= 1;
            if target.busy {
                *busy -= 1;
                self.busy_cells -= usize::from(*busy == 0);
            }
            if *all == 0 {
                self.free.push(cell);
            }
        }
        ops.push(KvOp::Cut { slot, keep });
    }

    /// The answer is over; its tokens stay as a cached prefix.
    pub fn release(&mut self, slot: SlotId) {
        self.set_busy(slot.0 as usize, false);
    }

    fn set_busy(&mut self, slot: usize, busy: bool) {
        self.clock += 1;
        let slot = &mut self.slots[slot];
        slot.used_at = self.clock;
        if slot.busy == busy {
            return;
        }
        slot.busy = busy;
        for &cell in &slot.cells {
            let holders = &mut self.references[cell as usize][1];
            let changed = *holders == u16::from(!busy);
            *holders = if busy { *holders + 1 } else { *holders - 1 };
            match (changed, busy) {
                (true, true) => self.busy_cells += 1,
                (true, false) => self.busy_cells -= 1,
                (false, _) => {}
            }
        }
    }
}

fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

#[cfg(test)]
mod tests;
