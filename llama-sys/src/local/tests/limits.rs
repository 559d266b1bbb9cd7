//! Many jobs at once, full queues, slow readers, cancelling, stopping.

use super::*;

/// Waits until the engine's load looks as wanted.
async fn until(engine: &LocalEngine, wanted: impl Fn(&Load) -> bool) {
    let waiting = async {
        while !wanted(&Engine::load(engine)) {
            tokio::task::yield_now().await;
        }
    };
    let done = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(done.is_ok(), "{:?}", Engine::load(engine));
}

/// A job that would run for long.
fn endless(seed: u64) -> Job {
    Job {
        seed,
        ..job("0,1,2,3,4,", 900)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_jobs_at_once_answer_as_alone() {
    let engine = load(&exact());
    let prompts = [
        "fn main() {",
        "SELECT * FROM",
        "#include <",
        "La configuration",
        "12+7=",
        "{\"a\":",
        "Der Dienst",
        "class Foo:",
        "el archivo",
        "<p>The",
    ];
    let mut alone = Vec::new();
    for prompt in prompts {
        alone.push(ask(&engine, job(prompt, 24)).await.text);
    }
    // Another engine with fewer places than jobs: they wait, begin at different times, and
    // nothing of them is cached.
    let mut few = exact();
    few.parallel = Some(3);
    let engine = load(&few);
    let mut streams = Vec::new();
    for prompt in prompts {
        streams.push(engine.generate(job(prompt, 24)).await.unwrap());
    }
    let mut waited = 0;
    for (events, alone) in streams.into_iter().zip(alone) {
        let answer = collect(events).await;
        assert_eq!(answer.text, alone);
        assert!(
            answer.queued.is_sorted_by(|a, b| a > b),
            "{:?}",
            answer.queued
        );
        waited += usize::from(!answer.queued.is_empty());
    }
    assert!(waited >= 5, "{waited}");
}

#[tokio::test]
async fn a_shared_beginning_is_computed_once() {
    let engine = load(&exact());
    let long = "def add(a, b):\n    return a + b\n\n".repeat(8);
    let first = ask(&engine, job(&long, 8)).await;
    let again = ask(&engine, job(&long, 8)).await;
    assert_eq!(
        (first.cached_tokens, again.cached_tokens),
        (0, again.prompt_tokens - 1)
    );
    assert_eq!(again.text, first.text);
    let other = ask(&engine, job(&format!("{long}class"), 8)).await;
    assert!(other.cached_tokens + 3 >= first.prompt_tokens, "{other:?}");

    // Shared with an answer that still runs, too.
    let prompt = "import sys\nimport os\n".repeat(6);
    let running = engine.generate(job(&prompt, 400)).await.unwrap();
    until(&engine, |l| l.running == 1 && l.decode_tokens > 24).await;
    let beside = ask(&engine, job(&prompt, 4)).await;
    assert_eq!(beside.cached_tokens, beside.prompt_tokens - 1);
    assert!(collect(running).await.text.starts_with(&beside.text));
}

#[tokio::test]
async fn a_parked_conversation_goes_on_with_the_same_bits() {
    let engine = load(&exact());
    let first = "def add(a, b):\n    return a + b\n\n".repeat(4);
    let whole = ask(&engine, job(&first, 24)).await;
    // Nothing in common but the first token at most: what was cached makes way.
    let other = ask(&engine, job(&"SELECT name FROM users; ".repeat(6), 8)).await;
    assert_eq!(other.cached_tokens, 0);
    until(&engine, |l| l.kv_used == other.prompt_tokens + 7).await;
    let again = ask(&engine, job(&first, 24)).await;
    assert_eq!(again.cached_tokens, again.prompt_tokens - 1);
    assert_eq!((&again.text, &again.tokens), (&whole.text, &whole.tokens));
}

#[tokio::test]
async fn dropping_the_reader_frees_the_place() {
    let mut config = moe();
    config.parallel = Some(1);
    let engine = load(&config);
    let mut running = engine.generate(endless(0)).await.unwrap();
    assert!(matches!(running.recv().await, Some(Event::Started { .. })));
    let waiting = engine.generate(job("fn", 4)).await.unwrap();
    drop(running);
    assert_eq!(collect(waiting).await.tokens.len(), 4);
    until(&engine, |l| l.running == 0 && l.waiting == 0).await;
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let mut config = moe();
    config.parallel = Some(1);
    config.queue_limit = 2;
    let engine = load(&config);
    let mut open = Vec::new();
    for i in 0..3 {
        open.push(engine.generate(endless(i)).await.unwrap());
    }
    let refused = engine.generate(endless(9)).await.map(|_| ());
    assert_eq!(refused, Err(JobError::Overloaded { waiting: 2 }));
    drop(open);
    until(&engine, |l| l.running + l.waiting == 0).await;
    assert_eq!(ask(&engine, job("fn", 4)).await.tokens.len(), 4);
}

#[tokio::test]
async fn a_slow_reader_pauses_itself_only() {
    let mut config = moe();
    config.parallel = Some(2);
    let engine = load(&config);
    let slow = engine.generate(endless(0)).await.unwrap();
    // Its channel fills up, and its job stops there.
    until(&engine, |l| l.decode_tokens >= EVENT_BUFFER as u64 - 8).await;
    let quick = ask(&engine, job("fn main", 300)).await;
    assert_eq!(quick.tokens.len(), 300);
    assert!(Engine::load(&engine).decode_tokens <= 300 + EVENT_BUFFER as u64);
    // Two more, so that the paused one loses its place; then it is read and goes on.
    for prompt in ["class A", "struct B"] {
        assert_eq!(ask(&engine, job(prompt, 8)).await.tokens.len(), 8);
    }
    let answer = collect(slow).await;
    assert_eq!((answer.failed, answer.tokens.len()), (None, 900));
}

#[tokio::test]
async fn answers_that_outgrow_the_cache_are_all_completed() {
    let mut config = moe();
    config.parallel = Some(4);
    config.context_length = Some(512);
    config.cells = Some(512);
    let engine = load(&config);
    let mut streams = Vec::new();
    for i in 0..4 {
        streams.push(
            engine
                .generate(job(&format!("{i}, 1, 2,"), 300))
                .await
                .unwrap(),
        );
    }
    for events in streams {
        let answer = collect(events).await;
        assert_eq!((answer.failed, answer.tokens.len()), (None, 300));
    }
    assert_eq!(Engine::load(&engine).kv_total, 512);
}

#[tokio::test]
async fn a_long_prompt_does_not_stop_running_answers() {
    let mut config = moe();
    config.batch_tokens = 32;
    config.parallel = Some(2);
    let engine = load(&config);
    let mut running = engine.generate(endless(0)).await.unwrap();
    assert!(matches!(running.recv().await, Some(Event::Started { .. })));
    let before = Engine::load(&engine).decode_tokens;
    let long = ask(&engine, job(&"lorem ipsum dolor ".repeat(100), 1)).await;
    let steps = Engine::load(&engine).decode_tokens - before;
    assert!(
        u64::from(long.prompt_tokens / 32) <= steps + 2,
        "{steps} {}",
        long.prompt_tokens
    );
}

#[tokio::test]
async fn prompts_beyond_the_context_are_refused() {
    let mut config = moe();
    config.context_length = Some(64);
    let engine = load(&config);
    let long = Job {
        prompt: Prompt::Tokens(vec![300; 64]),
        ..job("", 4)
    };
    assert_eq!(
        engine.generate(long).await.map(|_| ()),
        Err(JobError::ContextLengthExceeded {
            prompt_tokens: 64,
            context_length: 64
        })
    );
    let just = Job {
        prompt: Prompt::Tokens(vec![300; 60]),
        max_tokens: None,
        ..job("", 4)
    };
    let answer = ask(&engine, just).await;
    assert_eq!(answer.finish, Some((FinishReason::Length, None, 4)));
    for tokens in [vec![], vec![300, 1_000_000]] {
        let broken = Job {
            prompt: Prompt::Tokens(tokens),
            ..job("", 4)
        };
        assert!(matches!(
            engine.generate(broken).await,
            Err(JobError::Invalid(_))
        ));
    }
}

#[tokio::test]
async fn draining_ends_running_answers_and_refuses_new_ones() {
    let engine = load(&moe());
    let short = engine.generate(job("fn", 30)).await.unwrap();
    Engine::drain(&engine, PATIENCE).await;
    assert_eq!(collect(short).await.tokens.len(), 30);
    assert_eq!(*engine.state().borrow(), EngineState::Draining);
    assert_eq!(
        engine.generate(job("fn", 3)).await.map(|_| ()),
        Err(JobError::Stopping)
    );

    let engine = load(&moe());
    let long = engine.generate(endless(0)).await.unwrap();
    Engine::drain(&engine, Duration::ZERO).await;
    assert_eq!(collect(long).await.failed, Some(JobError::Stopping));
}
