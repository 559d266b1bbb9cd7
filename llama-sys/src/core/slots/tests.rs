//! The mirror of the cache against a model of the cache that only obeys operations.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const SEQUENCES: u32 = 5;
const CELLS: u32 = 40;
const PARKED: usize = 50;

/// What llama.cpp holds after the operations: the cells of each sequence, with their tokens.
#[derive(Debug, Clone, Default)]
struct Cache {
    sequences: Vec<Vec<(u64, u32)>>,
    parked: BTreeMap<ParkId, Vec<u32>>,
    next: u64,
}

impl Cache {
    fn new() -> Self {
        Self {
            sequences: vec![Vec::new(); SEQUENCES as usize],
            ..Self::default()
        }
    }

    fn apply(&mut self, ops: &[KvOp]) {
        for op in ops {
            match *op {
                KvOp::Cut { slot, keep } => self.sequences[slot.0 as usize].truncate(keep),
                KvOp::Share { from, to, len } => {
                    let shared = self.sequences[from.0 as usize][..len].to_vec();
                    assert!(self.sequences[to.0 as usize].is_empty());
                    self.sequences[to.0 as usize] = shared;
                }
                KvOp::Park { slot, id } => {
                    let sequence = &self.sequences[slot.0 as usize];
                    let tokens = sequence.iter().map(|c| c.1).collect();
                    assert!(self.parked.insert(id, tokens).is_none());
                }
                KvOp::Unpark { id, slot } => {
                    assert!(self.sequences[slot.0 as usize].is_empty());
                    assert!(self.used() + self.parked[&id].len() <= CELLS as usize);
                    let tokens = self.parked[&id].clone();
                    self.extend(slot, &tokens);
                }
                KvOp::Discard { id } => assert!(self.parked.remove(&id).is_some()),
            }
        }
    }

    fn extend(&mut self, slot: SlotId, tokens: &[u32]) {
        for &token in tokens {
            self.next += 1;
            self.sequences[slot.0 as usize].push((self.next, token));
        }
    }

    fn used(&self) -> usize {
        let cells: BTreeSet<u64> = self.sequences.iter().flatten().map(|c| c.0).collect();
        cells.len()
    }
}

#[derive(Debug, Clone)]
enum Action {
    Acquire(Vec<u32>, bool),
    Extend(usize, Vec<u32>),
    Cut(usize, usize),
    Release(usize),
    ParkIdle,
}

fn action() -> impl Strategy<Value = Action> {
    // Mostly the same token, so that prefixes worth sharing are frequent.
    let tokens = || {
        let parts = (0usize..20, prop::collection::vec(0u32..2, 1..4));
        parts.prop_map(|(same, rest)| [vec![0; same], rest].concat())
    };
    prop_oneof![
        3 => (tokens(), prop::bool::weighted(0.9)).prop_map(|(t, r)| Action::Acquire(t, r)),
        4 => (0usize..5, tokens()).prop_map(|(i, t)| Action::Extend(i, t)),
        1 => (0usize..5, 0usize..30).prop_map(|(i, k)| Action::Cut(i, k)),
        3 => (0usize..5).prop_map(Action::Release),
        1 => Just(Action::ParkIdle),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_mirror_and_the_cache_stay_alike(
        actions in prop::collection::vec(action(), 1..60), whole: bool
    ) {
        let reuse = if whole { Reuse::Whole } else { Reuse::Any };
        let mut slots = Slots::new(SEQUENCES, CELLS, reuse, PARKED);
        let mut cache = Cache::new();
        let mut busy: Vec<SlotId> = Vec::new();
        for action in actions {
            let mut ops = Vec::new();
            let before: Vec<Vec<u32>> = busy.iter().map(|s| slots.tokens(*s).to_vec()).collect();
            let running = busy.clone();
            match action {
                Action::Acquire(tokens, reuse_cache) => {
                    let prospect = slots.prospect(&tokens).0;
                    let got = slots.acquire(&tokens, reuse_cache, &mut ops);
                    prop_assert_eq!(got.is_none(), busy.len() == SEQUENCES as usize);
                    cache.apply(&ops);
                    if let Some((slot, cached)) = got {
                        prop_assert_eq!(cached, if reuse_cache { prospect } else { 0 });
                        prop_assert!(cached < tokens.len());
                        prop_assert_eq!(slots.tokens(slot), &tokens[..cached]);
                        prop_assert!(!busy.contains(&slot));
                        busy.push(slot);
                    }
                }
                Action::Extend(i, tokens) if !busy.is_empty() => {
                    let slot = busy[i % busy.len()];
                    let room = CELLS as usize - slots.busy_cells();
                    let done = slots.extend(slot, &tokens, &mut ops);
                    prop_assert_eq!(done, tokens.len() <= room);
                    cache.apply(&ops);
                    if done {
                        cache.extend(slot, &tokens);
                    }
                }
                Action::Cut(i, keep) if !busy.is_empty() => {
                    slots.cut(busy[i % busy.len()], keep, &mut ops);
                    cache.apply(&ops);
                }
                Action::Release(i) if !busy.is_empty() => slots.release(busy.remove(i % busy.len())),
                Action::ParkIdle => {
                    slots.park_idle(&mut ops);
                    prop_assert!(whole || slots.used_cells() == slots.busy_cells());
                    cache.apply(&ops);
                }
                _ => {}
            }
            // Nothing but its own extension or cut touches a busy sequence.
            for (slot, tokens) in running.iter().zip(&before) {
                let now = slots.tokens(*slot);
                prop_assert!(now.starts_with(tokens) || tokens.starts_with(now));
            }
            for i in 0..SEQUENCES {
                let held: Vec<u32> = cache.sequences[i as usize].iter().map(|c| c.1).collect();
                prop_assert_eq!(slots.tokens(SlotId(i)), held);
            }
            prop_assert_eq!(slots.used_cells(), cache.used());
            let parked: usize = cache.parked.values().map(Vec::len).sum();
            prop_assert!(parked <= PARKED);
            prop_assert_eq!(parked, slots.parking.tokens());
            prop_assert!(slots.busy_cells() <= slots.used_cells());
            prop_assert!(slots.used_cells() <= CELLS as usize);
        }
    }
}

fn prompt(n: u32) -> Vec<u32> {
    (0..n).collect()
}

#[test]
fn a_prefix_is_shared_with_a_busy_sequence() {
    let mut slots = Slots::new(3, 100, Reuse::Any, 5000);
    let mut ops = Vec::new();
    let (a, _) = slots.acquire(&prompt(30), true, &mut ops).unwrap();
    assert!(slots.extend(a, &prompt(30), &mut ops));
    assert!(ops.is_empty());
    let (b, cached) = slots.acquire(&prompt(30), true, &mut ops).unwrap();
    assert_eq!((cached, slots.used_cells()), (29, 30));
    assert_eq!(
        ops,
        [KvOp::Share {
            from: a,
            to: b,
            len: 29
        }]
    );
}

#[test]
fn a_few_tokens_in_common_are_computed_again() {
    let mut slots = Slots::new(3, 100, Reuse::Any, 5000);
    let mut ops = Vec::new();
    let (busy, _) = slots.acquire(&prompt(30), true, &mut ops).unwrap();
    assert!(slots.extend(busy, &prompt(30), &mut ops));
    let like = |common: u32| -> Vec<u32> { (0..common).chain(500..520).collect() };
    assert_eq!(slots.prospect(&like(15)), (0, 0));
    let (slot, cached) = slots.acquire(&like(15), true, &mut ops).unwrap();
    assert_eq!((slots.tokens(slot).len(), cached), (0, 0));
    assert!(ops.is_empty());
    assert_eq!(slots.prospect(&like(16)), (16, 0));
    // Nor are they taken over from a sequence that is idle.
    slots.release(busy);
    assert_eq!(slots.prospect(&like(1)), (0, 0));
    let (slot, _) = slots.acquire(&like(1), true, &mut ops).unwrap();
    assert_ne!(slot, busy);
    assert!(ops.is_empty());
}

#[test]
fn a_conversation_goes_on_in_its_place() {
    let mut slots = Slots::new(3, 100, Reuse::Any, 5000);
    let mut ops = Vec::new();
    let (a, _) = slots.acquire(&prompt(30), true, &mut ops).unwrap();
    slots.extend(a, &prompt(30), &mut ops);
    slots.release(a);
    assert_eq!(slots.acquire(&prompt(40), true, &mut ops), Some((a, 30)));
    assert!(ops.is_empty());
}

/// Fills a sequence with 20 tokens and releases it.
fn filled(slots: &mut Slots, first: u32, ops: &mut Vec<KvOp>) -> SlotId {
    let tokens: Vec<u32> = (first..first + 20).collect();
    let (slot, _) = slots.acquire(&tokens, true, ops).unwrap();
    assert!(slots.extend(slot, &tokens, ops));
    slots.release(slot);
    slot
}

#[test]
fn the_longest_unused_is_parked_first() {
    let mut slots = Slots::new(3, 50, Reuse::Any, 5000);
    let mut ops = Vec::new();
    let old = filled(&mut slots, 100, &mut ops);
    let young = filled(&mut slots, 200, &mut ops);
    let (new, _) = slots.acquire(&prompt(25), true, &mut ops).unwrap();
    assert!(slots.extend(new, &prompt(25), &mut ops));
    assert_eq!(
        (slots.tokens(old).len(), slots.tokens(young).len()),
        (0, 20)
    );
    let (slot, id) = (old, ParkId(0));
    assert_eq!(ops, [KvOp::Park { slot, id }, KvOp::Cut { slot, keep: 0 }]);
}

#[test]
fn a_parked_prefix_comes_back() {
    let mut slots = Slots::new(3, 50, Reuse::Any, 5000);
    let mut ops = Vec::new();
    filled(&mut slots, 100, &mut ops);
    slots.park_idle(&mut ops);
    assert_eq!(slots.used_cells(), 0);
    ops.clear();
    // One that parts from it after 18 tokens: it stays parked for its own next turn.
    let other: Vec<u32> = (100..118).chain(7..9).collect();
    let (slot, cached) = slots.acquire(&other, true, &mut ops).unwrap();
    assert_eq!((cached, slots.used_cells()), (18, 18));
    let id = ParkId(0);
    let back = KvOp::Unpark { id, slot };
    assert_eq!(ops, [back, KvOp::Cut { slot, keep: 18 }]);
    ops.clear();
    let longer: Vec<u32> = (100..130).collect();
    let (slot, cached) = slots.acquire(&longer, true, &mut ops).unwrap();
    assert_eq!(cached, 18);
    // Two tokens more are not worth it while the beginning is in the cache.
    assert!(matches!(ops[..], [KvOp::Share { to, len: 18, .. }] if to == slot));
    // What could not be copied is not found again.
    let mut slots = Slots::new(3, 50, Reuse::Any, 5000);
    filled(&mut slots, 100, &mut ops);
    slots.park_idle(&mut ops);
    slots.not_parked(ParkId(0));
    assert_eq!(slots.prospect(&longer), (0, 0));
}
