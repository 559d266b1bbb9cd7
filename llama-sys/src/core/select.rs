//! Which token: the likeliest, the `k` likeliest, or a draw by the Gumbel-max trick (Maddison,
//! Tarlow, Minka, *A\* Sampling*, 2014): `argmax(logit / temperature + Gumbel noise)` is a draw
//! from the softmax. It works on numbers only and knows no vocabulary.

#![expect(
    clippy::cast_possible_truncation,
    reason = "a vocabulary has far fewer than 2^31 tokens"
)]

use std::cmp::Ordering;

use super::rng::Noise;

/// Numbers compared at once, so that the compiler can use vector instructions.
const LANES: usize = 16;

/// Candidates gathered before the `k` best of them are picked out again.
const GATHER: usize = 256;

/// A token that may be chosen. Laid out as llama.cpp's `llama_token_data`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The token.
    pub token: i32,
    /// Its logit.
    pub logit: f32,
    /// Room for llama.cpp's samplers.
    pub p: f32,
}

impl Candidate {
    /// A candidate with no probability yet.
    #[must_use]
    pub fn new(token: usize, logit: f32) -> Self {
        Self {
            token: token as i32,
            logit,
            p: 0.0,
        }
    }
}

/// The token with the largest logit, the lowest id among equals. `None` where nothing is larger
/// than −∞ (NaN is not).
#[must_use]
pub fn argmax(logits: &[f32]) -> Option<u32> {
    let best = maximum(logits);
    if best == f32::NEG_INFINITY {
        return None;
    }
    logits.iter().position(|&l| l == best).map(|i| i as u32)
}

/// The largest number; −∞ where there is none. NaN is passed over.
#[must_use]
pub fn maximum(values: &[f32]) -> f32 {
    let mut best = [f32::NEG_INFINITY; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (b, &v) in best.iter_mut().zip(chunk) {
            *b = if v > *b { v } else { *b };
        }
    }
    let larger = |a: f32, &b: &f32| if b > a { b } else { a };
    rest.iter().chain(&best).fold(f32::NEG_INFINITY, larger)
}

/// Fills `out` with the `k` largest logits, largest first, lower ids first among equals. −∞ and
/// NaN never get in, so there may be fewer.
pub fn top_k(logits: &[f32], k: usize, out: &mut Vec<Candidate>) {
    out.clear();
    if k == 0 {
        return;
    }
    let room = GATHER.max(2 * k);
    let mut threshold = f32::NEG_INFINITY;
    for (chunk_index, chunk) in logits.chunks(LANES).enumerate() {
        if maximum(chunk) <= threshold {
            continue;
        }
        for (i, &logit) in chunk.iter().enumerate() {
            if logit > threshold {
                out.push(Candidate::new(chunk_index * LANES + i, logit));
            }
        }
        if out.len() >= room {
            keep_best(out, k);
            // Later tokens that equal the threshold have higher ids: not wanted.
            threshold = out.last().map_or(f32::NEG_INFINITY, |c| c.logit);
        }
    }
    keep_best(out, k);
    out.sort_unstable_by(best_first);
}

/// Shortens to the `k` best, the worst of them last.
fn keep_best(candidates: &mut Vec<Candidate>, k: usize) {
    if candidates.len() > k {
        candidates.select_nth_unstable_by(k - 1, best_first);
        candidates.truncate(k);
    }
}

/// The order of selection: larger logits first, lower ids first among equals.
#[must_use]
pub fn best_first(a: &Candidate, b: &Candidate) -> Ordering {
    let by_logit = b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal);
    by_logit.then(a.token.cmp(&b.token))
}

/// Draws one of `candidates` by the softmax of `logit / temperature`. `None` where no candidate
/// is larger than −∞. `temperature` is larger than 0.
#[must_use]
pub fn gumbel_max(candidates: &[Candidate], temperature: f32, noise: Noise) -> Option<u32> {
    let scale = 1.0 / f64::from(temperature);
    let mut best: Option<(f64, i32)> = None;
    for candidate in candidates {
        if candidate.logit == f32::NEG_INFINITY || candidate.logit.is_nan() {
            continue;
        }
        let logit = f64::from(candidate.logit) * scale;
        let bits = noise.bits(candidate.token as u32);
        let behind = best.map_or(0.0, |(score, _)| score - logit);
        if cannot_reach(bits, behind) {
            continue;
        }
        let score = logit + Noise::gumbel(bits);
        let wins =
            best.is_none_or(|(b, token)| score > b || (score == b && candidate.token < token));
        if wins {
            best = Some((score, candidate.token));
        }
    }
    best.map(|(_, token)| token as u32)
}

/// True if the Gumbel draw made of `bits` is surely less than `behind`, told without logarithms:
/// the draw is at most −ln u for the uniform u, and u < 2⁻ⁿ takes n leading zeros.
fn cannot_reach(bits: u64, behind: f64) -> bool {
    let zeros_needed = behind * std::f64::consts::LOG2_E - 1e-6;
    f64::from(bits.leading_zeros()) + 1.0 <= zeros_needed.floor()
}

#[cfg(test)]
mod tests;
