//! A chain of real processes on loopback: formed, asked while the times of arrival are kept, and
//! broken at a moment that a seed draws.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    api,
    process::{Node, fixture, shoal_binary},
    swarm::{Bootstrap, PATIENCE, identity, until},
};

/// The model that is split.
pub const MODEL: &str = "tiny-moe-q8_0";

/// With these the cache is much larger than the model, and is what has to be split.
pub const SIZE: [&str; 4] = ["--ctx-size", "1024", "--parallel", "64"];

/// All of the model takes 162 MiB, so that two hold it together.
pub const FOR_TWO: &str = "158MiB";

/// Each holds two of the model's five layers, and a head none beside itself: a ring has three others.
pub const FOR_THREE: &str = "115MiB";

/// Where nodes listen.
pub const TCP: &str = "/ip4/127.0.0.1/tcp/0";
/// The same over QUIC: a machine that is gone is only noticed by its silence.
pub const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

/// A folder for what the nodes keep, a bootstrap server, and the model.
pub struct Swarm {
    folder: tempfile::TempDir,
    bootstrap: Bootstrap,
    model: String,
}

/// How the nodes of a chain are started.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// What each may take.
    pub memory: &'static str,
    /// Nodes beside the head.
    pub others: usize,
    /// Where they listen.
    pub listen: &'static str,
}

/// A node beside the head.
pub struct Member {
    /// Its id, as peers are listed by.
    pub id: String,
    /// Its process; `None`: it was killed.
    pub node: Option<Node>,
}

/// A head whose chain answers, and everybody who may hold a stage of it.
pub struct Chain {
    /// The head.
    pub head: Node,
    /// The head's id.
    pub own: String,
    /// The others.
    pub others: Vec<Member>,
    _swarm: Swarm,
}

/// A stage of the ring that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Who holds it.
    pub peer: String,
    /// Its layers, as `first-last`.
    pub layers: String,
}

/// What happens to a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of its node, and with it of its worker.
    KillNode,
    /// SIGSTOP of its node and of its worker: the machine hangs.
    StopNode,
    /// `kill -9` of its worker.
    KillWorker,
    /// SIGSTOP of its worker: the node goes on.
    StopWorker,
}

/// Every fault.
pub const FAULTS: [Fault; 4] = [
    Fault::KillNode,
    Fault::StopNode,
    Fault::KillWorker,
    Fault::StopWorker,
];

/// A question.
#[derive(Debug, Clone)]
pub struct Question {
    /// The prompt.
    pub prompt: String,
    /// Tokens of the answer.
    pub max_tokens: u32,
    /// 0: the likeliest token always.
    pub temperature: f64,
}

impl Default for Question {
    fn default() -> Self {
        Self {
            prompt: "fn main() {".into(),
            max_tokens: 200,
            temperature: 0.0,
        }
    }
}

/// A streamed answer with the times of its parts.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// All text.
    pub text: String,
    /// When each part came, and how many characters there were then.
    pub parts: Vec<(Instant, usize)>,
}

impl Told {
    /// The longest time in which nothing came, of those that were not over at `since`.
    pub fn longest_gap(&self, since: Instant) -> Duration {
        let pairs = self.parts.windows(2);
        let gaps = pairs.filter(|pair| pair[1].0 > since);
        let gaps = gaps.map(|pair| pair[1].0 - pair[0].0);
        gaps.max().unwrap_or_default()
    }
}

/// What came of one injected fault.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What happened.
    pub fault: Fault,
    /// To which stage.
    pub stage: Stage,
    /// After so many characters of the answer.
    pub after: usize,
    /// The longest time without text around and after it.
    pub pause: Duration,
    /// The answer.
    pub text: String,
}

impl Swarm {
    /// A bootstrap server and nobody else.
    ///
    /// # Errors
    /// It does not start.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let bootstrap = Bootstrap::start(&folder.path().join("bootstrap"), &[])?;
        let model = fixture(&format!("{MODEL}.gguf"));
        Ok(Self {
            folder,
            bootstrap,
            model: model.to_str().context("a path of text")?.to_owned(),
        })
    }

    /// The folder of a node's data.
    pub fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A node that holds stages of the model for whoever asks, and never all of it.
    ///
    /// # Errors
    /// It does not start.
    pub fn small(&self, name: &str, memory: &str, listen: &str) -> Result<Node> {
        let limits = ["--max-memory", memory, "--listen", listen];
        let serving = ["--serve-public", "yes", "--serve-models", MODEL];
        let node = self.node(name, &[&limits[..], &serving].concat())?;
        self.pull(name)?;
        Ok(node)
    }

    /// A node that keeps the model ready as a chain and answers whoever asks, but holds no stage for
    /// others.
    ///
    /// # Errors
    /// It does not start.
    pub fn pinned(&self, name: &str, memory: &str, listen: &str) -> Result<Node> {
        let limits = ["--max-memory", memory, "--listen", listen];
        let serving = ["--serve-public", "yes", "--model", &self.model];
        self.node(name, &[&limits[..], &serving].concat())
    }

    /// A node of the swarm with these arguments.
    ///
    /// # Errors
    /// It does not start.
    pub fn node(&self, name: &str, args: &[&str]) -> Result<Node> {
        let list = self.bootstrap.list();
        let environment = [("SHOAL_BOOTSTRAP", Some(list.as_str()))];
        let args = [&SIZE[..], &["--threads", "1"], args].concat();
        Node::start_with(&shoal_binary()?, &self.data(name), &args, &environment)
    }

    /// The same model on one machine.
    ///
    /// # Errors
    /// It does not start.
    pub fn large(&self) -> Result<Node> {
        let args = [&SIZE[..], &["--threads", "1", "--offline"]].concat();
        let node = Node::start(&shoal_binary()?, &self.data("large"), &args)?;
        self.pull("large")?;
        Ok(node)
    }

    /// Takes the model's file into a node's store.
    ///
    /// # Errors
    /// The node refuses.
    pub fn pull(&self, name: &str) -> Result<()> {
        let output = Command::new(shoal_binary()?)
            .args(["pull", &self.model, "--data-dir"])
            .arg(self.data(name))
            .output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{errors}");
        Ok(())
    }
}

impl Chain {
    /// Starts the nodes, has the head form its chain, and waits until it has answered once.
    ///
    /// # Errors
    /// It does not.
    pub async fn form(swarm: Swarm, shape: Shape) -> Result<Self> {
        let head = swarm.small("head", shape.memory, shape.listen)?;
        let own = identity(&head).await?;
        let mut others = Vec::new();
        for number in 0..shape.others {
            let node = swarm.small(&format!("peer-{number}"), shape.memory, shape.listen)?;
            let id = identity(&node).await?;
            let node = Some(node);
            others.push(Member { id, node });
        }
        // Nobody is asked before what the others have is known.
        let heard = |list: &Value| {
            let peers = list["peers"].as_array().into_iter().flatten();
            peers.filter(|peer| peer["role"] == "server").count() == others.len()
        };
        until(&head, "/api/peers", heard).await?;
        let chain = Self {
            head,
            own,
            others,
            _swarm: swarm,
        };
        ask(&chain.head, &Question::default(), |_| {}).await?;
        Ok(chain)
    }

    /// The ring that became ready last, as the head's log has it.
    pub fn ring(&self) -> Vec<Stage> {
        ring_of(&self.head)
    }

    /// Stages of that ring that are not the head's own.
    pub fn remote(&self) -> Vec<Stage> {
        let ring = self.ring().into_iter();
        ring.filter(|stage| stage.peer != self.own).collect()
    }

    /// Waits until so many spares are ready.
    ///
    /// # Errors
    /// They are not within [`PATIENCE`].
    pub async fn until_spares(&self, count: u64) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while spares_of(&self.head) < count {
            ensure!(
                Instant::now() < end,
                "{} of {count} spares:\n{}",
                spares_of(&self.head),
                self.head.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Lets something happen to a stage's peer.
    ///
    /// # Errors
    /// It is not there, or the system does not do it.
    pub fn inject(&mut self, fault: Fault, peer: &str) -> Result<()> {
        let member = self.others.iter_mut().find(|member| member.id == peer);
        let member = member.context("a peer beside the head")?;
        let node = member.node.as_ref().context("a peer that lives")?;
        let (pid, workers) = (node.pid(), node.children());
        match fault {
            Fault::KillNode => {
                member.node.take().context("a peer that lives")?.kill()?;
            }
            // The node first: else it sees its worker stop.
            Fault::StopNode => signal("-STOP", &[&[pid], &workers[..]].concat())?,
            Fault::KillWorker => signal("-KILL", &workers)?,
            Fault::StopWorker => signal("-STOP", &workers)?,
        }
        Ok(())
    }

    /// Asks, and lets a fault happen to one remote stage at a random moment of the answer.
    ///
    /// # Errors
    /// The answer is not whole, or nothing could be broken.
    pub async fn ask_through_a_fault(
        &mut self,
        question: &Question,
        seed: u64,
        fault: Fault,
    ) -> Result<Outcome> {
        let mut rng = StdRng::seed_from_u64(seed);
        let remote = self.remote();
        ensure!(!remote.is_empty(), "no remote stage: {:?}", self.ring());
        let stage = remote[rng.random_range(0..remote.len())].clone();
        let after = rng.random_range(1..150);
        let (url, mut at) = (self.head.url.clone(), None);
        let mut failed = None;
        let told = ask_at(&url, question, |length| {
            if length >= after && at.is_none() {
                at = Some(Instant::now());
                failed = self.inject(fault, &stage.peer).err();
            }
        })
        .await;
        let told = told.with_context(|| self.head.log_tail())?;
        if let Some(error) = failed {
            return Err(error);
        }
        let at = at.context("the answer ended before anything was broken")?;
        Ok(Outcome {
            fault,
            stage,
            after,
            pause: told.longest_gap(at),
            text: told.text,
        })
    }
}

/// The ring that became ready last, as the log of its head has it.
pub fn ring_of(head: &Node) -> Vec<Stage> {
    let last = last_said(head, "chain ready");
    let list = last.as_ref().and_then(|line| line["stages"].as_str());
    let stages = list.into_iter().flat_map(|list| list.split(','));
    stages
        .filter_map(|stage| stage.split_once(':'))
        .map(|(peer, layers)| Stage {
            peer: peer.to_owned(),
            layers: layers.to_owned(),
        })
        .collect()
}

/// How many spares the head's log says to be ready beside the ring.
pub fn spares_of(head: &Node) -> u64 {
    let last = last_said(head, "chain spares");
    last.and_then(|line| line["ready"].as_u64()).unwrap_or(0)
}

/// What a node's log says last with this message.
fn last_said(node: &Node, message: &str) -> Option<Value> {
    let log = node.log();
    let lines = log.lines().rev();
    let mut said = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    said.find(|line| line["message"] == message)
}

fn signal(name: &str, pids: &[u32]) -> Result<()> {
    let pids = pids.iter().map(u32::to_string);
    let status = Command::new("kill").arg(name).args(pids).status()?;
    ensure!(status.success(), "kill {name} failed");
    Ok(())
}

/// A streamed answer of a node; `on_text` is told how many characters there are so far.
///
/// # Errors
/// It is none, or not whole; the end of the node's log comes with it.
pub async fn ask(node: &Node, question: &Question, on_text: impl FnMut(usize)) -> Result<Told> {
    let told = ask_at(&node.url, question, on_text).await;
    told.with_context(|| node.log_tail())
}

async fn ask_at(url: &str, question: &Question, mut on_text: impl FnMut(usize)) -> Result<Told> {
    let url = format!("{url}/v1/completions");
    let request = api::client()?.post(url).json(&question.body());
    let response = request.send().await?;
    let status = response.status();
    ensure!(status.is_success(), "{status}: {}", response.text().await?);
    let (mut stream, mut bytes) = (response.bytes_stream(), Vec::new());
    let mut answer = Answer::default();
    while let Some(part) = stream.next().await {
        bytes.extend_from_slice(&part?);
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = bytes.drain(..=end).collect();
            answer.take(&String::from_utf8(line)?, &mut on_text)?;
        }
    }
    answer.end()
}

impl Question {
    /// The request's body.
    pub fn body(&self) -> Value {
        json!({
            "model": MODEL,
            "prompt": self.prompt,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": 7,
            "stream": true,
        })
    }
}

/// A streamed answer on its way.
#[derive(Debug, Default)]
pub struct Answer {
    told: Told,
    characters: usize,
    is_whole: bool,
}

impl Answer {
    /// Takes a line of the stream; `on_text` is told how many characters there are so far.
    ///
    /// # Errors
    /// It is an event that is none of an answer.
    pub fn take(&mut self, line: &str, mut on_text: impl FnMut(usize)) -> Result<()> {
        let Some(data) = line.strip_prefix("data: ") else {
            return Ok(());
        };
        if data.trim() == "[DONE]" {
            self.is_whole = true;
            return Ok(());
        }
        let text = delta(data)?;
        if !text.is_empty() {
            self.characters += text.chars().count();
            self.told.text.push_str(&text);
            self.told.parts.push((Instant::now(), self.characters));
            on_text(self.characters);
        }
        Ok(())
    }

    /// All of it.
    ///
    /// # Errors
    /// The stream ended before.
    pub fn end(self) -> Result<Told> {
        ensure!(self.is_whole, "the stream ended early");
        Ok(self.told)
    }
}

/// The text of one event.
fn delta(data: &str) -> Result<String> {
    let chunk: Value = serde_json::from_str(data)?;
    ensure!(chunk["error"].is_null(), "{chunk}");
    let text = chunk["choices"][0]["text"].as_str();
    Ok(text.unwrap_or_default().to_owned())
}
