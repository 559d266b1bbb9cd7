//! The promises of `Engine`, kept without a model.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::engine::{Delta, FinishReason, Sampling};

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
        logprobs: None,
        prompt_logprobs: false,
        show_special: false,
        resume: None,
    }
}

async fn all(mut events: mpsc::Receiver<Event>) -> Vec<Event> {
    let mut list = Vec::new();
    while let Some(event) = events.recv().await {
        list.push(event);
    }
    list
}

fn text(events: &[Event]) -> String {
    let part = |event: &Event| match event {
        Event::Delta(Delta { text, .. }) => text.clone(),
        _ => String::new(),
    };
    events.iter().map(part).collect()
}

fn finish(events: &[Event]) -> (FinishReason, Option<String>, u32) {
    match events.last() {
        Some(Event::Finished {
            reason,
            stop,
            completion_tokens,
            ..
        }) => (*reason, stop.clone(), *completion_tokens),
        other => panic!("ended with {other:?}"),
    }
}

#[tokio::test]
async fn echoes() {
    let engine = FakeEngine::default();
    let events = all(engine.generate(job("grüß dich")).await.unwrap()).await;
    assert_eq!(text(&events), "grüß dich");
    assert_eq!(finish(&events), (FinishReason::Stop, None, 9));
    assert_eq!(engine.load().decode_tokens, 9);
    assert_eq!(engine.load().running, 0);
}

#[tokio::test]
async fn stops_across_tokens_and_at_the_limit() {
    let engine = FakeEngine::default();
    let mut wanted = job("one END two");
    wanted.stop = vec!["END".into(), "zzz".into()];
    let events = all(engine.generate(wanted.clone()).await.unwrap()).await;
    assert_eq!(text(&events), "one ");
    assert_eq!(finish(&events).1.as_deref(), Some("END"));
    wanted.max_tokens = Some(3);
    let events = all(engine.generate(wanted).await.unwrap()).await;
    assert_eq!(
        (text(&events).as_str(), finish(&events).0),
        ("one", FinishReason::Length)
    );
}

#[tokio::test]
async fn resumes_at_every_position() {
    let engine = FakeEngine::default();
    let whole = "one two ENdless";
    for at in 0..=whole.len() {
        let mut wanted = job(whole);
        wanted.stop = vec!["END".into()];
        wanted.resume = Some(Resume {
            tokens: whole[..at].chars().map(u32::from).collect(),
            sent_text_bytes: at.saturating_sub(2),
        });
        let events = all(engine.generate(wanted).await.unwrap()).await;
        assert_eq!(text(&events), &whole[at.saturating_sub(2)..]);
        assert_eq!(finish(&events).2, 15);
    }
}

#[tokio::test]
async fn queues_then_refuses_then_frees_on_cancel() {
    let config = FakeConfig {
        queue_limit: 1,
        ..FakeConfig::default()
    };
    let config = config.with_parallel(1);
    let engine = FakeEngine::new(config.with_script(|job| Script::echo(job).ending(End::Hang)));
    let mut first = engine.generate(job("a")).await.unwrap();
    assert!(matches!(first.recv().await, Some(Event::Started { .. })));
    let mut second = engine.generate(job("b")).await.unwrap();
    assert_eq!(second.recv().await, Some(Event::Queued { position: 0 }));
    let refused = engine.generate(job("c")).await.map(drop);
    assert_eq!(refused, Err(JobError::Overloaded { waiting: 1 }));
    drop(first);
    assert!(matches!(second.recv().await, Some(Event::Started { .. })));
}

#[tokio::test]
async fn remembers_prefixes() {
    let engine = FakeEngine::default();
    all(engine.generate(job("hello you")).await.unwrap()).await;
    let events = all(engine.generate(job("hello all")).await.unwrap()).await;
    assert!(matches!(
        events[0],
        Event::Started {
            cached_tokens: 6,
            ..
        }
    ));
}

#[tokio::test]
async fn fails_on_demand() {
    let script = |job: &Job| Script::echo(job).ending(End::Fail(JobError::WorkerLost));
    let engine = FakeEngine::new(FakeConfig::default().with_script(script));
    let events = all(engine.generate(job("abc")).await.unwrap()).await;
    assert_eq!(text(&events), "abc");
    assert_eq!(events.last(), Some(&Event::Failed(JobError::WorkerLost)));
}

#[tokio::test(start_paused = true)]
async fn drains() {
    let script = |job: &Job| Script::echo(job).ending(End::Hang);
    let engine = FakeEngine::new(FakeConfig::default().with_script(script));
    let events = engine.generate(job("abc")).await.unwrap();
    engine.drain(Duration::from_secs(5)).await;
    assert_eq!(
        all(events).await.last(),
        Some(&Event::Failed(JobError::Stopping))
    );
    let refused = engine.generate(job("c")).await.map(drop);
    assert_eq!(refused, Err(JobError::Stopping));
}

#[tokio::test]
async fn refuses_what_an_engine_refuses() {
    let engine = FakeEngine::default();
    let empty = engine.generate(job("")).await.map(drop);
    assert!(matches!(empty, Err(JobError::Invalid(_))));
    let long = engine.generate(job(&"x".repeat(5000))).await.map(drop);
    assert!(matches!(long, Err(JobError::ContextLengthExceeded { .. })));
    let (vectors, tokens) = engine
        .embed(vec![job("ab").prompt, job("c").prompt])
        .await
        .unwrap();
    assert_eq!((vectors.len(), tokens), (2, 3));
    let length: f32 = vectors[0].iter().map(|x| x * x).sum();
    assert!((length - 1.0).abs() < 1e-5);
}
