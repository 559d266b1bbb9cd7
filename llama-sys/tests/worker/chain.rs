//! A chain of real worker processes: a head and two slices of a model, and what is left of it when
//! one of them is killed.

use std::path::Path;
use std::sync::Arc;

use llama_sys::engine::Speculate;
use llama_sys::gguf::Model;
use llama_sys::gguf::slice::{Materialising, SlicePlan, Sliceable, materialise};
use llama_sys::stage::{FromHead, FromStage, HeadConfig, Precision, SliceConfig, ToHead};
use llama_sys::supervisor::{
    HeadWorkerConfig, RingPort, RingTeller, SliceState, SliceWorker, SliceWorkerConfig,
};
use tokio::task::JoinSet;

use super::real::{kill, moe, product, sampled, stop};
use super::*;

const CONTEXT: u32 = 512;

fn written(folder: &Path, name: &str, plan: SlicePlan, model: &Model) -> PathBuf {
    let file = folder.join(name);
    let order = Materialising {
        plan: Arc::new(plan),
        files: &model.files,
        to: &file,
        budget_bytes: u64::MAX,
    };
    materialise(&order, &mut |_, _| true).unwrap();
    file
}

async fn head(folder: &Path, model: &Model) -> (WorkerEngine, RingPort) {
    let plan = Sliceable::of(&model.headers).unwrap().head().unwrap();
    let WorkerConfig {
        program,
        args,
        restart,
        ..
    } = product("");
    let config = HeadWorkerConfig {
        program,
        args,
        name: "head".into(),
        head: HeadConfig {
            file: written(folder, "head.gguf", plan, model),
            context_length: CONTEXT,
            parallel: 4,
            cells: CONTEXT,
            sequences: 8,
            batch_tokens: 64,
            queue_limit: 8,
            precision: Precision::F32,
            embedding_scale: 1.0,
            memory_limit_bytes: None,
            speculate: Speculate::Off,
            draft: None,
        },
        restart,
    };
    let (engine, port) = WorkerEngine::spawn_head(config);
    reaches(&engine, |state| matches!(state, EngineState::Ready(_))).await;
    (engine, port)
}

async fn slice(
    folder: &Path,
    model: &Model,
    layers: std::ops::Range<u32>,
) -> (SliceWorker, mpsc::Receiver<FromStage>) {
    let sliceable = Sliceable::of(&model.headers).unwrap();
    let plan = sliceable.stage(layers.clone()).unwrap();
    let WorkerConfig { program, args, .. } = product("");
    let config = SliceWorkerConfig {
        program,
        args,
        name: format!("{layers:?}"),
        slice: SliceConfig {
            file: written(folder, &format!("{}.gguf", layers.start), plan, model),
            cells: CONTEXT,
            sequences: 8,
            batch_tokens: 64,
            threads: Some(1),
            gpu_layers: None,
            is_last: layers.end == model.facts.layers,
            input_scale: 1.0,
            precision: Precision::F32,
            memory_limit_bytes: None,
        },
    };
    let (worker, said) = SliceWorker::spawn(config);
    let mut state = worker.state();
    let ready = state.wait_for(|state| matches!(state, SliceState::Ready(_)));
    let ready = tokio::time::timeout(DEADLINE, ready).await.unwrap();
    assert!(
        matches!(&*ready.unwrap(), SliceState::Ready(info) if info.layers == layers.end - layers.start)
    );
    (worker, said)
}

/// Carries payloads between the processes; what breaks comes out of the receiver.
fn carry(
    mut port: RingPort,
    stages: [(&SliceWorker, mpsc::Receiver<FromStage>); 2],
) -> (JoinSet<()>, RingTeller, mpsc::Receiver<String>) {
    let (told, broken) = mpsc::channel(16);
    let teller = port.teller();
    let [(first, mut first_said), (last, mut last_said)] = stages;
    let (first, last) = (first.payloads(), last.payloads());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Some(said) = port.next().await {
            match said {
                FromHead::Forward(payload) => drop(first.send(payload).await),
                FromHead::Broken(cause) => drop(told.send(cause).await),
            }
        }
    });
    tasks.spawn(async move {
        while let Some(said) = first_said.recv().await {
            if let FromStage::Next(payload) = said {
                let _ = last.send(payload).await;
            }
        }
    });
    let back = teller.clone();
    tasks.spawn(async move {
        while let Some(said) = last_said.recv().await {
            if let FromStage::Back(payload) = said {
                back.tell(ToHead::Back(payload)).await;
            }
        }
    });
    (tasks, teller, broken)
}

#[tokio::test]
async fn a_chain_of_processes_answers_as_the_whole_model_and_outlives_its_head() {
    let folder = tempfile::tempdir().unwrap();
    let model = Model::open(moe()).unwrap();
    let (head, port) = head(folder.path(), &model).await;
    let (first, first_said) = slice(folder.path(), &model, 0..2).await;
    let (last, last_said) = slice(folder.path(), &model, 2..5).await;
    let stages = [(&first, first_said), (&last, last_said)];
    let (_carriers, teller, mut broken) = carry(port, stages);
    teller.tell(ToHead::Up(1)).await;

    let whole = ready(product(moe())).await;
    let job = sampled("Once upon a time", 1.0);
    let expected = Seen::default()
        .rest(&mut whole.generate(job.clone()).await.unwrap())
        .await;
    let answer = Seen::default()
        .rest(&mut head.generate(job.clone()).await.unwrap())
        .await;
    assert_eq!(answer.text, expected.text);
    assert_eq!(answer.tokens, expected.tokens);

    // The head's process is killed in mid-answer; the next one is told of another ring.
    let mut events = head.generate(job).await.unwrap();
    let mut seen = Seen::default();
    seen.read(&mut events, 5).await;
    let pid = head.worker_pid().unwrap();
    kill(pid);
    let cause = tokio::time::timeout(DEADLINE, broken.recv()).await.unwrap();
    assert!(cause.unwrap().contains("ended"));
    reaches(&head, |state| matches!(state, EngineState::Ready(_))).await;
    teller.tell(ToHead::Up(2)).await;
    let answer = seen.rest(&mut events).await;
    assert_eq!(answer.text, expected.text);
    assert_eq!(answer.tokens, expected.tokens);
}

/// What a head sends that is no payload of a chain: the slice says so, for as long as it runs.
fn nonsense() -> bytes::Bytes {
    bytes::Bytes::from_static(b"no payload")
}

#[tokio::test]
async fn a_slice_whose_process_is_stopped_ends_within_a_second_or_so_of_its_next_payload() {
    let folder = tempfile::tempdir().unwrap();
    let model = Model::open(moe()).unwrap();
    let (worker, mut said) = slice(folder.path(), &model, 0..2).await;
    worker.payloads().send(nonsense()).await.unwrap();
    assert!(matches!(said.recv().await, Some(FromStage::Broken(_))));
    // Nothing is owed, so nothing is asked: this is no test of time.
    let pid = worker.pid().unwrap();
    stop(pid);
    worker.payloads().send(nonsense()).await.unwrap();
    let mut state = worker.state();
    let ended = state.wait_for(|state| matches!(state, SliceState::Ended(_)));
    let ended = tokio::time::timeout(DEADLINE, ended).await.unwrap();
    assert!(matches!(&*ended.unwrap(), SliceState::Ended(cause) if cause.contains("stopped")));
}

#[tokio::test]
async fn a_slice_that_is_no_model_ends_with_its_cause() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("none.gguf");
    std::fs::write(&file, b"GGUF and nothing more").unwrap();
    let WorkerConfig { program, args, .. } = product("");
    let config = SliceWorkerConfig {
        program,
        args,
        name: "none".into(),
        slice: SliceConfig {
            file,
            cells: CONTEXT,
            sequences: 8,
            batch_tokens: 64,
            threads: Some(1),
            gpu_layers: None,
            is_last: true,
            input_scale: 1.0,
            precision: Precision::F32,
            memory_limit_bytes: None,
        },
    };
    let (worker, mut said) = SliceWorker::spawn(config);
    let mut state = worker.state();
    let ended = state.wait_for(|state| matches!(state, SliceState::Ended(_)));
    let ended = tokio::time::timeout(DEADLINE, ended)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(&*ended, SliceState::Ended(cause) if !cause.is_empty()));
    assert!(said.recv().await.is_none());
}
