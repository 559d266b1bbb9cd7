//! A model that no node's memory holds: real processes of one swarm on loopback form a chain by
//! themselves, answer as one machine would, and go on when a stage's machine is killed, stopped or
//! loses its worker in the middle of an answer.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;
use tests::{
    api,
    chain::{
        Chain, FAULTS, FOR_THREE, FOR_TWO, Fault, MODEL, QUIC, Question, Shape, Swarm, TCP, ask,
    },
    process::Node,
    swarm::{identity, shown, until},
};

mod weights;

/// Faults that one run injects; the benchmark does more.
const RUNS: usize = 6;

/// A machine that builds and tests at the same time is slow; how long a pause is in peace is what the
/// benchmark tells. This one says that nothing waits for a lease's end.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// The peers of the plan for the model.
async fn planned(head: &Node) -> Result<BTreeSet<String>> {
    let plan = shown(head, &format!("/api/plan?model={MODEL}")).await?;
    ensure!(plan["kind"] == "chain", "{plan:#}");
    let stages = plan["stages"].as_array().context("stages")?;
    let peers = stages.iter().filter_map(|stage| stage["peer"].as_str());
    Ok(peers.map(str::to_owned).collect())
}

#[tokio::test]
async fn a_model_that_no_node_holds_answers_over_a_chain_that_outlives_a_stage() -> Result<()> {
    let swarm = Swarm::start()?;
    let large = swarm.large()?;
    let shape = Shape {
        memory: FOR_TWO,
        others: 2,
        listen: TCP,
    };
    let mut chain = Chain::form(swarm, shape).await?;
    for temperature in [0.0, 1.0] {
        let question = Question {
            temperature,
            ..Question::default()
        };
        let expected = ask(&large, &question, |_| {}).await?.text;
        assert!(expected.chars().count() > 100, "{expected}");
        let answer = ask(&chain.head, &question, |_| {}).await?.text;
        assert_eq!(answer, expected, "at temperature {temperature}");
    }
    let ring: BTreeSet<String> = chain.ring().into_iter().map(|stage| stage.peer).collect();
    ensure!(ring.len() > 1, "{ring:?}");
    assert_eq!(planned(&chain.head).await?, ring);
    let loaded = shown(&chain.head, "/api/loaded").await?;
    assert!(loaded.to_string().contains(MODEL), "{loaded}");

    // A machine with a stage is killed in the middle of an answer; the other takes its place.
    let question = Question::default();
    let expected = ask(&large, &question, |_| {}).await?.text;
    let seed = tests::seed();
    let outcome = chain
        .ask_through_a_fault(&question, seed, Fault::KillNode)
        .await?;
    assert_eq!(outcome.text, expected, "{outcome:?}");
    Ok(())
}

/// The head and one machine are a ring, of the two others one is kept ready. (Rings of more machines
/// need round trips between those, which a young swarm on loopback does not know for minutes.)
#[tokio::test]
async fn answers_over_a_chain_with_a_spare_outlive_whatever_happens_to_a_stage() -> Result<()> {
    let mut rng = StdRng::seed_from_u64(tests::seed());
    let question = Question::default();
    let mut expected = None;
    for run in 0..RUNS {
        let swarm = Swarm::start()?;
        if expected.is_none() {
            expected = Some(ask(&swarm.large()?, &question, |_| {}).await?.text);
        }
        let shape = Shape {
            memory: FOR_TWO,
            others: 3,
            listen: if run % 2 == 0 { QUIC } else { TCP },
        };
        let mut chain = Chain::form(swarm, shape).await?;
        chain.until_spares(1).await?;
        let (fault, seed) = (FAULTS[run % FAULTS.len()], rng.random());
        let outcome = chain.ask_through_a_fault(&question, seed, fault).await?;
        let of_run = format!("run {run}, seed {seed}: {outcome:?}");
        assert_eq!(Some(&outcome.text), expected.as_ref(), "{of_run}");
        ensure!(
            outcome.pause < LONGEST_PAUSE,
            "{of_run}\n{}",
            chain.head.log_tail()
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_model_that_no_chain_can_hold_is_refused_for_now_and_says_what_is_missing() -> Result<()>
{
    let swarm = Swarm::start()?;
    let head = swarm.small("head", FOR_THREE, TCP)?;
    let body = serde_json::json!({ "model": MODEL, "prompt": "Birds", "max_tokens": 1 });
    let url = format!("{}/v1/completions", head.url);
    let response = api::client()?.post(url).json(&body).send().await?;
    let (status, after) = (
        response.status(),
        response.headers().get("retry-after").cloned(),
    );
    let error: Value = response.json().await?;
    assert_eq!(status, 503, "{error}");
    assert!(after.is_some(), "{error}");
    Ok(())
}

/// Whether the node answers a request of the model.
async fn answers(node: &Node) -> Result<bool> {
    let list = shown(node, "/api/loaded").await?;
    let models = list.as_array().into_iter().flatten();
    Ok(models
        .into_iter()
        .any(|model| model["running"].as_u64() > Some(0)))
}

/// Two nodes keep a chain each; the one that answers is killed in the middle of the answer.
#[tokio::test]
async fn an_answer_goes_on_at_another_chain_when_its_head_dies() -> Result<()> {
    let swarm = Swarm::start()?;
    let question = Question::default();
    let expected = ask(&swarm.large()?, &question, |_| {}).await?.text;
    let _stages = [
        swarm.small("stage-1", FOR_TWO, TCP)?,
        swarm.small("stage-2", FOR_TWO, TCP)?,
    ];
    let mut heads = vec![
        swarm.pinned("head-1", FOR_TWO, TCP)?,
        swarm.pinned("head-2", FOR_TWO, TCP)?,
    ];
    for head in &heads {
        let is_ready = |list: &Value| list.to_string().contains("\"ready\"");
        until(head, "/api/loaded", is_ready).await?;
    }
    let client = swarm.node("client", &["--client", "--listen", TCP])?;
    // It has heard of both: one that it does not know cannot take over.
    let mut ids = Vec::new();
    for head in &heads {
        ids.push(identity(head).await?);
    }
    let serves = |peer: &&Value| {
        let is_head = ids.iter().any(|id| peer["id"] == *id);
        is_head && peer["models"].to_string().contains(MODEL)
    };
    let knows_both = |list: &Value| {
        let peers = list["peers"].as_array();
        peers.is_some_and(|peers| peers.iter().filter(serves).count() == 2)
    };
    until(&client, "/api/peers", knows_both).await?;
    let length = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&length);
    let asking = async { ask(&client, &question, move |now| told.store(now, Relaxed)).await };
    let killing = async {
        while length.load(Relaxed) < 20 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let is_second = answers(&heads[1]).await?;
        heads.remove(usize::from(is_second)).kill()?;
        anyhow::Ok(length.load(Relaxed))
    };
    let (answer, killed_at) = tokio::join!(asking, killing);
    let answer = answer?.text;
    assert_eq!(answer, expected);
    ensure!(
        killed_at? < answer.chars().count(),
        "it was killed too late"
    );
    Ok(())
}
