//! Many requests through one socket: backpressure, queues, cancellation, draining, and what is
//! said that should not be.

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use bytes::BytesMut;
use llama_sys::engine::{FinishReason, JobError};
use llama_sys::worker::ipc::{self, Message, Task, VERSION};

use super::child::counted;
use super::*;

#[tokio::test]
async fn a_slow_reader_stalls_nobody_else() {
    let engine = ready(config("fake")).await;
    let mut slow = engine.generate(job("long")).await.unwrap();
    for _ in 0..3 {
        let mut events = engine.generate(job("count")).await.unwrap();
        assert_eq!(Seen::default().rest(&mut events).await.text, counted());
    }
    // Far more than its windows was to come, and it all comes.
    let seen = Seen::default().rest(&mut slow).await;
    assert_eq!(seen.text.len(), 3000);
    assert!(matches!(
        seen.end,
        Some(Event::Finished {
            reason: FinishReason::Stop,
            completion_tokens: 3000,
            ..
        })
    ));
}

#[tokio::test]
async fn more_than_slots_and_queue_hold_is_refused() {
    let mut config = config("fake");
    config.load.parallel = 1;
    config.load.queue_limit = 2;
    let engine = ready(config).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(engine.generate(job("hang")).await.unwrap());
    }
    assert_eq!((engine.load().running, engine.load().waiting), (1, 2));
    let refused = engine.generate(job("hang")).await.map(drop);
    assert!(
        matches!(refused, Err(JobError::Overloaded { .. })),
        "{refused:?}"
    );
    // Whoever goes makes room, at the head of the queue as elsewhere.
    drop(streams.remove(0));
    let second = &mut streams[0];
    until("the second job starts", || {
        matches!(second.try_recv(), Ok(Event::Started { .. }))
    })
    .await;
    drop(streams);
    until("nothing runs", || engine.load().running == 0).await;
}

#[tokio::test]
async fn refusals_come_as_such() {
    let engine = ready(config("fake")).await;
    let refused = engine.generate(job("")).await.map(drop);
    assert!(matches!(refused, Err(JobError::Invalid(_))), "{refused:?}");
    let refused = engine.generate(job(&"x".repeat(5000))).await.map(drop);
    assert_eq!(
        refused,
        Err(JobError::ContextLengthExceeded {
            prompt_tokens: 5000,
            context_length: 4096
        })
    );
    let refused = engine
        .generate(job(&"x".repeat(ipc::MAX_FRAME_BYTES)))
        .await
        .map(drop);
    assert!(matches!(refused, Err(JobError::Invalid(_))), "{refused:?}");
    assert_eq!(engine.load().restarts, 0);
}

#[tokio::test]
async fn draining_lets_answers_end_and_refuses_new_ones() {
    let engine = ready(config("fake")).await;
    let pid = engine.worker_pid().unwrap();
    let mut events = engine.generate(job("count")).await.unwrap();
    let reader = tokio::spawn(async move { Seen::default().rest(&mut events).await });
    engine.drain(DEADLINE).await;
    assert!(!exists(pid));
    assert_eq!(reader.await.unwrap().text, counted());
    let refused = engine.generate(job("count")).await.map(drop);
    assert_eq!(refused, Err(JobError::Stopping));
    assert_eq!(*engine.state().borrow(), EngineState::Draining);
}

#[tokio::test]
async fn draining_ends_at_its_deadline() {
    let engine = ready(config("fake")).await;
    let mut events = engine.generate(job("hang")).await.unwrap();
    engine.drain(Duration::from_millis(50)).await;
    let seen = Seen::default().rest(&mut events).await;
    assert_eq!(seen.end, Some(Event::Failed(JobError::Stopping)));
}

#[tokio::test]
async fn the_load_is_counted_over_restarts() {
    let engine = ready(config("fake")).await;
    let mut events = engine.generate(job("hello")).await.unwrap();
    Seen::default().rest(&mut events).await;
    until("tokens are counted", || engine.load().decode_tokens == 5).await;
    let load = engine.load();
    assert!(load.memory_bytes > 1 << 20, "{load:?}");
    assert_eq!((load.running, load.waiting, load.prefill_tokens), (0, 0, 5));
}

fn raw_worker() -> (UnixStream, Child) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(DEADLINE)).unwrap();
    let config = config("fake");
    let child = Command::new(config.program)
        .args(config.args)
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    (ours, child.unwrap())
}

#[test]
fn a_worker_of_another_version_says_so() {
    let (mut socket, mut child) = raw_worker();
    let hello = Message::Hello {
        version: VERSION + 1,
        task: Task::Devices,
    };
    let mut bytes = BytesMut::new();
    ipc::encode(hello, &mut bytes).unwrap();
    socket.write_all(&bytes).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let answer = ipc::take(&mut BytesMut::from(&answer[..])).unwrap();
    assert!(matches!(answer, Some(Message::LoadRefused(cause)) if cause.contains("replaced")));
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_worker_that_hears_garbage_ends() {
    for garbage in [&b"\0\0\0\x05hello"[..], &[0xff; 64], &[0, 0, 0, 0]] {
        let (mut socket, mut child) = raw_worker();
        socket.write_all(garbage).unwrap();
        assert!(!child.wait().unwrap().success());
    }
}
