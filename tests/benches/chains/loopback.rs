//! Chains whose machines are this one, beside the whole model: what cutting a model costs, where the
//! way between its parts costs nothing.
//!
//! A token's way goes through one stage after the other, so a chain whose stages have `t` threads
//! each computes with `t` threads at any time, as the whole model with `t` does. A prompt's chunks
//! follow one another, so there all stages compute at once.
//!
//! Only one chain is there at a time, and the whole model beside it: nodes that wait take time too.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use rand::rngs::StdRng;

use super::{
    Setting,
    door::{Door, decode_speed, prefill_speed, story, words},
    figures::Values,
    member::{Chain, Ground, Wish, whole},
};

/// Tokens of each answer.
const TOKENS: u32 = 128;

/// Words of a long prompt.
const WORDS: usize = 300;

/// Stages, and threads of each.
const CHAINS: [(usize, usize); 3] = [(2, 1), (3, 1), (2, 2)];

/// A chain beside the whole model with as many threads as each of its stages has.
struct Pair {
    stages: usize,
    threads: usize,
    /// Tokens a second that the planner promised.
    predicted: f64,
    whole: Speeds,
    chain: Speeds,
}

#[derive(Default)]
struct Speeds {
    decode: Values,
    prefill: Values,
}

/// The section's text.
pub(super) async fn measure(setting: &Setting<'_>, rng: &mut StdRng) -> Result<String> {
    let mut pairs = Vec::new();
    for (stages, threads) in CHAINS {
        pairs.push(pair(setting, stages, threads, rng).await?);
    }
    Ok(table(&pairs))
}

async fn pair(
    setting: &Setting<'_>,
    stages: usize,
    threads: usize,
    rng: &mut StdRng,
) -> Result<Pair> {
    let product = setting.product;
    let (mut alone, mut swarm) = (Ground::loopback()?, Ground::loopback()?);
    let whole = whole(product, &mut alone, threads)?;
    let wish = Wish {
        threads,
        ..setting.chain_of(stages)
    };
    let chain = Chain::form(product, &mut swarm, wish).await?;
    let mut pair = Pair {
        stages,
        threads,
        predicted: chain.predicted(),
        whole: Speeds::default(),
        chain: Speeds::default(),
    };
    let doors = [whole.door(product), chain.door(product)];
    for round in 0..=setting.rounds {
        round_of(&mut pair, &doors, round, rng).await?;
    }
    Ok(pair)
}

/// Both answer the same prompts, the other one first each time; the first round only warms up.
async fn round_of(
    pair: &mut Pair,
    doors: &[Door; 2],
    round: usize,
    rng: &mut StdRng,
) -> Result<()> {
    let (prompt, long) = ([story(rng)], [words(rng, WORDS)]);
    let sides = [&mut pair.whole, &mut pair.chain];
    let mut texts = [const { String::new() }; 2];
    for turn in 0..2 {
        let at = (round + turn) % 2;
        let mut told = doors[at].decode(&prompt, TOKENS).await?;
        let read = doors[at].decode(&long, 1).await?;
        if round > 0 {
            sides[at].decode.add(decode_speed(&told));
            sides[at].prefill.add(prefill_speed(&read));
        }
        texts[at] = told.remove(0).text;
    }
    ensure!(
        texts[0] == texts[1],
        "the chain told another story:\n{texts:?}"
    );
    Ok(())
}

fn table(pairs: &[Pair]) -> String {
    let mut text = String::from(
        "| chain | decode, tokens/s | the whole model | ratio | prefill, tokens/s | the whole model | ratio | \
         predicted decode | of it |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for pair in pairs {
        let (chain, whole) = (&pair.chain, &pair.whole);
        let _ = writeln!(
            text,
            "| {} stages of {} thread{} | {} | {} | {} | {} | {} | {} | {:.1} | {} |",
            pair.stages,
            pair.threads,
            if pair.threads == 1 { "" } else { "s" },
            chain.decode.shown(1),
            whole.decode.shown(1),
            chain.decode.of(&whole.decode).shown(2),
            chain.prefill.shown(0),
            whole.prefill.shown(0),
            chain.prefill.of(&whole.prefill).shown(2),
            pair.predicted,
            chain.decode.map(|speed| speed / pair.predicted).shown(2),
        );
    }
    let _ = writeln!(
        text,
        "\nTo reach: 0.95 of the whole model's decode with the same threads; predictions within 25 %. A chain's \
         stages take turns at a token, so as many threads compute at any time as in the whole model with as many. \
         At a prompt all stages compute at once, as far as there are cores. Both told the same stories."
    );
    text
}
