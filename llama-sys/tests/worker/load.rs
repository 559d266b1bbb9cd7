//! Loads that fail in every way.

use llama_sys::engine::JobError;

use super::*;

/// Waits until the model is given up; gives the cause.
async fn given_up(engine: &WorkerEngine) -> String {
    match reaches(engine, |state| matches!(state, EngineState::Failed(_))).await {
        EngineState::Failed(cause) => cause,
        _ => unreachable!("that was waited for"),
    }
}

#[tokio::test]
async fn a_refused_load_is_final_and_tells_why() {
    let engine = WorkerEngine::spawn(config("refuse"));
    let waiting = engine.generate(job("x")).await;
    assert_eq!(given_up(&engine).await, "the file has no tensors");
    let failed = JobError::LoadFailed("the file has no tensors".into());
    if let Ok(mut events) = waiting {
        let end = Seen::default().rest(&mut events).await.end;
        assert_eq!(end, Some(Event::Failed(failed.clone())));
    }
    assert_eq!(engine.generate(job("x")).await.map(drop), Err(failed));
    assert_eq!(engine.load().restarts, 0);
    assert_eq!(engine.worker_pid(), None);
}

#[tokio::test]
async fn an_abort_while_loading_is_tried_again_and_given_up() {
    let engine = WorkerEngine::spawn(config("abort"));
    let restarting = |state: &EngineState| matches!(state, EngineState::Restarting { cause, .. } if cause.contains("GGML_ASSERT"));
    reaches(&engine, restarting).await;
    let cause = given_up(&engine).await;
    assert!(
        cause.contains("SIGABRT") && cause.contains("GGML_ASSERT(n_head > 0)"),
        "{cause}"
    );
    assert_eq!(engine.load().restarts, 2);
}

#[tokio::test]
async fn a_load_that_hangs_is_ended() {
    let mut config = config("hang");
    config.restart.load_stall = Duration::from_millis(300);
    let engine = WorkerEngine::spawn(config);
    let mut events = engine.generate(job("x")).await.unwrap();
    assert!(matches!(
        next(&mut events).await,
        Some(Event::Queued { .. })
    ));
    let cause = given_up(&engine).await;
    assert!(cause.contains("it has hung"), "{cause}");
    let end = Seen::default().rest(&mut events).await.end;
    assert!(matches!(end, Some(Event::Failed(JobError::LoadFailed(_)))));
}

#[tokio::test]
async fn a_program_that_is_not_there_is_given_up() {
    let mut config = config("fake");
    config.program = "/no/such/program".into();
    let cause = given_up(&WorkerEngine::spawn(config)).await;
    assert!(cause.contains("could not be started"), "{cause}");
}

#[tokio::test]
async fn a_program_that_is_no_worker_is_given_up() {
    let mut config = config("fake");
    config.program = "/bin/true".into();
    let cause = given_up(&WorkerEngine::spawn(config)).await;
    assert!(cause.contains("exit status: 0"), "{cause}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_memory_limit_holds() {
    let mut config = config("hungry");
    config.load.memory_limit_bytes = Some(256 << 20);
    let engine = WorkerEngine::spawn(config);
    let cause = given_up(&engine).await;
    assert!(cause.contains("memory allocation of"), "{cause}");
}

#[tokio::test]
async fn a_worker_that_talks_garbage_is_ended() {
    for (model, words) in [("garbage", "no message"), ("oversize", "bytes")] {
        let cause = given_up(&WorkerEngine::spawn(config(model))).await;
        assert!(cause.contains(words), "{cause}");
    }
}

#[tokio::test]
async fn a_flood_on_standard_error_hurts_nobody() {
    let engine = ready(config("flood")).await;
    let mut events = engine.generate(job("hello")).await.unwrap();
    assert_eq!(Seen::default().rest(&mut events).await.text, "hello");
}

#[tokio::test]
async fn jobs_wait_for_the_load_within_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let gate = dir.path().join("gate");
    let mut config = config(gate.as_path());
    config.load.parallel = 1;
    config.load.queue_limit = 1;
    let engine = WorkerEngine::spawn(config);
    let mut first = engine.generate(job("first")).await.unwrap();
    let mut second = engine.generate(job("second")).await.unwrap();
    assert_eq!(next(&mut first).await, Some(Event::Queued { position: 0 }));
    assert_eq!(next(&mut second).await, Some(Event::Queued { position: 1 }));
    let refused = engine.generate(job("third")).await.map(drop);
    assert!(matches!(refused, Err(JobError::Overloaded { .. })));
    until("both wait", || engine.load().waiting == 2).await;
    std::fs::write(&gate, "").unwrap();
    assert_eq!(Seen::default().rest(&mut first).await.text, "first");
    assert_eq!(Seen::default().rest(&mut second).await.text, "second");
}

#[tokio::test]
async fn draining_while_loading_ends_at_once() {
    let engine = WorkerEngine::spawn(config("hang"));
    let mut events = engine.generate(job("x")).await.unwrap();
    engine.drain(DEADLINE).await;
    let end = Seen::default().rest(&mut events).await.end;
    assert_eq!(end, Some(Event::Failed(JobError::Stopping)));
    assert_eq!(engine.worker_pid(), None);
}
