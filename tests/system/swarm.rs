//! Real processes of one swarm on loopback: a bootstrap server, peers that serve a model, and a
//! node that has none. What it is asked is answered by a peer, the same as that peer would say
//! itself; and when the peer is killed in the middle of an answer, another goes on with it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tests::{
    api,
    process::{Node, fixture},
    seed,
    swarm::{Swarm, identity, until, until_it_lists},
};

const MODEL: &str = "tiny-draft-f16";

/// Answers that are broken off.
const KILLS: usize = 20;

/// Tokens of an answer that is broken off.
const TOKENS: u32 = 120;

const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
const TCP: &str = "/ip4/127.0.0.1/tcp/0";

/// One that serves the model to everybody, no faster than a slow line, over one transport.
fn serving(swarm: &Swarm, name: &str, listen: &str) -> Result<Node> {
    let model = fixture(&format!("{MODEL}.gguf"));
    let model = model.to_str().context("a path of text")?.to_owned();
    let serving = ["--serve-public", "yes", "--max-upload", "20KB"];
    let args = [&["--model", &model, "--listen", listen][..], &serving].concat();
    swarm.node(name, &args, &[])
}

/// One that asks others.
fn asking(swarm: &Swarm) -> Result<Node> {
    swarm.node("asker", &["--client"], &[])
}

fn question(temperature: f64) -> Value {
    json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": "Tell a story." }],
        "max_tokens": TOKENS,
        "temperature": temperature,
        "seed": 7,
        "stream": true,
    })
}

/// An answer as it comes; `on_text` is told how many characters there are so far.
async fn ask(
    node: &Node,
    temperature: f64,
    mut on_text: impl FnMut(usize, Option<&str>),
) -> Result<String> {
    let url = format!("{}/v1/chat/completions", node.url);
    let request = api::client()?.post(url).json(&question(temperature));
    let response = request.send().await?;
    let peer = response.headers().get("x-shoal-served-by");
    let peer = peer.and_then(|peer| Some(peer.to_str().ok()?.to_owned()));
    let status = response.status();
    ensure!(status.is_success(), "{status}: {}", response.text().await?);
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
            if let Some(delta) = chunk["choices"][0]["delta"]["content"].as_str() {
                text.push_str(delta);
                on_text(text.chars().count(), peer.as_deref());
            }
        }
    }
    ensure!(is_whole, "the stream ended early");
    Ok(text)
}

#[tokio::test]
async fn a_node_without_a_model_answers_with_a_peers() -> Result<()> {
    let swarm = Swarm::start()?;
    let server = serving(&swarm, "server", QUIC)?;
    let asker = asking(&swarm)?;
    until_it_lists(&asker, MODEL, true).await?;
    let expected = identity(&server).await?;
    for temperature in [0.0, 1.0] {
        let mut peers = Vec::new();
        let there = ask(&asker, temperature, |_, peer| {
            peers.extend(peer.map(str::to_owned));
        })
        .await?;
        let here = ask(&server, temperature, |_, _| {}).await?;
        assert_eq!(there, here, "at temperature {temperature}");
        assert!(!there.is_empty());
        assert!(peers.iter().all(|peer| *peer == expected), "{peers:?}");
        assert!(!peers.is_empty(), "the answer names its peer");
    }
    Ok(())
}

/// What a node's picture of the demand says of a model.
fn demand<'a>(report: &'a Value, model: &str) -> Option<&'a Value> {
    let models = report["models"].as_array().into_iter().flatten();
    models.into_iter().find(|demand| demand["model"] == model)
}

/// Asks for a model that nobody has, again and again.
async fn ask_in_vain(node: &Node) -> Result<()> {
    let url = format!("{}/v1/chat/completions", node.url);
    let mut body = question(0.0);
    body["model"] = "org/nobody".into();
    loop {
        let answer = api::client()?.post(&url).json(&body).send().await?;
        let status = answer.status();
        // A node that loads nothing knows of no peer that has it.
        ensure!(status == 503, "{status}: {}", answer.text().await?);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn what_nobody_answers_is_known_to_all() -> Result<()> {
    let swarm = Swarm::start()?;
    let server = serving(&swarm, "server", QUIC)?;
    let asker = asking(&swarm)?;
    until_it_lists(&asker, MODEL, true).await?;
    let is_missed = |report: &Value| {
        let missed = demand(report, "org/nobody");
        missed.is_some_and(|missed| missed["unmet_per_second"].as_f64() > Some(0.0))
    };
    tokio::select! {
        known = until(&server, "/api/demand", is_missed) => known?,
        asked = ask_in_vain(&asker) => return asked,
    };
    // What is answered is asked for, not missed, and had a time to its first token.
    ask(&asker, 0.0, |_, _| {}).await?;
    let is_asked = |report: &Value| demand(report, MODEL).is_some();
    let report = until(&asker, "/api/demand", is_asked).await?;
    let served = demand(&report, MODEL).context("it is there")?;
    assert_eq!(served["unmet_per_second"], 0.0, "{served}");
    assert!(served["waiting_ms"].as_f64() > Some(0.0), "{served}");
    assert_eq!(served["heads"], 1, "{served}");
    Ok(())
}

#[tokio::test]
async fn a_request_that_may_not_leave_the_node_does_not() -> Result<()> {
    let swarm = Swarm::start()?;
    let _server = serving(&swarm, "server", QUIC)?;
    let asker = asking(&swarm)?;
    until_it_lists(&asker, MODEL, true).await?;
    let request = api::client()?
        .post(format!("{}/v1/chat/completions", asker.url))
        .header("x-shoal-privacy", "local")
        .json(&question(0.0));
    let response = request.send().await?;
    ensure!(response.status().is_client_error() || response.status().is_server_error());
    let error: Value = response.json().await?;
    assert!(error["error"]["message"].is_string(), "{error}");
    Ok(())
}

/// The line: `kill -9` of the serving peer at 20 random moments in an answer; the text is
/// complete and identical to the undisturbed run, at temperature 0 and at 1 with a seed.
#[tokio::test]
async fn a_peer_that_is_killed_takes_no_answer_with_it() -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed());
    let swarm = Swarm::start()?;
    let mut servers = Vec::new();
    for (number, listen) in [QUIC, TCP, QUIC, TCP].into_iter().enumerate() {
        servers.push(serving(&swarm, &format!("server-{number}"), listen)?);
    }
    let asker = asking(&swarm)?;
    until_it_lists(&asker, MODEL, true).await?;
    let mut expected = Vec::new();
    for temperature in [0.0, 1.0] {
        expected.push(ask(&servers[0], temperature, |_, _| {}).await?);
    }
    let mut survived = 0;
    for round in 0..KILLS {
        let (temperature, whole) = [(0.0, &expected[0]), (1.0, &expected[1])][round % 2];
        let mut ids = Vec::new();
        for server in &servers {
            ids.push(identity(server).await?);
        }
        until_two_are_known(&asker, &ids).await?;
        let moment = rng.random_range(1..whole.chars().count());
        let mut killed = None;
        let text = ask(&asker, temperature, |length, peer| {
            if length >= moment && killed.is_none() {
                let index = ids.iter().position(|id| Some(id.as_str()) == peer);
                killed = index.map(|index| servers.remove(index).kill());
            }
        })
        .await?;
        assert_eq!(
            &text, whole,
            "round {round}, killed after {moment} characters"
        );
        if let Some(killed) = killed {
            killed?;
            survived += 1;
            let listen = [QUIC, TCP][round / 2 % 2];
            servers.push(serving(&swarm, &format!("server-{}", round + 4), listen)?);
        }
    }
    assert!(
        survived > KILLS / 2,
        "only {survived} answers were broken off"
    );
    Ok(())
}

/// Waits until there is one to ask and another to go on with the answer.
async fn until_two_are_known(node: &Node, ids: &[String]) -> Result<()> {
    let serves = |peer: &&Value| {
        let models = peer["models"].as_array();
        ids.iter().any(|id| peer["id"] == **id) && models.is_some_and(|all| !all.is_empty())
    };
    let two = |status: &Value| {
        let peers = status["peers"].as_array().into_iter().flatten();
        peers.filter(serves).count() >= 2
    };
    until(node, "/api/peers", two).await?;
    Ok(())
}
