//! Real worker processes under a real supervisor, with a fake engine in them.
//!
//! A worker is this very test program, started again to run the one test [`worker_child`]; what
//! it does is chosen by the name of its model. So the product's worker holds nothing for tests.

#![allow(clippy::unwrap_used, reason = "tests")]

#[cfg(feature = "llama")]
#[path = "worker/chain.rs"]
mod chain;
#[path = "worker/child.rs"]
mod child;
#[path = "worker/death.rs"]
mod death;
#[path = "worker/flow.rs"]
mod flow;
#[path = "worker/load.rs"]
mod load;
#[cfg(feature = "llama")]
#[path = "worker/real.rs"]
mod real;

use std::path::{Path, PathBuf};
use std::time::Duration;

use llama_sys::core::restart::RestartPolicy;
use llama_sys::engine::{Engine as _, EngineState, Event, Grammar, Job, Prompt, Sampling};
use llama_sys::supervisor::{WorkerConfig, WorkerEngine};
use llama_sys::worker::LoadOptions;
use tokio::sync::mpsc;

/// Nothing here takes longer unless it hangs.
const DEADLINE: Duration = Duration::from_secs(30);

/// Runs as a worker when it is started as one, and else does nothing.
#[test]
fn worker_child() {
    child::serve_if_started_as_worker();
}

/// The same with the product's worker.
#[cfg(feature = "llama")]
#[test]
fn product_worker_child() {
    real::serve_if_started_as_worker();
}

/// Starts a worker and is killed by [`death::a_worker_dies_with_its_parent`].
#[test]
fn intermediate_parent() {
    death::be_parent_if_started_as_one();
}

fn config(model: impl Into<PathBuf>) -> WorkerConfig {
    WorkerConfig {
        program: std::env::current_exe().unwrap(),
        args: ["--exact", "worker_child", "--nocapture"]
            .map(Into::into)
            .to_vec(),
        name: "test".into(),
        load: LoadOptions {
            queue_limit: 16,
            ..LoadOptions::new(model)
        },
        restart: RestartPolicy {
            backoff_base: Duration::from_millis(20),
            ..RestartPolicy::default()
        },
    }
}

async fn ready(config: WorkerConfig) -> WorkerEngine {
    let engine = WorkerEngine::spawn(config);
    reaches(&engine, |state| matches!(state, EngineState::Ready(_))).await;
    engine
}

/// Waits for a state; gives it.
async fn reaches(engine: &WorkerEngine, wanted: impl FnMut(&EngineState) -> bool) -> EngineState {
    let mut state = engine.state();
    let reached = tokio::time::timeout(DEADLINE, state.wait_for(wanted)).await;
    reached
        .expect("the state is reached in time")
        .unwrap()
        .clone()
}

/// Waits for a condition that nothing announces.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let looked = async {
        while !holds() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(DEADLINE, looked).await.expect(what);
}

fn job(text: &str) -> Job {
    Job {
        request_id: "r".into(),
        prompt: Prompt::Text {
            text: text.into(),
            parse_special: false,
        },
        sampling: Sampling::default(),
        seed: 1,
        max_tokens: None,
        stop: Vec::new(),
        grammar: Grammar::None,
        logprobs: Some(1),
        prompt_logprobs: false,
        show_special: false,
        resume: None,
    }
}

async fn next(events: &mut mpsc::Receiver<Event>) -> Option<Event> {
    let event = tokio::time::timeout(DEADLINE, events.recv()).await;
    event.expect("the next event comes in time")
}

/// An answer as its client sees it.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    text: String,
    tokens: Vec<u32>,
    logprobs: usize,
    started: usize,
    end: Option<Event>,
}

impl Seen {
    fn add(&mut self, event: Event) {
        assert_eq!(self.end, None, "nothing follows the end");
        match event {
            Event::Queued { .. } => assert_eq!(self.started, 0, "queued comes before started"),
            Event::Started { .. } => self.started += 1,
            Event::Delta(delta) => {
                self.text.push_str(&delta.text);
                self.tokens.extend(delta.tokens);
                self.logprobs += delta.logprobs.len();
            }
            end => self.end = Some(end),
        }
    }

    async fn read(&mut self, events: &mut mpsc::Receiver<Event>, count: usize) {
        for _ in 0..count {
            match next(events).await {
                Some(event) => self.add(event),
                None => return,
            }
        }
    }

    async fn rest(mut self, events: &mut mpsc::Receiver<Event>) -> Self {
        self.read(events, usize::MAX).await;
        self
    }
}

fn exists(pid: u32) -> bool {
    // A zombie is still there.
    Path::new(&format!("/proc/{pid}")).exists()
}
