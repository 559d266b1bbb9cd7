//! The engine on the small fixture models.

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::engine::{
    Delta, FinishReason, Grammar, Resume, Sampling, Speculate, Timing, TokenLogprob,
};

mod answers;
mod chain;
mod drafting;
mod encoder;
mod limits;
mod real;
mod schemas;

/// Longer than any of these tests takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn fixture(name: &str) -> LocalConfig {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name);
    LocalConfig {
        // Small models gain nothing from more, and tests run beside each other.
        threads: Some(1),
        // The shape of batches is then the same each time.
        speculate: Speculate::Off,
        ..LocalConfig::new(path)
    }
}

pub(super) fn moe() -> LocalConfig {
    fixture("tiny-moe-q8_0.gguf")
}

/// The same bits whatever else is in a batch.
pub(super) fn exact() -> LocalConfig {
    LocalConfig {
        micro_batch_tokens: Some(1),
        ..moe()
    }
}

pub(super) fn load(config: &LocalConfig) -> LocalEngine {
    LocalEngine::load(config, |_| true).unwrap()
}

pub(super) fn job(prompt: &str, tokens: u32) -> Job {
    Job {
        request_id: "test".into(),
        prompt: Prompt::Text {
            text: prompt.into(),
            parse_special: true,
        },
        sampling: Sampling {
            temperature: 0.0,
            ..Sampling::default()
        },
        seed: 7,
        max_tokens: Some(tokens),
        stop: Vec::new(),
        grammar: Grammar::None,
        logprobs: None,
        prompt_logprobs: false,
        show_special: false,
        resume: None,
    }
}

/// All that came out of a job.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) tokens: Vec<u32>,
    pub(super) logprobs: Vec<TokenLogprob>,
    pub(super) deltas: Vec<Delta>,
    pub(super) prompt: Vec<TokenLogprob>,
    pub(super) prompt_tokens: u32,
    pub(super) cached_tokens: u32,
    pub(super) queued: Vec<u32>,
    pub(super) finish: Option<(FinishReason, Option<String>, u32)>,
    pub(super) timing: Timing,
    pub(super) failed: Option<JobError>,
}

pub(super) async fn collect(mut events: mpsc::Receiver<Event>) -> Answer {
    let mut answer = Answer::default();
    let read = async {
        while let Some(event) = events.recv().await {
            match event {
                Event::Queued { position } => answer.queued.push(position),
                Event::Started {
                    prompt_tokens,
                    cached_tokens,
                    prompt,
                } => {
                    answer.prompt_tokens = prompt_tokens;
                    answer.cached_tokens = cached_tokens;
                    answer.prompt = prompt;
                }
                Event::Delta(delta) => {
                    answer.text.push_str(&delta.text);
                    answer.tokens.extend(&delta.tokens);
                    answer.logprobs.extend(delta.logprobs.iter().cloned());
                    answer.deltas.push(delta);
                }
                Event::Finished {
                    reason,
                    stop,
                    completion_tokens,
                    timing,
                } => {
                    answer.finish = Some((reason, stop, completion_tokens));
                    answer.timing = timing;
                }
                Event::Failed(error) => answer.failed = Some(error),
            }
        }
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("the answer ends");
    answer
}

pub(super) async fn ask(engine: &LocalEngine, job: Job) -> Answer {
    collect(engine.generate(job).await.unwrap()).await
}

/// The job that goes on after the first `n` deltas of `answer`.
pub(super) fn resumed(mut job: Job, answer: &Answer, n: usize) -> Job {
    let deltas = &answer.deltas[..n];
    job.resume = Some(Resume {
        tokens: deltas.iter().flat_map(|d| d.tokens.clone()).collect(),
        sent_text_bytes: deltas.iter().map(|d| d.text.len()).sum(),
    });
    job
}
