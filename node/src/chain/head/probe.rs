//! Whether a ring that is joined works.

use std::time::Duration;

use llama_sys::engine::{Engine as _, EngineState, Event, Grammar, Job, Prompt, Sampling};
use llama_sys::supervisor::WorkerEngine;

use super::ring::Batches;

/// A probe that waits for its turn behind sessions that go on is not waited for: after this any
/// batch that comes around will do.
const PROBE_TURN: Duration = Duration::from_secs(1);

/// Whether the ring works: one token comes around, or, where it must wait for its turn, a batch of
/// those that go on.
pub(super) async fn probed(worker: &WorkerEngine, batches: &Batches) -> bool {
    let others = async {
        tokio::time::sleep(PROBE_TURN).await;
        batches.moved().await;
    };
    tokio::select! {
        biased;
        is_up = one_token(worker) => is_up,
        () = others => true,
    }
}

/// Whether one token comes around.
async fn one_token(worker: &WorkerEngine) -> bool {
    let mut state = worker.state();
    let ready = state.wait_for(|state| matches!(state, EngineState::Ready(_)));
    if ready.await.is_err() {
        return false;
    }
    let job = Job {
        request_id: "probe".into(),
        prompt: Prompt::Tokens(vec![0]),
        sampling: Sampling {
            temperature: 0.0,
            ..Sampling::default()
        },
        seed: 0,
        max_tokens: Some(1),
        stop: Vec::new(),
        grammar: Grammar::None,
        logprobs: None,
        prompt_logprobs: false,
        show_special: false,
        resume: None,
    };
    let Ok(mut events) = worker.generate(job).await else {
        return false;
    };
    while let Some(event) = events.recv().await {
        match event {
            Event::Finished { .. } => return true,
            Event::Failed(_) => return false,
            _ => {}
        }
    }
    false
}
