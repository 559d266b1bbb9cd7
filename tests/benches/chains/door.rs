//! Where answers are asked for, and how fast they come. A node on a host of an internet listens on
//! that host's own loopback, so it is asked by this program, run there.

use std::{
    io::{Read, Write},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Value, json};
use tests::api::{self, Answer, Outcome};

use super::member::{Place, command};

/// What this program is told to ask from a host.
const ASK: &str = "ask";

const WORDS: [&str; 16] = [
    "river", "stone", "engine", "cloud", "paper", "garden", "signal", "winter", "copper", "bridge",
    "lantern", "meadow", "harbour", "violin", "desert", "orbit",
];

/// A model that answers somewhere.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) url: String,
    pub(super) model: String,
    pub(super) place: Place,
}

/// A question whose answer is the same each time.
pub(super) fn question(model: &str, prompt: &str, tokens: u32) -> Value {
    json!({ "model": model, "prompt": prompt, "max_tokens": tokens, "temperature": 0 })
}

/// Words in an order that no earlier prompt had, so that no cache helps.
pub(super) fn words(rng: &mut StdRng, count: usize) -> String {
    let mut text = format!("{:08x}", rng.random::<u32>());
    for _ in 0..count {
        text.push(' ');
        text.push_str(WORDS.choose(rng).expect("there are words"));
    }
    text
}

/// The beginning of a story, each time another one.
pub(super) fn story(rng: &mut StdRng) -> String {
    let words = words(rng, 6);
    format!("{words}. Once upon a time, in a village by the sea, there lived")
}

impl Door {
    /// Asks all at once.
    pub(super) async fn ask(&self, questions: Vec<Value>) -> Result<Vec<Answer>> {
        match &self.place {
            None => answers(&self.url, questions).await,
            Some(_) => self.ask_there(&Value::Array(questions)),
        }
    }

    /// One stream's text to each prompt.
    pub(super) async fn decode(&self, prompts: &[String], tokens: u32) -> Result<Vec<Answer>> {
        let questions = prompts.iter().map(|p| question(&self.model, p, tokens));
        self.ask(questions.collect()).await
    }

    fn ask_there(&self, questions: &Value) -> Result<Vec<Answer>> {
        let mut child = command(&self.place, &std::env::current_exe()?)
            .args([ASK, &self.url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().context("its input")?;
        input.write_all(questions.to_string().as_bytes())?;
        drop(input);
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "asking from a host failed");
        let told: Value = serde_json::from_slice(&output.stdout)?;
        let answers = told.as_array().context("answers")?.iter();
        answers
            .map(|answer| read(answer).context("an answer"))
            .collect()
    }
}

/// `bench ask URL`: asks what stands on the input and prints the answers, if that is wanted.
pub(crate) async fn run() -> Result<Option<String>> {
    let given: Vec<String> = std::env::args().skip(1).take(2).collect();
    let [what, url] = &given[..] else {
        return Ok(None);
    };
    if what != ASK {
        return Ok(None);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let answers = answers(url, serde_json::from_str(&text)?).await?;
    let told: Vec<Value> = answers.iter().map(tell).collect();
    Ok(Some(Value::Array(told).to_string()))
}

async fn answers(url: &str, questions: Vec<Value>) -> Result<Vec<Answer>> {
    let client = api::client()?;
    let asked = questions.into_iter().map(|body| async {
        match api::stream(&client, url, body).await? {
            Outcome::Answered(answer) => Ok(answer),
            Outcome::Refused => bail!("{url} refused"),
        }
    });
    try_join_all(asked).await
}

fn tell(answer: &Answer) -> Value {
    json!({
        "text": answer.text,
        "first": answer.first_token.as_secs_f64(),
        "total": answer.total.as_secs_f64(),
        "tokens": answer.completion_tokens,
        "prompt": answer.prompt_tokens,
    })
}

fn read(answer: &Value) -> Option<Answer> {
    let seconds = |name: &str| answer[name].as_f64().map(Duration::from_secs_f64);
    Some(Answer {
        text: answer["text"].as_str()?.to_owned(),
        first_token: seconds("first")?,
        total: seconds("total")?,
        completion_tokens: answer["tokens"].as_u64()?,
        prompt_tokens: answer["prompt"].as_u64()?,
        ..Answer::default()
    })
}

/// Tokens a second after the first one, of all answers together, as long as any came.
pub(super) fn decode_speed(answers: &[Answer]) -> f64 {
    let tokens: u64 = answers
        .iter()
        .map(|a| a.completion_tokens.saturating_sub(1))
        .sum();
    let begin = answers.iter().map(|a| a.first_token).min();
    let end = answers.iter().map(|a| a.total).max();
    let time = end
        .unwrap_or_default()
        .saturating_sub(begin.unwrap_or_default());
    tokens as f64 / time.as_secs_f64()
}

/// Tokens of the prompts a second, until the last answer's first token.
pub(super) fn prefill_speed(answers: &[Answer]) -> f64 {
    let tokens: u64 = answers.iter().map(|a| a.prompt_tokens).sum();
    let end = answers.iter().map(|a| a.first_token).max();
    tokens as f64 / end.unwrap_or_default().as_secs_f64()
}
