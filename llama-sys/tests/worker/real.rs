//! The product's worker with llama.cpp in it.

use std::path::PathBuf;

use llama_sys::devices::{self, DeviceKind};
use llama_sys::engine::{JobError, Speculate};
use llama_sys::gguf::{Builder, specimen};
use llama_sys::local::{LocalConfig, LocalEngine};
use llama_sys::supervisor::WORKER_COMMAND;
use rustix::process::{Pid, Signal, kill_process};

use super::*;

/// Tokens of an answer here.
const TOKENS: u32 = 60;

pub(super) fn serve_if_started_as_worker() {
    if child::is_worker() {
        let _ = llama_sys::worker::run();
        std::process::exit(0);
    }
}

pub(super) fn product(model: impl Into<PathBuf>) -> WorkerConfig {
    let mut config = config(model);
    config.args[1] = "product_worker_child".into();
    config.load.threads = Some(1);
    config.load.speculate = Speculate::Off;
    config.load.context_length = Some(512);
    config
}

pub(super) fn moe() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tiny-moe-q8_0.gguf")
}

fn written(specimen: &Builder) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("specimen.gguf");
    std::fs::write(&path, specimen.bytes()).unwrap();
    (dir, path)
}

pub(super) fn sampled(prompt: &str, temperature: f32) -> Job {
    let mut job = job(prompt);
    job.sampling.temperature = temperature;
    job.max_tokens = Some(TOKENS);
    job
}

pub(super) fn stop(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
}

pub(super) fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_worker_answers_as_the_engine_in_it() {
    let local = LocalConfig {
        threads: Some(1),
        context_length: Some(512),
        parallel: Some(4),
        // The shape of batches is then the same in both.
        speculate: Speculate::Off,
        ..LocalConfig::new(moe())
    };
    let local = tokio::task::spawn_blocking(move || LocalEngine::load(&local, |_| true));
    let local = local.await.unwrap().unwrap();
    let worker = ready(product(moe())).await;
    assert_eq!(
        *worker.state().borrow(),
        EngineState::Ready(local.info().clone())
    );
    for temperature in [0.0, 1.0] {
        let job = sampled("Once upon a time", temperature);
        let mut here = local.generate(job.clone()).await.unwrap();
        let mut there = worker.generate(job).await.unwrap();
        let here = Seen::default().rest(&mut here).await;
        let there = Seen::default().rest(&mut there).await;
        assert_eq!(here.text, there.text);
        assert_eq!(here.tokens, there.tokens);
        assert!(
            matches!(there.end, Some(Event::Finished { .. })),
            "{:?}",
            there.end
        );
    }
    let text = "a text".to_owned();
    let tokens = local.tokenize(text.clone(), false).await.unwrap();
    assert_eq!(worker.tokenize(text, false).await.unwrap(), tokens);
    assert_eq!(
        worker.detokenize(tokens.clone()).await.unwrap(),
        local.detokenize(tokens).await.unwrap()
    );
    let inputs = vec![job("one").prompt, job("and another").prompt];
    assert_eq!(
        worker.embed(inputs.clone()).await,
        local.embed(inputs).await
    );
}

#[tokio::test]
async fn a_killed_worker_goes_on_with_the_same_answer() {
    let engine = ready(product(moe())).await;
    let job = sampled("Once upon a time", 1.0);
    let mut events = engine.generate(job.clone()).await.unwrap();
    let whole = Seen::default().rest(&mut events).await;
    for at in [1, 5, 20] {
        let mut events = engine.generate(job.clone()).await.unwrap();
        let mut seen = Seen::default();
        seen.read(&mut events, at).await;
        kill(engine.worker_pid().unwrap());
        let seen = seen.rest(&mut events).await;
        assert_eq!(seen.text, whole.text, "killed after {at} events");
        assert_eq!(seen.tokens, whole.tokens);
        assert_eq!(seen.logprobs, whole.logprobs);
        let tokens = |end: &Option<Event>| match end {
            Some(Event::Finished {
                completion_tokens, ..
            }) => *completion_tokens,
            other => panic!("it ended with {other:?}"),
        };
        assert_eq!(tokens(&seen.end), tokens(&whole.end));
    }
}

#[tokio::test]
async fn models_that_abort_llama_cpp_are_given_up() {
    for specimen in [
        specimen::aborts_while_loading(),
        specimen::aborts_at_context(),
    ] {
        let (_dir, path) = written(&specimen);
        let engine = WorkerEngine::spawn(product(path));
        let restarting = |state: &EngineState| matches!(state, EngineState::Restarting { .. });
        reaches(&engine, restarting).await;
        let failed = reaches(&engine, |state| matches!(state, EngineState::Failed(_))).await;
        let EngineState::Failed(cause) = failed else {
            unreachable!("that was waited for")
        };
        assert!(cause.contains("GGML_ASSERT"), "{cause}");
        let refused = engine.generate(job("x")).await.map(drop);
        assert_eq!(refused, Err(JobError::LoadFailed(cause)));
    }
}

#[tokio::test]
async fn requests_that_abort_llama_cpp_are_refused_and_others_answered() {
    let (_dir, path) = written(&specimen::aborts_at_first_text());
    let engine = ready(product(path)).await;
    for text in ["hello", "you"] {
        reaches(&engine, |state| matches!(state, EngineState::Ready(_))).await;
        let refused = engine.generate(job(text)).await.map(drop);
        assert!(
            matches!(refused, Err(JobError::Inference(_))),
            "{refused:?}"
        );
    }
    let mut tokens = sampled("", 0.0);
    tokens.prompt = Prompt::Tokens(vec![1, 7, 9]);
    let mut events = engine.generate(tokens).await.unwrap();
    let end = Seen::default().rest(&mut events).await.end;
    assert!(matches!(end, Some(Event::Finished { .. })), "{end:?}");
}

#[tokio::test]
async fn a_file_that_is_no_model_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("junk.gguf");
    for content in [None, Some(&b"GGUF and then nothing"[..])] {
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let engine = WorkerEngine::spawn(product(&path));
        reaches(&engine, |state| matches!(state, EngineState::Failed(_))).await;
        assert_eq!(engine.load().restarts, 0);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_model_that_needs_more_memory_than_allowed_fails() {
    let mut config = product(moe());
    config.load.memory_limit_bytes = Some(48 << 20);
    config.load.cells = Some(1 << 20);
    let engine = WorkerEngine::spawn(config);
    reaches(&engine, |state| matches!(state, EngineState::Failed(_))).await;
}

#[tokio::test]
async fn devices_are_listed_and_measured_in_a_worker() {
    let config = product("");
    let listed = devices::detect(&config.program, &config.args)
        .await
        .unwrap();
    let cpu = listed
        .iter()
        .find(|device| device.kind == DeviceKind::Cpu)
        .unwrap();
    assert!(cpu.memory_total_bytes > 1 << 28, "{cpu:?}");
    let measured = devices::bench(&config.program, &config.args, None)
        .await
        .unwrap();
    let cpu = &measured.iter().find(|m| m.device.name == cpu.name).unwrap();
    assert_eq!(cpu.failure, None);
    let json = serde_json::to_string(&measured).unwrap();
    let read: Vec<devices::Measurement> = serde_json::from_str(&json).unwrap();
    assert_eq!(read.len(), measured.len());
}

#[test]
fn a_product_worker_is_started_by_its_command() {
    let config = WorkerConfig::new("shoal", "m", LoadOptions::new("m.gguf"));
    assert_eq!(config.args, [WORKER_COMMAND]);
}
