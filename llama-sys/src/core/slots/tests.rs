//! The mirror of the cache against a model of the cache that only obeys operations.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const SEQUENCES: u32 = 5;
const CELLS: u32 = 40;

/// What llama.cpp holds after the operations: the cells of each sequence, with their tokens.
#[derive(Debug, Clone, Default)]
struct Cache {
    sequences: Vec<Vec<(u64, u32)>>,
    next: u64,
}

impl Cache {
    fn new() -> Self {
        Self {
            sequences: vec![Vec::new(); SEQUENCES as usize],
            next: 0,
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
    Trim,
}

fn action() -> impl Strategy<Value = Action> {
    // Few different tokens, so that prefixes are often shared.
    let tokens = || prop::collection::vec(0u32..2, 1..20);
    prop_oneof![
        3 => (tokens(), prop::bool::weighted(0.9)).prop_map(|(t, r)| Action::Acquire(t, r)),
        4 => (0usize..5, tokens()).prop_map(|(i, t)| Action::Extend(i, t)),
        1 => (0usize..5, 0usize..30).prop_map(|(i, k)| Action::Cut(i, k)),
        3 => (0usize..5).prop_map(Action::Release),
        1 => Just(Action::Trim),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_mirror_and_the_cache_stay_alike(
        actions in prop::collection::vec(action(), 1..60), whole: bool
    ) {
        let reuse = if whole { Reuse::Whole } else { Reuse::Any };
        let mut slots = Slots::new(SEQUENCES, CELLS, reuse);
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
                Action::Trim => {
                    slots.trim(&mut ops);
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
    let mut slots = Slots::new(3, 100, Reuse::Any);
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
fn a_conversation_goes_on_in_its_place() {
    let mut slots = Slots::new(3, 100, Reuse::Any);
    let mut ops = Vec::new();
    let (a, _) = slots.acquire(&prompt(30), true, &mut ops).unwrap();
    slots.extend(a, &prompt(30), &mut ops);
    slots.release(a);
    assert_eq!(slots.acquire(&prompt(40), true, &mut ops), Some((a, 30)));
    assert!(ops.is_empty());
}

#[test]
fn the_longest_unused_goes_first_and_from_its_end() {
    let mut slots = Slots::new(3, 50, Reuse::Any);
    let mut ops = Vec::new();
    let mut filled = |first: u32| {
        let tokens: Vec<u32> = (first..first + 20).collect();
        let (slot, _) = slots.acquire(&tokens, true, &mut ops).unwrap();
        assert!(slots.extend(slot, &tokens, &mut ops));
        slots.release(slot);
        slot
    };
    let (old, young) = (filled(100), filled(200));
    let (new, _) = slots.acquire(&prompt(25), true, &mut ops).unwrap();
    assert!(slots.extend(new, &prompt(25), &mut ops));
    assert_eq!(
        (slots.tokens(old).len(), slots.tokens(young).len()),
        (5, 20)
    );
}

#[test]
fn trimming_keeps_the_newest_whole_and_little_beside_it() {
    let mut slots = Slots::new(4, 8000, Reuse::Any);
    let mut ops = Vec::new();
    let mut filled = Vec::new();
    for first in [10_000, 20_000, 30_000] {
        let tokens: Vec<u32> = (first..first + 2000).collect();
        let (slot, _) = slots.acquire(&tokens, true, &mut ops).unwrap();
        assert!(slots.extend(slot, &tokens, &mut ops));
        slots.release(slot);
        filled.push(slot);
    }
    slots.trim(&mut ops);
    let kept: Vec<usize> = filled.iter().map(|s| slots.tokens(*s).len()).collect();
    assert_eq!(kept, [0, 256, 2000]);
    // Whoever comes back is kept longer from then on.
    let tokens: Vec<u32> = (10_000..12_000).collect();
    let (slot, cached) = slots.acquire(&tokens, true, &mut ops).unwrap();
    assert_eq!(cached, 0);
    assert!(slots.extend(slot, &tokens, &mut ops));
    slots.trim(&mut ops);
    assert_eq!(
        (slots.tokens(filled[1]).len(), slots.tokens(filled[2]).len()),
        (256, 2000)
    );
}
