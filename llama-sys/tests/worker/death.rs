//! Deaths in mid-answer, of the worker and of its parent.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use llama_sys::engine::JobError;
use rustix::process::{Pid, Signal, kill_process};

use super::child::{COUNTED, counted};
use super::*;

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

#[tokio::test]
async fn an_answer_survives_its_worker_and_is_the_same() {
    let engine = ready(config("fake")).await;
    let mut events = engine.generate(job("count")).await.unwrap();
    let whole = Seen::default().rest(&mut events).await;
    assert_eq!(whole.text, counted());

    for at in [0, 1, 2, 40, 150] {
        let restarts = engine.load().restarts;
        let mut events = engine.generate(job("count")).await.unwrap();
        let mut seen = Seen::default();
        seen.read(&mut events, at).await;
        kill(engine.worker_pid().unwrap());
        let seen = seen.rest(&mut events).await;
        assert_eq!(seen, whole, "killed after {at} events");
        assert_eq!(engine.load().restarts, restarts + 1);
    }
    assert_eq!(whole.tokens.len(), COUNTED);
    assert_eq!(whole.logprobs, COUNTED);
}

#[tokio::test]
async fn all_answers_survive_two_deaths() {
    let engine = ready(config("fake")).await;
    let mut streams = Vec::new();
    for _ in 0..10 {
        streams.push((
            engine.generate(job("count")).await.unwrap(),
            Seen::default(),
        ));
    }
    for _ in 0..2 {
        let (events, seen) = &mut streams[0];
        seen.read(events, 60).await;
        kill(engine.worker_pid().unwrap());
    }
    for (mut events, seen) in streams {
        assert_eq!(seen.rest(&mut events).await.text, counted());
    }
    assert_eq!(engine.load().restarts, 2);
}

#[tokio::test]
async fn a_poison_is_refused_and_its_neighbours_are_answered() {
    let engine = ready(config("fake")).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push((
            engine.generate(job("count")).await.unwrap(),
            Seen::default(),
        ));
    }
    for (events, seen) in &mut streams {
        seen.read(events, 5).await;
    }
    let refused = engine.generate(job("poison")).await.map(drop);
    assert!(
        matches!(refused, Err(JobError::Inference(_))),
        "{refused:?}"
    );
    for (mut events, seen) in streams {
        assert_eq!(seen.rest(&mut events).await.text, counted());
    }
    let restarts = engine.load().restarts;
    let again = engine.generate(job("poison")).await.map(drop);
    assert_eq!(again, refused);
    assert_eq!(
        engine.load().restarts,
        restarts,
        "it does not reach the worker again"
    );
    reaches(&engine, |state| matches!(state, EngineState::Ready(_))).await;
}

#[tokio::test]
async fn many_poisons_do_not_take_the_model_down() {
    let engine = ready(config("fake")).await;
    for _ in 0..4 {
        let mut poison = job("poison");
        // A variation of it, as an attacker sends it.
        poison.logprobs = Some(u8::try_from(engine.load().restarts).unwrap());
        reaches(&engine, |state| matches!(state, EngineState::Ready(_))).await;
        let refused = engine.generate(poison).await.map(drop);
        assert!(matches!(refused, Err(JobError::Inference(_))));
    }
    let mut events = engine.generate(job("hello")).await.unwrap();
    assert_eq!(Seen::default().rest(&mut events).await.text, "hello");
}

#[tokio::test]
async fn a_panic_in_the_worker_is_a_death_with_its_cause() {
    let engine = ready(config("fake")).await;
    let refused = engine.generate(job("panic")).await.map(drop);
    assert!(matches!(refused, Err(JobError::Inference(_))));
}

#[tokio::test]
async fn a_request_that_hangs_its_worker_is_found() {
    let mut config = config("fake");
    config.restart.run_stall = Duration::from_millis(400);
    let engine = ready(config).await;
    // Its reader stands still for longer than a worker may: that is no hang.
    let mut slow = engine.generate(job("long")).await.unwrap();
    until("the reader's window is full", || {
        slow.len() == slow.max_capacity()
    })
    .await;
    let mut counted_events = engine.generate(job("count")).await.unwrap();
    let seen = Seen::default().rest(&mut counted_events).await;
    assert_eq!((seen.text, engine.load().restarts), (counted(), 0));
    assert_eq!(Seen::default().rest(&mut slow).await.text.len(), 3000);
    let refused = engine.generate(job("stuck")).await.map(drop);
    assert!(
        matches!(refused, Err(JobError::Inference(_))),
        "{refused:?}"
    );
    reaches(&engine, |state| matches!(state, EngineState::Ready(_))).await;
    assert_eq!(engine.load().restarts, 2);
}

#[tokio::test]
async fn short_requests_survive_too() {
    let engine = ready(config("fake")).await;
    kill(engine.worker_pid().unwrap());
    let tokens = engine.tokenize("abc".into(), false).await.unwrap();
    assert_eq!(tokens, [97, 98, 99]);
    assert_eq!(engine.detokenize(tokens).await.unwrap(), "abc");
    let inputs = vec![job("abc").prompt; 300];
    let (vectors, tokens) = engine.embed(inputs).await.unwrap();
    assert_eq!((vectors.len(), tokens), (300, 900));
}

#[tokio::test]
async fn a_worker_ends_and_is_reaped_with_its_handle() {
    let engine = ready(config("fake")).await;
    let pid = engine.worker_pid().unwrap();
    let mut events = engine.generate(job("hang")).await.unwrap();
    drop(engine);
    until("the worker is gone, and no zombie", || !exists(pid)).await;
    let seen = Seen::default().rest(&mut events).await;
    assert_eq!(seen.end, Some(Event::Failed(JobError::Stopping)));
}

#[tokio::test]
async fn a_worker_dies_with_its_parent() {
    for model in ["fake", "hang"] {
        let mut parent = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "intermediate_parent", "--nocapture"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::io::Write::write_all(
            parent.stdin.as_mut().unwrap(),
            format!("{model}\n").as_bytes(),
        )
        .unwrap();
        let mut said = String::new();
        let mut stderr = BufReader::new(parent.stderr.take().unwrap());
        while !said.starts_with("pid ") {
            said.clear();
            assert_ne!(
                stderr.read_line(&mut said).unwrap(),
                0,
                "it starts its worker"
            );
        }
        let pid: u32 = said.trim().strip_prefix("pid ").unwrap().parse().unwrap();
        assert!(exists(pid));
        kill(parent.id());
        parent.wait().unwrap();
        until("the worker is gone", || !runs(pid)).await;
    }
}

/// Whether a process that is not ours to reap has not ended.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
}

pub(super) fn be_parent_if_started_as_one() {
    let mut model = String::new();
    std::io::stdin().lock().read_line(&mut model).unwrap();
    if model.is_empty() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let engine = WorkerEngine::spawn(config(model.trim()));
        until("the worker runs", || engine.worker_pid().is_some()).await;
        if model.trim() == "fake" {
            reaches(&engine, |state| matches!(state, EngineState::Ready(_))).await;
        }
        let line = format!("pid {}\n", engine.worker_pid().unwrap());
        std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
        std::future::pending::<()>().await;
    });
}
