//! `kill -9` of a node at 20 random moments while it pulls a model and answers: no worker
//! outlives it, and it starts again each time with its identity, its models and a download that
//! goes on and ends with the right bytes.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tests::{
    api::{self, Outcome},
    hub::{Hub, REPOSITORY, digest},
    process::{Node, fixture, is_alive, shoal_binary, wait_for},
    seed,
};

const KILLS: u32 = 20;
const SERVED: &str = "tiny-draft-f16";
const PULLED: &str = "tiny-moe-q8_0.gguf";
/// The whole file takes about two seconds, so most kills fall into the download.
const PAUSE: Duration = Duration::from_millis(17);
const LONGEST_LIFE_MS: u64 = 900;

async fn question(url: String, model: String) -> Result<Outcome> {
    let body = json!({
        "model": model,
        "messages": [{ "role": "user", "content": "Tell a story." }],
        "max_tokens": 400,
    });
    api::stream(&api::client()?, &format!("{url}/v1/chat/completions"), body).await
}

/// Reads a pull's events to the last one.
async fn pull(url: String) -> Result<Value> {
    let response = api::client()?
        .post(format!("{url}/api/pull"))
        .json(&json!({ "name": format!("{REPOSITORY}:{PULLED}") }))
        .send()
        .await?;
    ensure!(response.status().is_success(), "{}", response.text().await?);
    let (mut bytes, mut text) = (response.bytes_stream(), Vec::new());
    while let Some(part) = bytes.next().await {
        text.extend_from_slice(&part?);
    }
    let text = String::from_utf8(text)?;
    let mut lines = text.lines().rev();
    let last = lines.find_map(|line| line.strip_prefix("data: "));
    Ok(serde_json::from_str(last.context("no event")?)?)
}

async fn identity(node: &Node) -> Result<Value> {
    let status: Value = api::client()?
        .get(format!("{}/api/status", node.url))
        .send()
        .await?
        .json()
        .await?;
    Ok(status["node_id"].clone())
}

/// Whether a file under `folder` has this digest.
fn holds(folder: &Path, sha256: &str) -> Result<bool> {
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry?;
        if entry.file_type().is_file() && digest(&std::fs::read(entry.path())?) == sha256 {
            return Ok(true);
        }
    }
    Ok(false)
}

fn start(data: &Path, hub: &Hub) -> Result<Node> {
    let model = fixture(&format!("{SERVED}.gguf"));
    Node::start_with(
        &shoal_binary()?,
        data,
        &["--model", &model.to_string_lossy()],
        &[("HF_ENDPOINT", Some(&hub.url))],
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_twenty_times_while_pulling_and_answering() -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed());
    let data = tempfile::tempdir()?;
    let hub = Hub::start(&fixture(PULLED), PAUSE)?;
    let mut first_identity = None;
    for round in 0..KILLS {
        let node = start(data.path(), &hub).with_context(|| format!("start {round}"))?;
        let known = identity(&node).await?;
        ensure!(known.is_string() && *first_identity.get_or_insert(known.clone()) == known);
        let pulling = tokio::spawn(pull(node.url.clone()));
        let answering = tokio::spawn(question(node.url.clone(), SERVED.into()));
        // The moment of death is the test's input, not a wait for something.
        let life = Duration::from_millis(rng.random_range(0..LONGEST_LIFE_MS));
        tokio::time::sleep(life).await;
        for worker in node.kill()? {
            wait_for("the worker's end", Duration::from_secs(20), || {
                (!is_alive(worker)).then_some(())
            })?;
        }
        pulling.abort();
        answering.abort();
    }
    let node = start(data.path(), &hub)?;
    let end = pull(node.url.clone()).await?;
    ensure!(end["event"] == "done", "{end}: {}", node.log_tail());
    ensure!(
        holds(data.path(), &hub.sha256)?,
        "the pulled file is not there"
    );
    for model in [SERVED, end["model"]["name"].as_str().unwrap_or_default()] {
        let outcome = question(node.url.clone(), model.into()).await?;
        ensure!(matches!(outcome, Outcome::Answered(answer) if !answer.text.is_empty()));
    }
    let ended = node.terminate(Duration::from_secs(40))?;
    ensure!(ended.success(), "the node ended with {ended}");
    Ok(())
}
