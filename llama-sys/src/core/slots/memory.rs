//! How many cells cached prefixes may keep while nobody uses them. It learns from regret: it
//! remembers the tokens of prefixes that were dropped (four bytes each, where their cells take
//! thousands), and when a prompt begins like one of them, more is kept from then on. It knows
//! nothing of sequences and cells.
//!
//! Why not keep all: attention passes over every cell in use, also of others. SmolLM2-135M
//! decodes 21 % slower beside 7000 kept cells than beside none.

use std::collections::VecDeque;

/// Cells kept beside the newest prefix where nothing is known: costs 1 % of decoding in the
/// measurement above.
const LEAST_CELLS: usize = 256;

/// What is kept beyond the least shrinks by this part with each prompt that finds nothing it
/// regrets.
const SHRINK_PART: usize = 64;

/// Dropped prefixes that are remembered, and the tokens of all of them: 256 KiB.
const MOST_DROPPED: usize = 128;
const MOST_DROPPED_TOKENS: usize = 64 * 1024;

/// What is known of the use of cached prefixes.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    cells: usize,
    idle: usize,
    dropped: VecDeque<Vec<u32>>,
    dropped_tokens: usize,
}

impl Memory {
    /// For a cache of `cells` cells.
    pub(super) fn new(cells: usize) -> Self {
        Self {
            cells,
            idle: LEAST_CELLS.min(cells),
            dropped: VecDeque::new(),
            dropped_tokens: 0,
        }
    }

    /// Cells that may be kept beside the newest prefix.
    pub(super) fn idle_cells(&self) -> usize {
        self.idle
    }

    /// A prefix loses tokens from its end.
    pub(super) fn on_dropped(&mut self, tokens: &[u32]) {
        // Shortened again and again: the longest form is remembered.
        if self.dropped.back().is_some_and(|d| d.starts_with(tokens)) {
            return;
        }
        self.dropped_tokens += tokens.len();
        self.dropped.push_back(tokens.to_vec());
        while self.dropped.len() > MOST_DROPPED || self.dropped_tokens > MOST_DROPPED_TOKENS {
            let Some(oldest) = self.dropped.pop_front() else {
                return;
            };
            self.dropped_tokens -= oldest.len();
        }
    }

    /// A prompt found `found` of its tokens in the cache.
    pub(super) fn on_asked(&mut self, prompt: &[u32], found: usize) {
        let alike = self.dropped.iter().enumerate().map(|(i, d)| {
            let common = d.iter().zip(prompt).take_while(|(a, b)| a == b).count();
            (common, i)
        });
        match alike.max() {
            Some((common, i)) if common > found => {
                self.idle = (self.idle + 2 * (common - found)).min(self.cells);
                if let Some(known) = self.dropped.remove(i) {
                    self.dropped_tokens -= known.len();
                }
            }
            _ => {
                let least = LEAST_CELLS.min(self.cells);
                self.idle -= (self.idle - least) / SHRINK_PART;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(first: u32, n: u32) -> Vec<u32> {
        (first..first + n).collect()
    }

    #[test]
    fn regret_lets_more_be_kept_and_disuse_less() {
        let mut memory = Memory::new(8192);
        assert_eq!(memory.idle_cells(), LEAST_CELLS);
        memory.on_dropped(&prefix(0, 900));
        memory.on_dropped(&prefix(0, 800));
        memory.on_asked(&prefix(0, 1000), 100);
        assert_eq!(memory.idle_cells(), LEAST_CELLS + 1600);
        // Once only: it is cached again now.
        memory.on_asked(&prefix(0, 1000), 900);
        assert!(memory.idle_cells() < LEAST_CELLS + 1600);
        for i in 0..1000 {
            memory.on_asked(&prefix(5000 + i, 10), 0);
        }
        assert!(memory.idle_cells() < LEAST_CELLS + SHRINK_PART);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut memory = Memory::new(100);
        for i in 0..1000 {
            memory.on_dropped(&prefix(i * 10_000, 1 + (i * 37) % 2000));
            assert!(memory.dropped.len() <= MOST_DROPPED);
            assert!(memory.dropped_tokens <= MOST_DROPPED_TOKENS);
            let counted: usize = memory.dropped.iter().map(Vec::len).sum();
            assert_eq!(counted, memory.dropped_tokens);
        }
        assert_eq!(memory.idle_cells(), 100);
    }
}
