//! Text out of tokens' bytes: UTF-8 is never cut, and text that may yet become a stop string is
//! held back until that is decided. It knows tokens as numbers with bytes only.
//!
//! What comes out depends on the bytes alone, not on how tokens cut them: the text is what
//! `String::from_utf8_lossy` makes of all bytes, up to the first place where a stop string is
//! complete; of the stop strings complete at that place the longest counts.

use std::collections::VecDeque;

/// Turns bytes into text, piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Assembler {
    stops: Vec<String>,
    /// Bytes that do not make a character yet; at most three.
    tail: Vec<u8>,
    /// Text that may yet become a stop string.
    held: String,
    /// Bytes of text that left `held`.
    released: usize,
    tokens: VecDeque<Pending>,
    /// The stop string that was found.
    matched: Option<usize>,
}

/// A token whose text is not out yet, and where in the text it lies.
#[derive(Debug, Clone, Copy)]
struct Pending {
    token: u32,
    begin: usize,
    end: usize,
}

impl Assembler {
    /// An assembler that ends at the first of `stops`. Empty strings are passed over.
    #[must_use]
    pub fn new(mut stops: Vec<String>) -> Self {
        stops.retain(|s| !s.is_empty());
        Self {
            stops,
            ..Self::default()
        }
    }

    /// Takes a token's bytes. Appends the text that is certain to `text`, and to `tokens` those
    /// tokens whose text has ended. True once a stop string is complete; then nothing more may
    /// be pushed.
    pub fn push(
        &mut self,
        token: u32,
        bytes: &[u8],
        text: &mut String,
        tokens: &mut Vec<u32>,
    ) -> bool {
        let settled = self.held.len();
        let begin = self.released + settled;
        self.decode(bytes);
        let decoded = self.released + self.held.len();
        // A token that ends inside a character ends with that character.
        let end = decoded + usize::from(!self.tail.is_empty());
        self.tokens.push_back(Pending { token, begin, end });
        if let Some((start, stop)) = self.find_stop(settled) {
            self.matched = Some(stop);
            self.release(start, text);
            self.release_tokens_begun(tokens);
            return true;
        }
        let hold = self.possible_stop();
        self.release(self.held.len() - hold, text);
        self.release_tokens_ended(tokens);
        false
    }

    /// The answer ended without a stop string: everything held is text after all.
    pub fn finish(&mut self, text: &mut String, tokens: &mut Vec<u32>) {
        if self.matched.is_some() {
            return;
        }
        if !self.tail.is_empty() {
            self.tail.clear();
            self.held.push(char::REPLACEMENT_CHARACTER);
        }
        self.release(self.held.len(), text);
        tokens.extend(self.tokens.drain(..).map(|t| t.token));
    }

    /// The stop string that was found.
    #[must_use]
    pub fn stop(&self) -> Option<&str> {
        self.matched.map(|i| self.stops[i].as_str())
    }

    /// Appends what is complete of `tail` and `bytes` to `held`.
    fn decode(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        let mut rest: &[u8] = &self.tail;
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    self.held.push_str(valid);
                    self.tail.clear();
                    return;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    self.held.push_str(&String::from_utf8_lossy(valid));
                    let Some(bad) = error.error_len() else {
                        let consumed = self.tail.len() - after.len();
                        self.tail.drain(..consumed);
                        return;
                    };
                    self.held.push(char::REPLACEMENT_CHARACTER);
                    rest = &after[bad..];
                }
            }
        }
    }

    /// The first complete stop string: where it begins in `held`, and which it is. The first
    /// `settled` bytes of `held` hold none.
    fn find_stop(&self, settled: usize) -> Option<(usize, usize)> {
        let mut found: Option<(usize, usize, usize)> = None;
        for (i, stop) in self.stops.iter().enumerate() {
            let from = (settled + 1).saturating_sub(stop.len());
            let bytes = self.held.as_bytes().get(from..)?;
            if let Some(at) = memchr::memmem::find(bytes, stop.as_bytes()) {
                let start = from + at;
                let key = (start + stop.len(), start, i);
                found = Some(found.map_or(key, |best| best.min(key)));
            }
        }
        found.map(|(_, start, i)| (start, i))
    }

    /// Bytes at the end of `held` that a stop string may begin with.
    fn possible_stop(&self) -> usize {
        let held = self.held.as_bytes();
        let longest = |stop: &String| {
            let most = held.len().min(stop.len() - 1);
            (1..=most)
                .rev()
                .find(|&n| held.ends_with(&stop.as_bytes()[..n]))
        };
        self.stops.iter().filter_map(longest).max().unwrap_or(0)
    }

    fn release(&mut self, n: usize, text: &mut String) {
        text.push_str(&self.held[..n]);
        self.held.drain(..n);
        self.released += n;
    }

    fn release_tokens_ended(&mut self, tokens: &mut Vec<u32>) {
        while let Some(first) = self.tokens.front().filter(|t| t.end <= self.released) {
            tokens.push(first.token);
            self.tokens.pop_front();
        }
    }

    /// At a stop string: tokens that have some of their text before it, or none at all.
    fn release_tokens_begun(&mut self, tokens: &mut Vec<u32>) {
        let border = self.released;
        let shows = |t: &Pending| t.end <= border || t.begin < border;
        tokens.extend(self.tokens.drain(..).filter(shows).map(|t| t.token));
    }
}

#[cfg(test)]
mod tests;
