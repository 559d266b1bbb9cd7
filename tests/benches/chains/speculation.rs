//! A chain of two machines at 40 ms that guesses its next tokens, beside the same that does not: on
//! code and prose, which repeat themselves, and on text that is chance.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Result, bail, ensure};
use rand::{RngExt, rngs::StdRng};
use serde_json::Value;

use super::{
    Setting,
    door::{Door, decode_speed, question},
    figures::Values,
    member::{Chain, Ground, Wish},
};

/// The round trip between the machines.
const RTT: Duration = Duration::from_millis(40);

/// Tokens of each answer.
const TOKENS: u32 = 128;

/// Hotter than anybody asks for: what is said is chance, and nobody guesses it.
const HOT: f64 = 2.0;

const CODE: &str = "class Person:\n    def __init__(self, name, age, city):\n        self.name = name\n        \
    self.age = age\n        self.city = city\n\n    def get_name(self):\n        return self.name\n\n    def \
    set_name(self, name):\n        self.name = name\n\n    def get_age(self):\n        return self.age\n\n    def \
    set_age(self, age):\n        self.age = age\n";

const PROSE: &str = "The old lighthouse stood at the end of the harbour. Every evening the keeper climbed the \
    stairs, lit the lamp, and wrote the names of the ships into his book. One evening in winter a ship came that \
    had no name.";

/// A sort of text: its name, what is to be reached.
const TEXTS: [(&str, &str); 3] = [("code", "≥ 1.5"), ("prose", "≥ 1.15"), ("noise", "≥ 0.95")];

/// The section's text.
pub(super) async fn measure(setting: &Setting<'_>, rng: &mut StdRng) -> Result<String> {
    if setting.product.plain.is_empty() {
        bail!("this build of Shoal has no `--speculate`");
    }
    let product = setting.product;
    let mut ground = Ground::internet()?;
    let plain = Chain::form(product, &mut ground, setting.chain_of(2)).await?;
    let mut other = Ground::internet()?;
    let wish = Wish {
        head_args: &["--speculate", "auto"],
        ..setting.chain_of(2)
    };
    let guessing = Chain::form(product, &mut other, wish).await?;
    ground.set_rtt(RTT);
    other.set_rtt(RTT);
    let doors = [plain.door(product), guessing.door(product)];
    let mut rows: [[Values; 2]; TEXTS.len()] = Default::default();
    for round in 0..=setting.rounds {
        for ((name, _), row) in TEXTS.iter().zip(&mut rows) {
            let prompt = prompt(name, rng);
            let mut uncounted = Default::default();
            let row = if round == 0 { &mut uncounted } else { row };
            both(row, &doors, name, &prompt).await?;
        }
    }
    Ok(table(&rows))
}

/// One like no other before it, so that no cache helps.
fn prompt(name: &str, rng: &mut StdRng) -> String {
    let number: u32 = rng.random();
    match name {
        "code" => format!(
            "# Exercise {number}\n\nThis class works for people:\n\n```python\n{CODE}```\n\nThe same class for \
             animals, with a getter and a setter for each field:\n\n```python\nclass Animal:\n    def \
             __init__(self, name, age, owner):\n"
        ),
        _ => format!("{number}. {PROSE}"),
    }
}

fn asked(door: &Door, name: &str, prompt: &str) -> Value {
    let mut body = question(&door.model, prompt, TOKENS);
    if name == "noise" {
        body["temperature"] = HOT.into();
        body["seed"] = 1.into();
    }
    body
}

async fn both(row: &mut [Values; 2], doors: &[Door; 2], name: &str, prompt: &str) -> Result<()> {
    let mut texts = [const { String::new() }; 2];
    for at in 0..2 {
        let mut told = doors[at].ask(vec![asked(&doors[at], name, prompt)]).await?;
        row[at].add(decode_speed(&told));
        texts[at] = told.remove(0).text;
    }
    // A chance's outcome may change with the last bits of a probability.
    ensure!(
        name == "noise" || texts[0] == texts[1],
        "guessing changed the text:\n{texts:?}"
    );
    Ok(())
}

fn table(rows: &[[Values; 2]]) -> String {
    let mut text = String::from(
        "| text | without, tokens/s | guessing, tokens/s | ratio | to reach |\n|---|---:|---:|---:|---|\n",
    );
    for ((name, target), [plain, guessing]) in TEXTS.iter().zip(rows) {
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {} | {target} |",
            plain.shown(1),
            guessing.shown(1),
            guessing.of(plain).shown(2)
        );
    }
    let _ = writeln!(
        text,
        "\nTwo machines {} ms apart, 1 thread each, {TOKENS} tokens; `--speculate auto` beside `off`, no \
         draft model. Code and prose at temperature 0, where both told the same; noise at temperature {HOT}.",
        RTT.as_millis()
    );
    text
}
