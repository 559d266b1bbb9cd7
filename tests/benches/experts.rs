//! Shards of the fixture's mixture: how good they are beside the whole model, and beside what another
//! implementation measured on the same texts, how large, and how fast.

use std::{fmt::Write as _, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tests::{
    api::{self, Outcome},
    process::{Node, fixture},
};

use crate::idle::median;

/// Experts that the shards keep of 16.
const KEPT: [u32; 2] = [12, 8];

/// Tokens that a question lets a model say.
const TOKENS: u32 = 256;

/// Questions of a turn: one takes a thirtieth of a second.
const QUESTIONS: usize = 8;

/// A model in a folder of its own, ranked on the texts.
struct Ranked<'a> {
    shoal: &'a Path,
    dir: tempfile::TempDir,
    texts: Vec<String>,
    ranking: Value,
}

/// The section's tables.
pub(crate) async fn measure(shoal: &Path, rounds: usize) -> Result<String> {
    let figures = fs::read_to_string(fixture("tiny-moe-experts.json"))?;
    let figures: Value = serde_json::from_str(&figures)?;
    let ranked = Ranked::start(shoal, &figures)?;
    let scores = KEPT.map(|kept| ranked.score(kept));
    let [twelve, eight] = scores;
    let mut text = quality(&figures, &[twelve?, eight?])?;
    let shard = ranked.cut(8)?;
    let whole = fixture("tiny-moe-q8_0.gguf");
    let _ = writeln!(
        text,
        "\nThe half shard's file has {} bytes of the whole one's {}.\n",
        fs::metadata(&shard)?.len(),
        fs::metadata(&whole)?.len()
    );
    text.push_str(&speed(shoal, [&whole, &shard], rounds).await?);
    let _ = writeln!(
        text,
        "\nRanked on the same texts:\n\n{}",
        coverage(&ranked.ranking)
    );
    Ok(text)
}

impl<'a> Ranked<'a> {
    fn start(shoal: &'a Path, figures: &Value) -> Result<Self> {
        let domains = figures["domains"].as_array().context("domains")?;
        let path = |domain: &Value| {
            let file = format!("eval/{}.txt", domain.as_str().unwrap_or_default());
            fixture(&file).to_string_lossy().into_owned()
        };
        let mut ranked = Self {
            shoal,
            dir: tempfile::tempdir()?,
            texts: domains.iter().map(path).collect(),
            ranking: Value::Null,
        };
        ranked.ranking = ranked.run("rank", &["--json"])?;
        Ok(ranked)
    }

    fn score(&self, kept: u32) -> Result<Value> {
        self.run("score", &["--experts", &kept.to_string(), "--json"])
    }

    fn cut(&self, kept: u32) -> Result<std::path::PathBuf> {
        let to = self.dir.path().join(format!("shard-{kept}.gguf"));
        let mut command = self.command("cut");
        command
            .args(["--experts", &kept.to_string(), "--to"])
            .arg(&to);
        let done = command.output()?;
        ensure!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        Ok(to)
    }

    /// A score under the bar is an answer, too.
    fn run(&self, what: &str, args: &[&str]) -> Result<Value> {
        let mut command = self.command(what);
        command.args(args);
        for text in &self.texts {
            command.args(["--text", text]);
        }
        let done = command.output()?;
        let read = serde_json::from_slice(&done.stdout);
        read.with_context(|| String::from_utf8_lossy(&done.stderr).into_owned())
    }

    fn command(&self, what: &str) -> Command {
        let mut command = Command::new(self.shoal);
        command.args(["experts", what]);
        command.arg(fixture("tiny-moe-q8_0.gguf"));
        command.arg("--data-dir").arg(self.dir.path());
        command
    }
}

/// Perplexities text by text; the reference's columns are of sets that were chosen on training text.
fn quality(figures: &Value, scores: &[Value; 2]) -> Result<String> {
    let mut text = String::from(
        "| text | whole | reference | 12 of 16 | reference | 8 of 16 | reference | reference, 8 of the text's own |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let [twelve, eight] = scores;
    let of = |score: &Value, row: usize, key: &str| score["score"]["texts"][row][key].as_f64();
    let domains = figures["domains"].as_array().context("domains")?;
    let mut columns = vec![0.0; 7];
    for (row, domain) in domains.iter().filter_map(Value::as_str).enumerate() {
        let reference = |kind: &str| figures["shard_perplexity"][domain][kind].as_f64();
        let values = [
            of(twelve, row, "whole_perplexity"),
            figures["perplexity"][domain].as_f64(),
            of(twelve, row, "perplexity"),
            reference("global-12"),
            of(eight, row, "perplexity"),
            reference("global-8"),
            reference("domain-8"),
        ];
        let values = values.into_iter().collect::<Option<Vec<f64>>>();
        let values = values.with_context(|| format!("a figure of {domain} is missing"))?;
        for (sum, value) in columns.iter_mut().zip(&values) {
            *sum += value.ln() / domains.len() as f64;
        }
        line(&mut text, domain, &values);
    }
    let means: Vec<f64> = columns.into_iter().map(f64::exp).collect();
    line(&mut text, "geometric mean", &means);
    for (kept, score) in KEPT.iter().zip(scores) {
        let _ = writeln!(
            text,
            "\n{kept} of 16: {:.3} times the whole model's perplexity, the same token in {:.1} % of the \
             places, {:.1} % of the routed mass.",
            score["score"]["ratio"].as_f64().unwrap_or(f64::NAN),
            100.0 * score["score"]["agreement"].as_f64().unwrap_or(f64::NAN),
            100.0 * score["retained_mass"].as_f64().unwrap_or(f64::NAN)
        );
    }
    Ok(text)
}

fn line(text: &mut String, name: &str, values: &[f64]) {
    let _ = write!(text, "| {name}");
    for value in values {
        let _ = write!(text, " | {value:.2}");
    }
    text.push_str(" |\n");
}

/// How much of the routed mass the most used experts of all texts have, by layer.
fn coverage(ranking: &Value) -> String {
    let layers = ranking["usage"].as_array().into_iter().flatten();
    let mut text = String::from("| layer | top 4 | top 8 | top 12 |\n|---|---:|---:|---:|\n");
    for (layer, shares) in layers.enumerate() {
        let shares = shares.as_array().into_iter().flatten();
        let mut shares: Vec<f64> = shares.filter_map(Value::as_f64).collect();
        shares.sort_by(|a, b| b.total_cmp(a));
        let values = [4, 8, 12].map(|count| shares.iter().take(count).sum::<f64>());
        line(&mut text, &layer.to_string(), &values);
    }
    text
}

/// Tokens a second, in turns.
async fn speed(shoal: &Path, models: [&Path; 2], rounds: usize) -> Result<String> {
    let dir = tempfile::tempdir()?;
    let client = api::client()?;
    let mut nodes = Vec::new();
    for (number, model) in models.iter().enumerate() {
        let home = dir.path().join(number.to_string());
        let path = model.to_str().context("the model's path")?;
        let name = model
            .file_stem()
            .context("a name")?
            .to_string_lossy()
            .into_owned();
        let args = [
            "--offline",
            "--model",
            path,
            "--threads",
            "1",
            "--speculate",
            "off",
        ];
        nodes.push((Node::start(shoal, &home, &args)?, name));
    }
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..rounds * 2 {
        let sides = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in sides {
            let (node, name) = &nodes[side];
            let url = format!("{}/v1/completions", node.url);
            let mut turn = Vec::new();
            for question in 0..QUESTIONS {
                let body = json!({
                    "model": name, "max_tokens": TOKENS, "temperature": 0,
                    "prompt": format!("fn number_{round}_{question}("),
                });
                match api::stream(&client, &url, body).await? {
                    Outcome::Answered(answer) if answer.completion_tokens > 1 => {
                        let after_first = answer.total - answer.first_token;
                        let tokens = (answer.completion_tokens - 1) as f64;
                        turn.push(tokens / after_first.as_secs_f64());
                    }
                    Outcome::Answered(_) => {}
                    Outcome::Refused => bail!("{name} refused a request"),
                }
            }
            rates[side].push(median(turn));
        }
    }
    let pairs = rates[0].iter().zip(&rates[1]);
    let ratio = median(pairs.map(|(whole, shard)| shard / whole).collect());
    let [whole, shard] = rates.map(median);
    Ok(format!(
        "Decoding on one thread, one stream of {TOKENS} tokens: {whole:.0} tokens/s whole, {shard:.0} the \
         half shard, {ratio:.2} times (median of {} turns; to reach: ≥ 1.05).\n",
        rounds * 2
    ))
}
