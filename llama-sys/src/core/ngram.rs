//! Drafts out of the session's own text: what followed the last time that the text ended as it
//! ends now. Prompt lookup decoding (Saxena, 2023), as in LLMA (Yang et al., *Inference with
//! Reference: Lossless Acceleration of Large Language Models*, 2023). It knows tokens as numbers,
//! and neither what a draft costs nor whether it is used.
//!
//! Each length of ending has a table of places, by hash; a later place takes the bucket of an
//! earlier one. A bucket may so lie about its ending, and is compared with the text before it is
//! believed. The index only grows: drafts are never entered, so there is nothing to take back.

/// The shortest ending that is looked up: after a single token too many things follow.
const SHORTEST: usize = 2;

/// The longest: beyond four tokens the last place hardly changes, and how far it goes on agreeing
/// is found by comparing backwards.
const LONGEST: usize = 4;

const LENGTHS: usize = LONGEST + 1 - SHORTEST;

/// How far places are compared backwards: an agreement of more says nothing more.
const LONGEST_AGREEMENT: usize = 16;

/// Buckets of a table at least and at most: 384 KiB for the three of the longest texts.
const FEWEST_BUCKETS: usize = 1 << 8;
const MOST_BUCKETS: usize = 1 << 15;

/// A place in the text that what comes next may be copied from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// Where the copy begins.
    pub at: usize,
    /// Tokens before it that agree with the text's last ones.
    pub agreeing: usize,
}

/// The places of the endings of one session's text.
#[derive(Debug, Clone)]
pub struct NGrams {
    /// By length: where the text went on after the ending; 0 is no place.
    tables: [Box<[u32]>; LENGTHS],
    indexed: usize,
    /// The copy that goes on as long as the text agrees with it.
    copy: Option<Match>,
}

impl NGrams {
    /// An empty index for a text of about `expected_tokens`.
    #[must_use]
    pub fn new(expected_tokens: usize) -> Self {
        let wanted = expected_tokens.min(MOST_BUCKETS).next_power_of_two();
        let buckets = wanted.clamp(FEWEST_BUCKETS, MOST_BUCKETS);
        Self {
            tables: std::array::from_fn(|_| vec![0; buckets].into_boxed_slice()),
            indexed: 0,
            copy: None,
        }
    }

    /// Takes what the history grew by. It begins with the history of the last call.
    pub fn extend(&mut self, history: &[u32]) {
        for end in self.indexed..history.len() {
            self.follow(history, end);
            self.enter(history, end);
        }
        self.indexed = self.indexed.max(history.len());
    }

    fn follow(&mut self, history: &[u32], end: usize) {
        self.copy = self
            .copy
            .filter(|copy| history[copy.at] == history[end])
            .map(|copy| copy.advanced(1));
    }

    /// Notes that after the tokens before `end` the text went on there.
    fn enter(&mut self, history: &[u32], end: usize) {
        let Ok(place) = u32::try_from(end) else {
            return;
        };
        for (table, length) in self.tables.iter_mut().zip(SHORTEST..) {
            if end >= length {
                let bucket = bucket(&history[end - length..end], table.len());
                table[bucket] = place;
            }
        }
    }

    /// The place whose past agrees best with the end of `text`: the history that was indexed,
    /// and behind it drafts that are taken for granted.
    pub fn find(&mut self, text: &[u32]) -> Option<Match> {
        let ahead = text.len().checked_sub(self.indexed)?;
        if let Some(copy) = self.continued(text, ahead) {
            return Some(copy);
        }
        let found = self.look_up(text);
        if ahead == 0 {
            self.copy = found;
        }
        found
    }

    /// A copy that agreed for long goes on: it tells more than the last place of four tokens.
    fn continued(&self, text: &[u32], ahead: usize) -> Option<Match> {
        let copy = self.copy.filter(|copy| copy.agreeing >= LONGEST)?;
        let drafted = &text[self.indexed..];
        let goes_on = (copy.at..).zip(drafted).all(|(i, token)| text[i] == *token);
        goes_on.then(|| copy.advanced(ahead))
    }

    fn look_up(&self, text: &[u32]) -> Option<Match> {
        let longest_first = self.tables.iter().zip(SHORTEST..LONGEST + 1).rev();
        longest_first
            .filter(|(_, length)| text.len() >= *length)
            .find_map(|(table, length)| {
                let ending = &text[text.len() - length..];
                let at = table[bucket(ending, table.len())] as usize;
                let agreeing = agreement(text, at);
                (agreeing >= length).then_some(Match { at, agreeing })
            })
    }

    /// Puts the `n` tokens that follow the place in `draft`. A copy that reaches the end of the
    /// text goes on with itself: that is how repetitions go on.
    pub fn copy(text: &[u32], from: Match, n: usize, draft: &mut Vec<u32>) {
        draft.clear();
        for i in from.at..from.at + n {
            let own = i.checked_sub(text.len());
            let token = own
                .map_or_else(|| text.get(i), |own| draft.get(own))
                .copied();
            draft.extend(token);
        }
    }
}

impl Match {
    fn advanced(self, n: usize) -> Self {
        Self {
            at: self.at + n,
            agreeing: (self.agreeing + n).min(LONGEST_AGREEMENT),
        }
    }
}

/// Tokens before `at` that agree with the last ones of the text.
fn agreement(text: &[u32], at: usize) -> usize {
    let here = text.iter().rev();
    let there = text[..at].iter().rev();
    let pairs = here.zip(there).take(LONGEST_AGREEMENT);
    pairs.take_while(|(a, b)| a == b).count()
}

/// FNV-1a over tokens; the high bits are the mixed ones. `buckets` is a power of two.
fn bucket(ending: &[u32], buckets: usize) -> usize {
    let mix = |hash: u64, token: &u32| (hash ^ u64::from(*token)).wrapping_mul(0x0100_0000_01B3);
    let hash = ending.iter().fold(0xCBF2_9CE4_8422_2325, mix);
    let spread = (hash ^ (hash >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (spread >> 40) as usize & (buckets - 1)
}

#[cfg(test)]
mod tests;
