//! A model that no node's memory holds: real processes of one swarm on loopback form a chain by
//! themselves, answer as one machine would, and go on when a stage's machine is killed in the middle
//! of an answer.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use serde_json::{Value, json};
use tests::{
    api,
    process::{Node, fixture, shoal_binary},
    swarm::{Bootstrap, identity, shown, until},
};

mod weights;

const MODEL: &str = "tiny-moe-q8_0";

/// With these the cache is much larger than the model, and is what has to be split.
const SIZE: [&str; 4] = ["--ctx-size", "1024", "--parallel", "64"];

/// All of it takes 162 MiB.
const TOO_LITTLE: &str = "158MiB";

const TCP: &str = "/ip4/127.0.0.1/tcp/0";

struct Swarm {
    folder: tempfile::TempDir,
    bootstrap: Bootstrap,
    model: String,
}

impl Swarm {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let bootstrap = Bootstrap::start(&folder.path().join("bootstrap"), &[])?;
        let model = fixture(&format!("{MODEL}.gguf"));
        Ok(Self {
            folder,
            bootstrap,
            model: model.to_str().context("a path of text")?.to_owned(),
        })
    }

    fn data(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// A node that holds stages of the model for whoever asks, and never all of it.
    async fn small(&self, name: &str) -> Result<Node> {
        let list = self.bootstrap.list();
        let environment = [("SHOAL_BOOTSTRAP", Some(list.as_str()))];
        let limits = [
            "--max-memory",
            TOO_LITTLE,
            "--threads",
            "1",
            "--listen",
            TCP,
        ];
        let serving = ["--serve-public", "yes", "--serve-models", MODEL];
        let args = [&SIZE[..], &limits, &serving].concat();
        let node = Node::start_with(&shoal_binary()?, &self.data(name), &args, &environment)?;
        pull(&self.data(name), &self.model)?;
        Ok(node)
    }

    /// The same model on one machine.
    fn large(&self) -> Result<Node> {
        let args = [&SIZE[..], &["--threads", "1", "--offline"]].concat();
        let node = Node::start(&shoal_binary()?, &self.data("large"), &args)?;
        pull(&self.data("large"), &self.model)?;
        Ok(node)
    }
}

fn pull(data: &Path, model: &str) -> Result<()> {
    let output = std::process::Command::new(shoal_binary()?)
        .args(["pull", model, "--data-dir"])
        .arg(data)
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{errors}");
    Ok(())
}

/// The peers of the plan for the model.
async fn planned(node: &Node) -> Result<BTreeSet<String>> {
    let plan = shown(node, &format!("/api/plan?model={MODEL}")).await?;
    ensure!(plan["kind"] == "chain", "{plan:#}");
    let stages = plan["stages"].as_array().context("stages")?;
    let peers = stages.iter().filter_map(|stage| stage["peer"].as_str());
    Ok(peers.map(str::to_owned).collect())
}

/// A streamed answer; `on_text` is told how many characters there are so far.
async fn ask(node: &Node, temperature: f64, mut on_text: impl FnMut(usize)) -> Result<String> {
    let question = json!({
        "model": MODEL,
        "prompt": "fn main() {",
        "max_tokens": 200,
        "temperature": temperature,
        "seed": 7,
        "stream": true,
    });
    let url = format!("{}/v1/completions", node.url);
    let response = api::client()?.post(url).json(&question).send().await?;
    let status = response.status();
    ensure!(
        status.is_success(),
        "{status}: {}\n{}",
        response.text().await?,
        node.log_tail()
    );
    let (mut parts, mut bytes, mut text) = (response.bytes_stream(), Vec::new(), String::new());
    let mut is_whole = false;
    while let Some(part) = parts.next().await {
        bytes.extend_from_slice(&part?);
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = bytes.drain(..=end).collect();
            let line = String::from_utf8(line)?;
            let Some(data) = line.strip_prefix("data: ") else {
                continue;
            };
            if data.trim() == "[DONE]" {
                is_whole = true;
                continue;
            }
            let chunk: Value = serde_json::from_str(data)?;
            ensure!(chunk["error"].is_null(), "{chunk}\n{}", node.log_tail());
            if let Some(delta) = chunk["choices"][0]["text"].as_str() {
                text.push_str(delta);
                on_text(text.chars().count());
            }
        }
    }
    ensure!(is_whole, "the stream ended early");
    Ok(text)
}

#[tokio::test]
async fn a_model_that_no_node_holds_answers_over_a_chain_that_outlives_a_stage() -> Result<()> {
    let swarm = Swarm::start()?;
    let large = swarm.large()?;
    let head = swarm.small("head").await?;
    let own = identity(&head).await?;
    let mut others = Vec::new();
    for name in ["one", "two"] {
        let node = swarm.small(name).await?;
        others.push((identity(&node).await?, node));
    }
    // Nobody is asked before what the others have is known.
    let heard = |list: &Value| {
        let peers = list["peers"].as_array().into_iter().flatten();
        peers.filter(|peer| peer["role"] == "server").count() == others.len()
    };
    until(&head, "/api/peers", heard).await?;
    for temperature in [0.0, 1.0] {
        let expected = ask(&large, temperature, |_| {}).await?;
        assert!(expected.chars().count() > 100, "{expected}");
        let answer = ask(&head, temperature, |_| {}).await?;
        assert_eq!(answer, expected, "at temperature {temperature}");
    }
    let peers = planned(&head).await?;
    ensure!(peers.len() > 1, "{peers:?}");
    let loaded = shown(&head, "/api/loaded").await?;
    assert!(loaded.to_string().contains(MODEL), "{loaded}");

    // A machine with a stage is killed in the middle of an answer; the other takes its place.
    let expected = ask(&large, 0.0, |_| {}).await?;
    let in_chain = |id: &String| peers.contains(id) && *id != own;
    let victim = others.iter().position(|(id, _)| in_chain(id));
    let (_, victim) = others.remove(victim.context("a stage beside the head's")?);
    let mut victim = Some(victim);
    let answer = ask(&head, 0.0, |length| {
        if length > 60
            && let Some(victim) = victim.take()
        {
            victim.kill().expect("the machine can be killed");
        }
    })
    .await?;
    assert!(victim.is_none(), "nothing was killed");
    assert_eq!(answer, expected);
    Ok(())
}
