//! The choice of one job's next token: bias and penalties, the grammar, truncation, the draw.
//!
//! The order is that of llama.cpp's `common/sampling.cpp`: logit bias, penalties, top-k, top-p,
//! min-p, temperature; the grammar is asked about the chosen token only, and masks all of them
//! if it refuses that one. Logits are changed in place and put back, so that log-probabilities
//! are of what the model said.

#![expect(clippy::cast_possible_truncation, reason = "a small constant")]

use std::sync::Arc;

use crate::core::rng::Noise;
use crate::core::select::{self, Candidate};
use crate::engine::{JobError, Sampling};
use crate::ffi::model::Model;
use crate::ffi::sampler::{Penalties, Sampler};

/// Tokens that penalties look back on: llama.cpp's default.
pub(super) const PENALTY_LAST_N: usize = 64;

/// Most tokens whose logits a request may bias: OpenAI's clients send up to 300 or so, and each
/// costs time at each token.
const MAX_LOGIT_BIAS: usize = 4096;

/// Buffers that all jobs share.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    candidates: Vec<Candidate>,
    penalized: Vec<Candidate>,
    /// Logits before bias and penalties, to be put back.
    undo: Vec<(u32, f32)>,
}

/// How one job's tokens are chosen.
#[derive(Debug)]
pub(super) struct Chooser {
    temperature: f32,
    top_k: usize,
    seed: u64,
    bias: Vec<(u32, f32)>,
    penalties: Option<Sampler>,
    /// The tokens that penalties may touch, the newest last.
    recent: std::collections::VecDeque<u32>,
    truncation: Vec<Sampler>,
    grammar: Option<Sampler>,
}

impl Chooser {
    /// Checks the parameters and makes the samplers.
    pub(super) fn new(
        model: &Arc<Model>,
        sampling: &Sampling,
        seed: u64,
        grammar: Option<Sampler>,
    ) -> Result<Self, JobError> {
        check(model, sampling)?;
        let made = |sampler: Option<Sampler>| {
            sampler.ok_or_else(|| JobError::Inference("a sampler could not be made".into()))
        };
        let mut bias: Vec<(u32, f32)> = sampling.logit_bias.clone();
        bias.extend(
            model
                .suppressed()
                .into_iter()
                .map(|t| (t, f32::NEG_INFINITY)),
        );
        let mut truncation = Vec::new();
        // At temperature 0 the likeliest token wins, which truncation never removes.
        if sampling.temperature > 0.0 {
            if sampling.top_p < 1.0 {
                truncation.push(made(Sampler::top_p(model, sampling.top_p))?);
            }
            if sampling.min_p > 0.0 {
                truncation.push(made(Sampler::min_p(model, sampling.min_p))?);
            }
        }
        let penalties = penalties(sampling)
            .map(|p| made(Sampler::penalties(model, p)))
            .transpose()?;
        Ok(Self {
            temperature: sampling.temperature,
            top_k: sampling.top_k as usize,
            seed,
            bias,
            penalties,
            recent: std::collections::VecDeque::new(),
            truncation,
            grammar,
        })
    }

    /// Tells the penalties of tokens that came before the answer.
    pub(super) fn accept_prompt(&mut self, prompt: &[u32]) {
        let from = prompt.len().saturating_sub(PENALTY_LAST_N);
        for &token in &prompt[from..] {
            self.accept_penalty(token);
        }
    }

    /// Tells all of a token of the answer. False if the grammar cannot take it.
    #[must_use]
    pub(super) fn accept(&mut self, token: u32) -> bool {
        self.accept_penalty(token);
        self.grammar.as_mut().is_none_or(|g| g.accept(token))
    }

    fn accept_penalty(&mut self, token: u32) {
        let Some(penalties) = &mut self.penalties else {
            return;
        };
        if self.recent.len() == PENALTY_LAST_N {
            self.recent.pop_front();
        }
        self.recent.push_back(token);
        // Penalties take every token of the vocabulary, and tokens were checked.
        let _ = penalties.accept(token);
    }

    /// The answer's token at `position`. `None` if nothing can follow.
    pub(super) fn choose(
        &mut self,
        logits: &mut [f32],
        position: u64,
        scratch: &mut Scratch,
    ) -> Option<u32> {
        self.edit(logits, scratch);
        let noise = Noise::new(self.seed, position);
        let token = self.choose_edited(logits, noise, scratch);
        for &(token, logit) in scratch.undo.iter().rev() {
            logits[token as usize] = logit;
        }
        token
    }

    /// Applies bias and penalties, and notes what to put back. Few logits change, so the full
    /// list of candidates is not needed for it.
    fn edit(&mut self, logits: &mut [f32], scratch: &mut Scratch) {
        scratch.undo.clear();
        for &(token, bias) in &self.bias {
            let logit = &mut logits[token as usize];
            scratch.undo.push((token, *logit));
            *logit += bias;
        }
        let Some(penalties) = &mut self.penalties else {
            return;
        };
        let touched = &mut scratch.penalized;
        touched.clear();
        touched.extend(self.recent.iter().map(|&t| Candidate::new(t as usize, 0.0)));
        touched.sort_unstable_by_key(|c| c.token);
        touched.dedup_by_key(|c| c.token);
        for candidate in touched.iter_mut() {
            candidate.logit = logits[candidate.token as usize];
        }
        penalties.apply(touched, false);
        for candidate in touched.iter() {
            let token = candidate.token as u32;
            scratch.undo.push((token, logits[token as usize]));
            logits[token as usize] = candidate.logit;
        }
    }

    fn choose_edited(
        &mut self,
        logits: &[f32],
        noise: Noise,
        scratch: &mut Scratch,
    ) -> Option<u32> {
        let first = self.choose_free(logits, noise, scratch);
        let Some(grammar) = &mut self.grammar else {
            return first;
        };
        let candidates = &mut scratch.candidates;
        if let Some(token) = first {
            candidates.clear();
            candidates.push(Candidate::new(token as usize, 1.0));
            grammar.apply(candidates, false);
            if candidates[0].logit > f32::NEG_INFINITY {
                return first;
            }
        }
        fill(logits, candidates);
        grammar.apply(candidates, false);
        candidates.retain(|c| c.logit > f32::NEG_INFINITY);
        if self.temperature <= 0.0 {
            return likeliest(candidates);
        }
        if self.top_k > 0 && candidates.len() > self.top_k {
            candidates.select_nth_unstable_by(self.top_k - 1, select::best_first);
            candidates.truncate(self.top_k);
        }
        candidates.sort_unstable_by(select::best_first);
        self.draw(noise, scratch, true)
    }

    /// The choice without a grammar.
    fn choose_free(&mut self, logits: &[f32], noise: Noise, scratch: &mut Scratch) -> Option<u32> {
        if self.temperature <= 0.0 {
            return select::argmax(logits);
        }
        let some = self.top_k > 0 && self.top_k < logits.len();
        if some {
            select::top_k(logits, self.top_k, &mut scratch.candidates);
        } else {
            fill(logits, &mut scratch.candidates);
        }
        self.draw(noise, scratch, some)
    }

    fn draw(&mut self, noise: Noise, scratch: &mut Scratch, mut sorted: bool) -> Option<u32> {
        for sampler in &mut self.truncation {
            sorted = sampler.apply(&mut scratch.candidates, sorted);
        }
        select::gumbel_max(&scratch.candidates, self.temperature, noise)
    }
}

fn fill(logits: &[f32], candidates: &mut Vec<Candidate>) {
    candidates.clear();
    candidates.extend(
        logits
            .iter()
            .enumerate()
            .map(|(i, &l)| Candidate::new(i, l)),
    );
}

fn likeliest(candidates: &[Candidate]) -> Option<u32> {
    let best = candidates.iter().min_by(|a, b| select::best_first(a, b));
    best.map(|c| c.token as u32)
}

fn penalties(sampling: &Sampling) -> Option<Penalties> {
    let off = sampling.repeat_penalty == 1.0
        && sampling.frequency_penalty == 0.0
        && sampling.presence_penalty == 0.0;
    (!off).then_some(Penalties {
        last_n: PENALTY_LAST_N as i32,
        repeat: sampling.repeat_penalty,
        frequency: sampling.frequency_penalty,
        presence: sampling.presence_penalty,
    })
}

fn check(model: &Model, sampling: &Sampling) -> Result<(), JobError> {
    let invalid = |what: &str| Err(JobError::Invalid(what.to_owned()));
    let within = |x: f32, low: f32, high: f32| (low..=high).contains(&x);
    if !within(sampling.temperature, 0.0, 100.0) {
        return invalid("temperature is out of range");
    }
    if !within(sampling.top_p, 0.0, 1.0) || !within(sampling.min_p, 0.0, 1.0) {
        return invalid("top_p and min_p lie between 0 and 1");
    }
    if !within(sampling.repeat_penalty, 0.01, 100.0) {
        return invalid("repeat_penalty is out of range");
    }
    if !within(sampling.presence_penalty, -100.0, 100.0)
        || !within(sampling.frequency_penalty, -100.0, 100.0)
    {
        return invalid("a penalty is out of range");
    }
    if sampling.logit_bias.len() > MAX_LOGIT_BIAS {
        return invalid("logit_bias has too many entries");
    }
    let vocab = model.vocab_size();
    for &(token, bias) in &sampling.logit_bias {
        if token >= vocab {
            return invalid("logit_bias names a token outside the vocabulary");
        }
        if bias.is_nan() || bias == f32::INFINITY {
            return invalid("logit_bias is not a number");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
