//! The short ways of choosing against the long one: every candidate through llama.cpp's own
//! samplers, in llama.cpp's order.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::ffi::backend::Backend;

fn model() -> Arc<Model> {
    let path = "../tests/fixtures/tiny-draft-f16.gguf";
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    Arc::new(Model::load(Backend::init(), &path, 0, &mut |_| true).unwrap())
}

/// Different logits for all tokens: the order among equals is not llama.cpp's concern.
fn logits(vocab: usize, seed: u64, spread: f32) -> Vec<f32> {
    let mut all: Vec<f32> = (0..vocab)
        .map(|i| {
            let bits = Noise::new(seed, 0).bits(u32::try_from(i).unwrap());
            (bits >> 40) as f32 / (1u64 << 24) as f32 * spread - spread / 2.0
        })
        .collect();
    for (i, logit) in all.iter_mut().enumerate() {
        *logit += i as f32 * 1e-5;
    }
    all
}

/// The long way.
fn reference(
    model: &Arc<Model>,
    sampling: &Sampling,
    logits: &[f32],
    recent: &[u32],
    noise: Noise,
) -> Option<u32> {
    let mut candidates = Vec::new();
    fill(logits, &mut candidates);
    for &(token, bias) in &sampling.logit_bias {
        candidates[token as usize].logit += bias;
    }
    if let Some(p) = penalties(sampling) {
        let mut sampler = Sampler::penalties(model, p).unwrap();
        for &token in recent {
            assert!(sampler.accept(token));
        }
        sampler.apply(&mut candidates, false);
    }
    if sampling.temperature <= 0.0 {
        return likeliest(&candidates);
    }
    let mut sorted = false;
    let mut samplers = Vec::new();
    if sampling.top_k > 0 {
        samplers.push(Sampler::top_k(
            model,
            i32::try_from(sampling.top_k).unwrap(),
        ));
    }
    samplers.push(Sampler::top_p(model, sampling.top_p));
    samplers.push(Sampler::min_p(model, sampling.min_p));
    for sampler in &mut samplers {
        sorted = sampler.as_mut().unwrap().apply(&mut candidates, sorted);
    }
    select::gumbel_max(&candidates, sampling.temperature, noise)
}

fn sampling() -> impl Strategy<Value = Sampling> {
    let temperature = prop_oneof![Just(0.0f32), 0.1f32..2.0];
    let top_p = prop_oneof![Just(1.0f32), 0.05f32..1.0];
    let min_p = prop_oneof![Just(0.0f32), 0.01f32..0.5];
    let top_k = prop_oneof![Just(0u32), 1u32..100, Just(5000)];
    let penalty = || prop_oneof![Just(0.0f32), -1.0f32..1.5];
    let repeat = prop_oneof![Just(1.0f32), 0.8f32..1.5];
    let bias = prop::collection::btree_map(
        0u32..2048,
        prop_oneof![Just(f32::NEG_INFINITY), -20.0f32..20.0],
        0..6,
    );
    (
        temperature,
        top_p,
        min_p,
        top_k,
        penalty(),
        penalty(),
        repeat,
        bias,
    )
        .prop_map(
            |(
                temperature,
                top_p,
                min_p,
                top_k,
                presence_penalty,
                frequency_penalty,
                repeat_penalty,
                bias,
            )| Sampling {
                temperature,
                top_p,
                top_k,
                min_p,
                repeat_penalty,
                presence_penalty,
                frequency_penalty,
                logit_bias: bias.into_iter().collect(),
            },
        )
}

#[test]
fn the_short_ways_choose_what_the_long_way_does() {
    let model = model();
    let vocab = model.vocab_size() as usize;
    let inputs = (
        sampling(),
        any::<u64>(),
        prop_oneof![2.0f32..6.0, 10.0f32..40.0],
        prop::collection::vec(0u32..2048, 0..100),
        0u64..10_000,
    );
    proptest!(ProptestConfig::with_cases(400), |((sampling, seed, spread, recent, position) in inputs)| {
        let mut logits = logits(vocab, seed, spread);
        let before = logits.clone();
        let last = &recent[recent.len().saturating_sub(PENALTY_LAST_N)..];
        let expected = reference(&model, &sampling, &logits, last, Noise::new(seed, position));
        let mut chooser = Chooser::new(&model, &sampling, seed, None).unwrap();
        chooser.accept_prompt(&recent);
        let mut scratch = Scratch::default();
        prop_assert_eq!(chooser.choose(&mut logits, position, &mut scratch), expected);
        prop_assert_eq!(logits, before, "the logits are put back");
    });
}

#[test]
fn a_grammar_lets_the_same_token_through_on_both_ways() {
    let model = model();
    let vocab = model.vocab_size() as usize;
    let gbnf = "root ::= [a-e]{1,8}";
    let mut scratch = Scratch::default();
    for seed in 0..40 {
        let sampling = Sampling {
            temperature: if seed % 2 == 0 { 0.0 } else { 1.0 },
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            ..Sampling::default()
        };
        let grammar = || Sampler::grammar(&model, gbnf);
        let mut logits = logits(vocab, seed, 8.0);
        // The plain way: mask first. Without truncation it is the same for every seed.
        let mut candidates = Vec::new();
        fill(&logits, &mut candidates);
        grammar().unwrap().apply(&mut candidates, false);
        candidates.retain(|c| c.logit > f32::NEG_INFINITY);
        let expected = match sampling.temperature {
            0.0 => likeliest(&candidates),
            t => select::gumbel_max(&candidates, t, Noise::new(seed, 5)),
        };
        let mut chooser = Chooser::new(&model, &sampling, seed, grammar()).unwrap();
        let token = chooser.choose(&mut logits, 5, &mut scratch);
        assert_eq!(token, expected);
        assert!(chooser.accept(token.unwrap()));
    }
}
