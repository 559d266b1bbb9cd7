//! Chains whose machines are this one, beside the whole model: what cutting a model costs, where the
//! way between its parts costs nothing.
//!
//! A token's way goes through one stage after the other, so a chain whose stages have `t` threads
//! each computes with `t` threads at any time, as the whole model with `t` does. A prompt's chunks
//! follow one another, so there all stages compute at once.

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

/// One that is measured.
struct Side {
    name: &'static str,
    door: Door,
    /// Tokens a second that the planner promised.
    predicted: Option<f64>,
    decode: Values,
    prefill: Values,
}

/// The section's text.
pub(super) async fn measure(setting: &Setting<'_>, rng: &mut StdRng) -> Result<String> {
    let product = setting.product;
    let mut alone = Ground::loopback()?;
    let wholes = [
        whole(product, &mut alone, 1)?,
        whole(product, &mut alone, 2)?,
    ];
    let (mut two, mut three, mut wide) = (
        Ground::loopback()?,
        Ground::loopback()?,
        Ground::loopback()?,
    );
    let wish = |stages, threads| Wish {
        threads,
        ..setting.chain_of(stages)
    };
    let chains = [
        Chain::form(product, &mut two, wish(2, 1)).await?,
        Chain::form(product, &mut three, wish(3, 1)).await?,
        Chain::form(product, &mut wide, wish(2, 2)).await?,
    ];
    let mut sides = vec![
        side("whole model, 1 thread", wholes[0].door(product), None),
        side("whole model, 2 threads", wholes[1].door(product), None),
    ];
    let names = [
        "chain of 2, 1 thread each",
        "chain of 3, 1 thread each",
        "chain of 2, 2 threads each",
    ];
    for (name, chain) in names.into_iter().zip(&chains) {
        sides.push(side(name, chain.door(product), Some(chain.predicted())));
    }
    for round in 0..=setting.rounds {
        round_of(&mut sides, round, rng).await?;
    }
    Ok(table(&sides))
}

fn side(name: &'static str, door: Door, predicted: Option<f64>) -> Side {
    Side {
        name,
        door,
        predicted,
        decode: Values::default(),
        prefill: Values::default(),
    }
}

/// All answer the same prompts, in another order each time; the first round only warms up.
async fn round_of(sides: &mut [Side], round: usize, rng: &mut StdRng) -> Result<()> {
    let (prompt, long) = (story(rng), words(rng, WORDS));
    let count = sides.len();
    let mut texts = Vec::new();
    for turn in 0..count {
        let side = &mut sides[(round + turn) % count];
        let told = side
            .door
            .decode(std::slice::from_ref(&prompt), TOKENS)
            .await?;
        let read = side.door.decode(std::slice::from_ref(&long), 1).await?;
        if round > 0 {
            side.decode.add(decode_speed(&told));
            side.prefill.add(prefill_speed(&read));
        }
        texts.extend(told.into_iter().map(|answer| (side.name, answer.text)));
    }
    for (name, text) in &texts {
        ensure!(
            *text == texts[0].1,
            "{name} told another story than {}",
            texts[0].0
        );
    }
    Ok(())
}

fn table(sides: &[Side]) -> String {
    let mut text = String::from(
        "| what | decode, tokens/s | of the whole's | prefill, tokens/s | of the whole's | predicted decode | of it |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
    );
    for side in sides {
        let threads = usize::from(side.name.contains("2 threads"));
        let whole = &sides[threads];
        let (decode, prefill) = (
            side.decode.of(&whole.decode),
            side.prefill.of(&whole.prefill),
        );
        let (predicted, reached) = match side.predicted {
            Some(speed) => (
                format!("{speed:.1}"),
                side.decode.map(|d| d / speed).shown(2),
            ),
            None => ("–".into(), "–".into()),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {predicted} | {reached} |",
            side.name,
            side.decode.shown(1),
            decode.shown(2),
            side.prefill.shown(0),
            prefill.shown(2),
        );
    }
    let two = sides[2].prefill.of(&sides[1].prefill);
    let _ = writeln!(
        text,
        "\nTo reach: 0.95 of the whole model's with the same threads; predictions within 25 %. A chain's \
         stages take turns at a token, so with 1 thread each 1 thread computes at any time, as in the whole \
         model with 1. At a prompt all stages compute at once: the chain of 2 with 1 thread each reads {} of \
         what the whole model with 2 threads does. Every side told the same stories.",
        two.shown(2)
    );
    text
}
