//! Real processes that decide what to host: a model that nobody serves is asked for and then served, by
//! one of those who have it; its server is killed, and another one takes it on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{
    api,
    process::{Node, fixture},
    swarm::{PATIENCE, Swarm, shown, until},
};

const MODEL: &str = "tiny-draft-f16";

/// From the first request in vain to somebody who takes the model on, with what a small machine that
/// runs five nodes adds.
const SOON: Duration = Duration::from_secs(20);

/// A node that may take the model on.
fn node(swarm: &Swarm, name: &str, args: &[&str]) -> Result<Node> {
    let settings = [
        ("SHOAL_PLACEMENT", "yes"),
        ("SHOAL_PLACEMENT_MODELS", MODEL),
    ];
    swarm.node(name, args, &settings)
}

/// One that keeps another model loaded, and has this one on its disk.
async fn standby(swarm: &Swarm, name: &str) -> Result<Node> {
    let own = fixture("tiny-moe-q8_0.gguf");
    let node = node(
        swarm,
        name,
        &["--model", own.to_str().context("a path of text")?],
    )?;
    let model = fixture(&format!("{MODEL}.gguf"));
    let request = api::client()?
        .post(format!("{}/api/pull", node.url))
        .json(&json!({ "name": model }));
    let events = request.send().await?.text().await?;
    ensure!(events.contains("\"done\""), "{events}");
    Ok(node)
}

/// Asks until there is an answer; how long that took.
async fn ask(node: &Node) -> Result<Duration> {
    let begin = Instant::now();
    let question = json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": "Tell a story." }],
        "max_tokens": 8,
    });
    loop {
        let url = format!("{}/v1/chat/completions", node.url);
        let response = api::client()?.post(url).json(&question).send().await?;
        let status = response.status();
        let text = response.text().await?;
        if status.is_success() {
            return Ok(begin.elapsed());
        }
        let is_late = begin.elapsed() > PATIENCE;
        ensure!(!is_late, "{status}: {text}\n{}", node.log_tail());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Asks as long as nobody answers.
async fn ask_in_vain(url: &str, question: &Value) -> Result<()> {
    loop {
        let asked = api::client()?.post(url).json(question).send().await?;
        ensure!(!asked.status().is_success(), "nobody may serve it");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn names(list: &Value) -> impl Iterator<Item = &str> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|model| model["name"].as_str())
}

/// Which of the nodes have the model loaded.
async fn holders(nodes: &[Option<Node>]) -> Result<Vec<usize>> {
    let mut holders = Vec::new();
    for (place, node) in nodes.iter().enumerate() {
        if let Some(node) = node
            && names(&shown(node, "/api/loaded").await?).any(|name| name == MODEL)
        {
            holders.push(place);
        }
    }
    Ok(holders)
}

#[tokio::test]
async fn what_is_asked_for_in_vain_is_served_and_served_again() -> Result<()> {
    let swarm = Swarm::start()?;
    let mut nodes = Vec::new();
    for name in ["one", "two", "three"] {
        nodes.push(Some(standby(&swarm, name).await?));
    }
    let asker = node(&swarm, "asker", &["--client"])?;
    until(&asker, "/api/peers", |swarm| {
        let peers = swarm["peers"].as_array().into_iter().flatten();
        peers.filter(|peer| peer["role"] == "server").count() == 3
    })
    .await?;
    assert_eq!(holders(&nodes).await?, [0; 0], "nobody asked for it");

    let took = ask(&asker).await?;
    assert!(took < SOON, "{took:?}");
    // Long enough for another one that would have acted on the same need.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let first = holders(&nodes).await?;
    assert_eq!(first.len(), 1, "one need raises one server: {first:?}");
    let holder = nodes[first[0]].as_ref().context("it is there")?;
    let report = until(holder, "/api/placement", |report| {
        report["models"][0]["state"] == "held"
    });
    let report = report.await?;
    assert_eq!(report["models"][0]["model"], MODEL);
    let why = report["models"][0]["why"].as_str().unwrap_or_default();
    assert!(why.contains("not met"), "{report:#}");

    let lost = nodes[first[0]].take().context("it is there")?;
    lost.kill()?;
    ask(&asker).await?;
    let second = holders(&nodes).await?;
    assert_eq!(second.len(), 1, "{second:?}");
    Ok(())
}

#[tokio::test]
async fn what_the_owner_forbids_is_not_taken_on() -> Result<()> {
    let swarm = Swarm::start()?;
    let own = fixture("tiny-moe-q8_0.gguf");
    let own = own.to_str().context("a path of text")?;
    let settings = [("SHOAL_PLACEMENT", "yes"), ("SHOAL_PLACEMENT_NEVER", MODEL)];
    let strict = swarm.node("strict", &["--model", own], &settings)?;
    let model = fixture(&format!("{MODEL}.gguf"));
    let pulled = api::client()?
        .post(format!("{}/api/pull", strict.url))
        .json(&json!({ "name": model }));
    pulled.send().await?.text().await?;
    let asker = node(&swarm, "asker", &["--client"])?;
    until(&asker, "/api/peers", |swarm| {
        let peers = swarm["peers"].as_array().into_iter().flatten();
        peers.filter(|peer| peer["role"] == "server").count() == 1
    })
    .await?;
    let question = json!({ "model": MODEL, "prompt": "x", "max_tokens": 1 });
    let url = format!("{}/v1/completions", asker.url);
    let report = until(&strict, "/api/placement", |report| {
        report["models"][0]["state"] == "left"
    });
    let report = tokio::select! {
        report = report => report?,
        ended = ask_in_vain(&url, &question) => return ended,
    };
    let why = report["models"][0]["why"].as_str().unwrap_or_default();
    assert!(why.contains("does not allow"), "{report:#}");
    assert!(!names(&shown(&strict, "/api/loaded").await?).any(|name| name == MODEL));
    Ok(())
}
