//! What becomes of a chain, or of a model on one machine, that works: a stage that grows slow, and
//! files that are replaced. Answers that run go on, and none fails.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    api,
    chain::{Chain, FOR_TWO, MODEL, Question, SIZE, Shape, Swarm, TCP, ask},
    hindrance::Hindrance,
    process::{Node, fixture, shoal_binary},
    swarm::{shown, until},
};

/// A verdict takes half a minute, and another process may have the machine meanwhile.
const PATIENCE: Duration = Duration::from_secs(180);

/// Where the weights of the last layer's experts are in the model's file, from its end.
const LAST_EXPERTS: usize = 417_000;

#[tokio::test]
async fn a_stage_that_grows_slow_is_replaced_and_answers_stay_what_they_were() -> Result<()> {
    let swarm = Swarm::start()?;
    let question = Question::default();
    let expected = ask(&swarm.large()?, &question, |_| {}).await?.text;
    let shape = Shape {
        memory: FOR_TWO,
        others: 3,
        listen: TCP,
    };
    let chain = Chain::form(swarm, shape).await?;
    chain.until_spares(1).await?;
    // How fast it is at its best is seen within an answer.
    for _ in 0..3 {
        let answer = ask(&chain.head, &question, |_| {}).await?.text;
        assert_eq!(answer, expected);
    }
    let ring = chain.ring();
    let slow = chain.remote().first().context("a remote stage")?.clone();
    let member = chain.others.iter().find(|member| member.id == slow.peer);
    let node = member.and_then(|member| member.node.as_ref());
    let workers = node.context("the stage's node")?.children();
    let worker = *workers.first().context("the stage's worker")?;
    let _hindrance = Hindrance::of(worker)?;
    let end = Instant::now() + PATIENCE;
    while chain.ring() == ring {
        let answer = ask(&chain.head, &question, |_| {}).await?.text;
        assert_eq!(answer, expected, "while a stage is slow");
        let log = chain.head.log_tail();
        ensure!(Instant::now() < end, "the slow stage stays:\n{log}");
    }
    let log = chain.head.log();
    ensure!(log.contains("chain has a slow stage"), "{log}");
    ensure!(!log.contains("chain lost a stage"), "{log}");
    let remote = chain.remote();
    ensure!(
        remote.iter().all(|stage| stage.peer != slow.peer),
        "{remote:?}"
    );
    let answer = ask(&chain.head, &question, |_| {}).await?.text;
    assert_eq!(answer, expected, "after the change");
    Ok(())
}

/// The model in a file of its own, which can be replaced.
struct Replaceable {
    file: PathBuf,
}

impl Replaceable {
    fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let file = folder.join(format!("{MODEL}.gguf"));
        fs::copy(fixture(&format!("{MODEL}.gguf")), &file)?;
        Ok(Self { file })
    }

    /// The same with other weights, under the same name.
    fn replace(&self) -> Result<()> {
        let mut bytes = fs::read(&self.file)?;
        let from = bytes.len() - LAST_EXPERTS;
        bytes[from..].fill(0);
        let beside = self.file.with_extension("new");
        fs::write(&beside, bytes)?;
        Ok(fs::rename(&beside, &self.file)?)
    }

    /// Takes it into the store of a node.
    fn pull(&self, data: &Path) -> Result<()> {
        let output = Command::new(shoal_binary()?)
            .arg("pull")
            .arg(&self.file)
            .arg("--data-dir")
            .arg(data)
            .output()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{errors}");
        Ok(())
    }

    /// A node that has all of it in its memory, in a folder of its own.
    fn whole(&self, data: &Path) -> Result<Node> {
        let args = [&SIZE[..], &["--threads", "1", "--offline"]].concat();
        let node = Node::start(&shoal_binary()?, data, &args)?;
        self.pull(data)?;
        Ok(node)
    }
}

/// What is answered before and after the files are replaced.
struct Answers {
    old: String,
    new: String,
    long: String,
}

/// It takes longer than all that happens meanwhile.
fn long() -> Question {
    Question {
        max_tokens: 900,
        ..Question::default()
    }
}

fn short() -> Question {
    Question {
        max_tokens: 16,
        ..Question::default()
    }
}

impl Answers {
    /// By nodes that have the one or the other alone.
    async fn of(folder: &Path) -> Result<Self> {
        let model = Replaceable::new(&folder.join("of-answers"))?;
        let question = short();
        let node = model.whole(&folder.join("before"))?;
        let old = ask(&node, &question, |_| {}).await?.text;
        let long = ask(&node, &long(), |_| {}).await?.text;
        drop(node);
        model.replace()?;
        let node = model.whole(&folder.join("after"))?;
        let new = ask(&node, &question, |_| {}).await?.text;
        ensure!(old != new && !new.is_empty(), "other weights: {new:?}");
        Ok(Self { old, new, long })
    }
}

/// Says that the model is wanted, so that the node looks at its files. Nothing is computed for it: rows
/// that are computed together differ from rows computed alone by their last digits, and the long answer
/// is to stay what it is.
async fn touch(node: &Node) -> Result<()> {
    let body = serde_json::json!({ "name": MODEL });
    let url = format!("{}/api/load", node.url);
    let response = api::client()?.post(url).json(&body).send().await?;
    let status = response.status();
    ensure!(status.is_success(), "{status}: {}", response.text().await?);
    Ok(())
}

/// Whether so many loads of the model are ready.
fn are_ready(list: &Value, count: usize) -> bool {
    let list = list.as_array().into_iter().flatten();
    list.filter(|model| model["state"] == "ready").count() == count
}

/// Replaces the file in the middle of a long answer, and asks until the newer file answers; `beside`:
/// while the older is still answering. Every answer is whole, and that of the one file or the other.
async fn update(node: &Node, model: &Replaceable, answers: &Answers, beside: bool) -> Result<()> {
    let question = short();
    let length = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&length);
    let (long, question) = (long(), &question);
    let running = async { ask(node, &long, move |now| told.store(now, Relaxed)).await };
    let replacing = async {
        while length.load(Relaxed) < 20 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        model.replace()?;
        touch(node).await?;
        if beside {
            until(node, "/api/loaded", |list| are_ready(list, 2)).await?;
            let answer = ask(node, question, |_| {}).await?.text;
            assert_eq!(answer, answers.new, "while the older answers");
        }
        anyhow::Ok(length.load(Relaxed))
    };
    let (running, reached) = tokio::try_join!(running, replacing)?;
    let all = answers.long.chars().count();
    ensure!(
        reached < all,
        "the long answer was over: {reached} of {all}"
    );
    assert_eq!(running.text, answers.long, "what runs goes on");
    let end = Instant::now() + PATIENCE;
    loop {
        let answer = ask(node, question, |_| {}).await?.text;
        if answer == answers.new {
            break;
        }
        ensure!(
            answer == answers.old,
            "neither the one nor the other: {answer}"
        );
        ensure!(
            Instant::now() < end,
            "the older file answers:\n{}",
            node.log_tail()
        );
    }
    until(node, "/api/loaded", |list| are_ready(list, 1)).await?;
    let answer = ask(node, question, |_| {}).await?.text;
    assert_eq!(answer, answers.new);
    Ok(())
}

#[tokio::test]
async fn replaced_files_of_a_model_on_one_machine_answer_without_a_failure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let answers = Answers::of(folder.path()).await?;
    let model = Replaceable::new(&folder.path().join("model"))?;
    let node = model.whole(&folder.path().join("node"))?;
    let answer = ask(&node, &short(), |_| {}).await?.text;
    assert_eq!(answer, answers.old);
    update(&node, &model, &answers, true).await
}

#[tokio::test]
async fn replaced_files_of_a_model_over_a_chain_answer_without_a_failure() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let answers = Answers::of(folder.path()).await?;
    let swarm = Swarm::start()?;
    let model = Replaceable::new(&folder.path().join("model"))?;
    let limits = ["--max-memory", FOR_TWO, "--listen", TCP];
    // The others fetch layers of it.
    let serving = ["--serve-public", "yes", "--serve-models", MODEL];
    let head = swarm.node("head", &[&limits[..], &serving].concat())?;
    model.pull(&swarm.data("head"))?;
    // These have the older file, and fetch their layers of the newer.
    let _stages = [
        swarm.small("stage-1", FOR_TWO, TCP)?,
        swarm.small("stage-2", FOR_TWO, TCP)?,
    ];
    let knows_both = |list: &Value| {
        let peers = list["peers"].as_array().into_iter().flatten();
        peers.filter(|peer| peer["role"] == "server").count() == 2
    };
    until(&head, "/api/peers", knows_both).await?;
    let answer = ask(&head, &short(), |_| {}).await?.text;
    assert_eq!(answer, answers.old);
    // There is no room for two of it.
    update(&head, &model, &answers, false).await?;
    let plan = shown(&head, &format!("/api/plan?model={MODEL}")).await?;
    assert_eq!(plan["kind"], "chain", "{plan:#}");
    let log = head.log();
    let ready = log.lines().filter(|line| line.contains("chain ready"));
    let ready: BTreeSet<&str> = ready.collect();
    ensure!(ready.len() > 1, "one chain for each file:\n{log}");
    Ok(())
}
