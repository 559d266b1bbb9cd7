//! The swarm on one machine: what a peer's answer costs beside the peer's own, how long an answer
//! pauses when its peer is killed, and what a node costs that only listens to two hundred others.

use std::{
    fmt::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use serde_json::{Value, json};
use tests::{
    api::{self, Outcome},
    crowd::Crowd,
    process::{Node, cpu_time_of},
    swarm::{Bootstrap, PATIENCE, identity, until, until_it_lists},
};

use crate::{idle::median, sides::threads as cores};

pub(crate) const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
pub(crate) const TCP: &str = "/ip4/127.0.0.1/tcp/0";

/// Tokens of each answer.
const TOKENS: u32 = 160;

/// Questions to each side in a round.
const QUESTIONS: usize = 4;

/// The crowd that the idle node is in.
const CROWD: usize = 199;

/// How long the swarm settles: for four minutes all of it looks up how large it is, and makes and
/// ends connections. And how long the idle node is watched: a heartbeat of everybody's.
const SETTLE: Duration = Duration::from_secs(300);
const WATCH: Duration = Duration::from_secs(120);

/// A swarm of processes over one model.
pub(crate) struct Processes<'a> {
    shoal: &'a Path,
    model: &'a Path,
    folder: tempfile::TempDir,
    bootstrap: Bootstrap,
    started: usize,
}

impl<'a> Processes<'a> {
    pub(crate) fn start(shoal: &'a Path, model: &'a Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let bootstrap = Bootstrap::start(&folder.path().join("bootstrap"), &[])?;
        Ok(Self {
            shoal,
            model,
            folder,
            bootstrap,
            started: 0,
        })
    }

    fn node(&mut self, args: &[&str]) -> Result<Node> {
        self.started += 1;
        let data = self.folder.path().join(self.started.to_string());
        let list = self.bootstrap.list();
        let environment = [("SHOAL_BOOTSTRAP", Some(list.as_str()))];
        Node::start_with(self.shoal, &data, args, &environment)
    }

    /// Serves the model, and listens at these addresses.
    pub(crate) fn server(&mut self, listen: &[&str]) -> Result<Node> {
        let model = self.model.to_str().context("the model's path")?;
        let mut args = vec!["--model", model, "--serve-public", "yes"];
        args.extend(listen.iter().flat_map(|address| ["--listen", address]));
        self.node(&args)
    }

    /// The same with so many threads of its engine.
    fn server_with(&mut self, threads: usize) -> Result<Node> {
        let model = self.model.to_str().context("the model's path")?;
        let threads = threads.to_string();
        let serve = ["--model", model, "--serve-public", "yes", "--listen", QUIC];
        self.node(&[&serve[..], &["--threads", &threads]].concat())
    }

    /// The model's name.
    pub(crate) fn name(&self) -> String {
        let stem = self.model.file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    }
}

/// All of it; the section's rows.
pub(crate) async fn measure(shoal: &Path, model: &Path, rounds: usize) -> Result<String> {
    let mut text = String::from("| what | figure | to reach |\n|---|---:|---|\n");
    for threads in [cores(), (cores() - 1).max(1)] {
        remote(shoal, model, threads, rounds, &mut text).await?;
    }
    for (listen, transport) in [(QUIC, "QUIC"), (TCP, "TCP")] {
        let pauses = failover(shoal, model, listen, rounds).await?;
        let longest = pauses.iter().copied().fold(0.0, f64::max);
        let _ = writeln!(
            text,
            "| pause of an answer whose peer is killed, {transport}, s | {:.2} (longest {longest:.2}) | |",
            median(pauses)
        );
    }
    Ok(text)
}

/// The same questions to a peer itself, and through a node that has no model, in turns.
async fn remote(
    shoal: &Path,
    model: &Path,
    threads: usize,
    rounds: usize,
    text: &mut String,
) -> Result<()> {
    let mut swarm = Processes::start(shoal, model)?;
    let server = swarm.server_with(threads)?;
    let asker = swarm.node(&["--client"])?;
    let name = swarm.name();
    until_it_lists(&asker, &name, true).await?;
    let (mut speeds, mut firsts) = (Vec::new(), Vec::new());
    // One of each first, so that neither begins cold.
    for round in 0..=rounds * QUESTIONS {
        let mut of = [(0.0, 0.0); 2];
        let mut sides = [(0, &server, "heron"), (1, &asker, "goose")];
        sides.rotate_left(round % 2);
        for (at, node, name_of) in sides {
            // Neither begins like the other's, or its beginning would be cached there.
            let prompt = format!("{name_of} {round}: count the birds on the lake, one by one:");
            let answer = ask(node, &name, &prompt).await?;
            let after_first = answer.total - answer.first_token;
            let tokens = answer.completion_tokens.saturating_sub(1) as f64;
            let first_ms = answer.first_token.as_secs_f64() * 1000.0;
            of[at] = (tokens / after_first.as_secs_f64(), first_ms);
        }
        if round > 0 {
            speeds.push(of[1].0 / of[0].0);
            firsts.push(of[1].1 - of[0].1);
        }
    }
    let _ = writeln!(
        text,
        "| a peer's model, {threads} threads: decode, of the peer's own speed | {:.3} | ≥ 0.98 |\n\
         | first token through it, over the peer's own, ms | {:.1} | ≤ 1 RTT + 5 |",
        median(speeds),
        median(firsts)
    );
    Ok(())
}

async fn ask(node: &Node, model: &str, prompt: &str) -> Result<api::Answer> {
    let url = format!("{}/v1/completions", node.url);
    let body = json!({
        "model": model, "prompt": prompt, "max_tokens": TOKENS, "temperature": 0,
    });
    match api::stream(&api::client()?, &url, body).await? {
        Outcome::Answered(answer) => Ok(answer),
        Outcome::Refused => bail!("refused"),
    }
}

/// The longest silence in answers whose peer is killed in the middle, one for each round.
async fn failover(shoal: &Path, model: &Path, listen: &str, rounds: usize) -> Result<Vec<f64>> {
    let mut pauses = Vec::new();
    for _ in 0..rounds {
        let mut swarm = Processes::start(shoal, model)?;
        let mut servers = vec![swarm.server(&[listen])?, swarm.server(&[listen])?];
        let asker = swarm.node(&["--client", "--listen", listen])?;
        let two = |status: &Value| {
            let peers = status["peers"].as_array().into_iter().flatten();
            let serves = |peer: &&Value| peer["models"].as_array().is_some_and(|m| !m.is_empty());
            peers.filter(serves).count() >= 2
        };
        until(&asker, "/api/peers", two).await?;
        let mut ids = Vec::new();
        for server in &servers {
            ids.push(identity(server).await?);
        }
        pauses.push(killed(&asker, &swarm.name(), &mut servers, &ids).await?);
    }
    Ok(pauses)
}

async fn killed(asker: &Node, model: &str, servers: &mut Vec<Node>, ids: &[String]) -> Result<f64> {
    let body = json!({
        "model": model, "prompt": "Count the birds:", "max_tokens": TOKENS, "temperature": 0,
        "stream": true,
    });
    let url = format!("{}/v1/completions", asker.url);
    let response = api::client()?.post(url).json(&body).send().await?;
    let peer = response.headers().get("x-shoal-served-by");
    let peer = peer.context("no peer is named")?.to_str()?.to_owned();
    let mut parts = response.bytes_stream();
    let (mut last, mut longest, mut seen) = (Instant::now(), Duration::ZERO, 0);
    let mut is_killed = false;
    while let Some(part) = parts.next().await {
        part?;
        if is_killed {
            longest = longest.max(last.elapsed());
        }
        last = Instant::now();
        seen += 1;
        if seen == TOKENS / 4 {
            let at = ids.iter().position(|id| *id == peer);
            servers.remove(at.context("the peer is a server")?).kill()?;
            is_killed = true;
            last = Instant::now();
        }
    }
    ensure!(is_killed, "the answer ended before the kill");
    Ok(longest.as_secs_f64())
}

/// A real node without a model in a swarm of two hundred.
pub(crate) async fn idle(shoal: &Path) -> Result<String> {
    let mut crowd = Crowd::start(3, PATIENCE).await?;
    let began = Instant::now();
    for _ in 0..CROWD {
        crowd.join(&[])?;
    }
    let joined = crowd.until_joined(began, PATIENCE).await?;
    let folder = tempfile::tempdir()?;
    let list = crowd.bootstrap.join(",");
    let environment = [("SHOAL_BOOTSTRAP", Some(list.as_str()))];
    let node = Node::start_with(shoal, &folder.path().join("node"), &[], &environment)?;
    tokio::time::sleep(SETTLE).await;
    let before = cpu_time_of(node.pid());
    tokio::time::sleep(WATCH).await;
    let spent = cpu_time_of(node.pid()).saturating_sub(before);
    let view = until(&node, "/api/peers", |status| status["state"] == "joined").await?;
    let peers = view["peers"].as_array().map_or(0, Vec::len);
    Ok(format!(
        "| what | figure | to reach |\n|---|---:|---|\n\
         | idle node in a swarm of 200 ({peers} of them in its view): share of a core, % | {:.2} | ≤ 1 |\n\
         | the same: memory, MiB | {:.0} | ≤ 150 |\n\
         | 199 nodes of one process join at once: half of them, all, s | {:.1}, {:.1} | |\n",
        100.0 * spent.as_secs_f64() / WATCH.as_secs_f64(),
        node.memory_bytes() as f64 / f64::from(1 << 20),
        joined[CROWD / 2].as_secs_f64(),
        joined[CROWD - 1].as_secs_f64(),
    ))
}
