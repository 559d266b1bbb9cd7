//! A set of a model's chunks: one bit each, so the largest model's takes 128 KiB.

use std::ops::Range;

use crate::limits::{MAX_HELD_RUNS, MAX_MODEL_CHUNKS};

const BITS: u32 = u64::BITS;

/// Some of the chunks `0..len`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkSet {
    words: Vec<u64>,
    len: u32,
    count: u32,
}

impl ChunkSet {
    /// None of `len` chunks, at most [`MAX_MODEL_CHUNKS`].
    pub fn none(len: u32) -> Self {
        let len = len.min(MAX_MODEL_CHUNKS);
        let words = usize::try_from(len.div_ceil(BITS)).expect("chunks are limited");
        Self {
            words: vec![0; words],
            len,
            count: 0,
        }
    }

    /// All of them.
    pub fn all(len: u32) -> Self {
        let mut set = Self::none(len);
        set.insert_run(0..set.len);
        set
    }

    /// The runs, as far as they are within `len`.
    pub fn of_runs(len: u32, runs: impl IntoIterator<Item = Range<u32>>) -> Self {
        let mut set = Self::none(len);
        runs.into_iter().for_each(|run| set.insert_run(run));
        set
    }

    /// Reads what [`ChunkSet::to_bytes`] wrote. `None`: it is of another number of chunks.
    pub fn from_bytes(len: u32, bytes: &[u8]) -> Option<Self> {
        let mut set = Self::none(len);
        let (words, rest) = bytes.as_chunks::<8>();
        if words.len() != set.words.len() || !rest.is_empty() {
            return None;
        }
        for (word, bytes) in set.words.iter_mut().zip(words) {
            *word = u64::from_le_bytes(*bytes);
        }
        set.cut();
        Some(set)
    }

    /// The bits.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|w| w.to_le_bytes()).collect()
    }

    /// Of how many chunks it is a set.
    pub fn universe(&self) -> u32 {
        self.len
    }

    /// How many are in it.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a chunk is.
    pub fn contains(&self, chunk: u32) -> bool {
        chunk < self.len && self.words[index(chunk)] & mask(chunk) != 0
    }

    /// Whether each of some chunks is.
    pub fn contains_run(&self, run: Range<u32>) -> bool {
        run.end <= self.len && self.run_at(run.start).end >= run.end
    }

    /// Whether every one of the other set is in this one.
    pub fn contains_all(&self, other: &Self) -> bool {
        let both = self.words.iter().zip(&other.words);
        self.len == other.len && both.into_iter().all(|(own, other)| other & !own == 0)
    }

    /// Puts a chunk in; whether it was not there. One beyond the set is not.
    pub fn insert(&mut self, chunk: u32) -> bool {
        if chunk >= self.len || self.contains(chunk) {
            return false;
        }
        self.words[index(chunk)] |= mask(chunk);
        self.count += 1;
        true
    }

    /// Puts the chunks of a run in, as far as they are within the set.
    pub fn insert_run(&mut self, run: Range<u32>) {
        (run.start..run.end.min(self.len)).for_each(|chunk| {
            self.insert(chunk);
        });
    }

    /// Takes a chunk out; whether it was there.
    pub fn remove(&mut self, chunk: u32) -> bool {
        if !self.contains(chunk) {
            return false;
        }
        self.words[index(chunk)] &= !mask(chunk);
        self.count -= 1;
        true
    }

    /// Those that are in the other set too.
    #[must_use]
    pub fn within(&self, other: &Self) -> Self {
        self.combined(other, |own, other| own & other)
    }

    /// Those of either set.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        self.combined(other, |own, other| own | other)
    }

    /// Those that are not in the other set.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.combined(other, |own, other| own & !other)
    }

    /// Of two sets of one model. Of another model's only the beginning counts, within this one.
    fn combined(&self, other: &Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        let mut set = self.clone();
        for (word, other) in set.words.iter_mut().zip(&other.words) {
            *word = combine(*word, *other);
        }
        set.cut();
        set
    }

    /// Clears what lies beyond the set, and counts.
    fn cut(&mut self) {
        if let (Some(last), used @ 1..) = (self.words.last_mut(), self.len % BITS) {
            *last &= (1 << used) - 1;
        }
        self.count = self.words.iter().map(|word| word.count_ones()).sum();
    }

    /// The longest run that begins at a chunk; empty if it is not in the set.
    pub fn run_at(&self, chunk: u32) -> Range<u32> {
        let rest = chunk..self.len;
        let end = rest.clone().find(|next| !self.contains(*next));
        chunk..end.unwrap_or(rest.end.max(chunk))
    }

    /// The first chunk in the set from this one on.
    pub fn next(&self, from: u32) -> Option<u32> {
        let mut chunk = from;
        while chunk < self.len {
            let word = self.words[index(chunk)] >> (chunk % BITS);
            if word != 0 {
                return Some(chunk + word.trailing_zeros());
            }
            chunk = (chunk / BITS + 1) * BITS;
        }
        None
    }

    /// The set as runs in order; no two touch.
    pub fn runs(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        let mut from = 0;
        std::iter::from_fn(move || {
            let run = self.run_at(self.next(from)?);
            from = run.end;
            Some(run)
        })
    }

    /// The runs, or the longest [`MAX_HELD_RUNS`] of them.
    pub fn longest_runs(&self) -> Vec<Range<u32>> {
        let mut runs: Vec<_> = self.runs().collect();
        if runs.len() > MAX_HELD_RUNS {
            runs.sort_by_key(|run| std::cmp::Reverse(run.end - run.start));
            runs.truncate(MAX_HELD_RUNS);
            runs.sort_by_key(|run| run.start);
        }
        runs
    }
}

fn index(chunk: u32) -> usize {
    usize::try_from(chunk / BITS).expect("chunks are limited")
}

fn mask(chunk: u32) -> u64 {
    1 << (chunk % BITS)
}
