//! A chain of two machines at a distance, beside the same chain on loopback: how much of the time
//! that computing and the way take does the way between two machines add in truth?

use std::{fmt::Write as _, time::Duration};

use anyhow::Result;
use rand::rngs::StdRng;

use super::{
    Setting,
    door::{Door, decode_speed, prefill_speed, story, words},
    figures::Values,
    member::{Chain, Ground},
};

/// Round trips between the machines, ms.
const RTTS: [u64; 3] = [20, 40, 80];

/// The one that eight streams are measured at.
const MANY_RTT: u64 = 40;
const MANY: usize = 8;

/// Tokens of each answer, and of each of many at once.
const TOKENS: u32 = 48;
const MANY_TOKENS: u32 = 96;

/// Words of a long prompt.
const WORDS: usize = 300;

/// The two chains at one distance.
#[derive(Default)]
struct Row {
    near: Values,
    far: Values,
    near_prefill: Values,
    far_prefill: Values,
}

/// The section's text.
pub(super) async fn measure(setting: &Setting<'_>, rng: &mut StdRng) -> Result<String> {
    let product = setting.product;
    let (mut here, mut away) = (Ground::loopback()?, Ground::internet()?);
    let near = Chain::form(product, &mut here, setting.chain_of(2)).await?;
    let far = Chain::form(product, &mut away, setting.chain_of(2)).await?;
    let (near, far) = (near.door(product), far.door(product));
    let mut rows: [Row; RTTS.len()] = Default::default();
    let mut many = Row::default();
    for round in 0..=setting.rounds {
        for (row, rtt) in rows.iter_mut().zip(RTTS) {
            away.set_rtt(Duration::from_millis(rtt));
            let mut uncounted = Row::default();
            let row = if round == 0 { &mut uncounted } else { row };
            one(row, [&near, &far], rng).await?;
            if rtt == MANY_RTT {
                let many = if round == 0 {
                    &mut uncounted
                } else {
                    &mut many
                };
                eight(many, [&near, &far], rng).await?;
            }
        }
    }
    Ok(table(&rows, &many))
}

async fn one(row: &mut Row, doors: [&Door; 2], rng: &mut StdRng) -> Result<()> {
    let (prompt, long) = (story(rng), words(rng, WORDS));
    for (door, (decode, prefill)) in doors.into_iter().zip([
        (&mut row.near, &mut row.near_prefill),
        (&mut row.far, &mut row.far_prefill),
    ]) {
        let told = door.decode(std::slice::from_ref(&prompt), TOKENS).await?;
        decode.add(decode_speed(&told));
        let read = door.decode(std::slice::from_ref(&long), 1).await?;
        prefill.add(prefill_speed(&read));
    }
    Ok(())
}

async fn eight(row: &mut Row, doors: [&Door; 2], rng: &mut StdRng) -> Result<()> {
    let prompts: Vec<String> = (0..MANY).map(|_| story(rng)).collect();
    for (door, values) in doors.into_iter().zip([&mut row.near, &mut row.far]) {
        let told = door.decode(&prompts, MANY_TOKENS).await?;
        values.add(decode_speed(&told));
    }
    Ok(())
}

fn table(rows: &[Row], many: &Row) -> String {
    let mut text = String::from(
        "| what | on loopback, tokens/s | at this distance | could be | of it | to reach |\n\
         |---|---:|---:|---:|---:|---|\n",
    );
    for (row, rtt) in rows.iter().zip(RTTS) {
        let way = rtt as f64 / 1000.0;
        let possible = row.near.map(|speed| 1.0 / (1.0 / speed + way));
        let _ = writeln!(
            text,
            "| decode, {rtt} ms | {} | {} | {:.1} | {} | ≥ 0.9 |",
            row.near.shown(1),
            row.far.shown(1),
            possible.median(),
            row.far.of(&possible).shown(3)
        );
    }
    for (row, rtt) in rows.iter().zip(RTTS) {
        let _ = writeln!(
            text,
            "| prompt of {WORDS} words, {rtt} ms | {} | {} | | {} | |",
            row.near_prefill.shown(0),
            row.far_prefill.shown(0),
            row.far_prefill.of(&row.near_prefill).shown(2)
        );
    }
    let _ = writeln!(
        text,
        "| {MANY} streams, {MANY_RTT} ms, all together | {} | {} | {:.1} | {} | ≥ 0.8 |",
        many.near.shown(1),
        many.far.shown(1),
        many.near.median(),
        many.far.of(&many.near).shown(3)
    );
    let _ = writeln!(
        text,
        "\nTwo machines, 1 thread each; the head and the first stage are on one of them, so a token's way is \
         one round trip. What could be: 1 / (the loopback chain's time for a token + round trip); for \
         {MANY} streams, what the loopback chain computes."
    );
    text
}
