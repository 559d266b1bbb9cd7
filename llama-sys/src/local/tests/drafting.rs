//! Answers with drafts are the answers without: whole models and chains, whatever is asked for.
//!
//! Whole models compute their rows one by one here, so nothing but the drafts can make a
//! difference. In chains rows are computed together, which moves logits by their last digits:
//! there answers may part where two tokens are as good as equal, and nowhere else.

use super::chain::{LONG, MakeHead, Ring, told};
use super::*;
use crate::core::rng::Noise;
use crate::core::speculation::{Pace, Sources};
use crate::stage::Precision;

/// As far apart as rows that are computed together move what two tokens are chosen by.
const NEAR: f64 = 0.5;

const REPEATED: &str = "one two three four five six seven eight nine ten \
                        one two three four five six seven eight nine ten \
                        one two three four five six seven eight nine ten \
                        one two three";

const LOOKUP: Sources = Sources {
    lookup: true,
    model: false,
};

/// An engine that believes that drafts cost nothing, and so drafts whatever it can.
fn eager(config: &LocalConfig, sources: Sources) -> LocalEngine {
    let (facts, mut parts) = LocalEngine::read(config, &mut |_| true).unwrap();
    parts.pace = Pace::fixed(Duration::ZERO);
    parts.drafting.sources.lookup = sources.lookup;
    LocalEngine::start(facts, parts).unwrap()
}

/// A chain whose head does, and believes that the ring takes `latency`.
async fn eager_ring(cuts: &[u32], latency: Duration) -> Ring {
    let make = move |config: &HeadConfig| {
        let (facts, mut parts, messages) = LocalEngine::read_head(config).unwrap();
        parts.pace = Pace::fixed(latency);
        parts.drafting.sources = LOOKUP;
        (LocalEngine::start(facts, parts).unwrap(), messages)
    };
    let make: &MakeHead = &make;
    Ring::with_head(cuts, Precision::F32, None, make).await
}

/// All that can be asked for, each at both temperatures.
fn jobs() -> Vec<Job> {
    let plain = || job(REPEATED, 48);
    let mut penalised = plain();
    penalised.sampling.repeat_penalty = 1.2;
    penalised.sampling.presence_penalty = 0.5;
    let mut stopped = job(LONG, 60);
    stopped.stop = vec!["four".into(), "e)".into(), "}\n".into()];
    let mut grammar = job(r#"{"a": true, "b": true, "c": true, "d": "#, 40);
    grammar.grammar = Grammar::JsonObject;
    let mut spelled = plain();
    spelled.grammar = Grammar::Gbnf(r#"root ::= (" " [a-z]+)+"#.into());
    // What is looked up is forbidden.
    let mut contrary = plain();
    contrary.sampling.logit_bias = (300..1000)
        .map(|token| (token, f32::NEG_INFINITY))
        .collect();
    let mut jobs = vec![
        plain(),
        job(LONG, 60),
        penalised,
        stopped,
        grammar,
        spelled,
        contrary,
    ];
    let hot: Vec<Job> = jobs
        .iter()
        .cloned()
        .map(|mut job| {
            job.sampling.temperature = 1.0;
            job
        })
        .collect();
    jobs.extend(hot);
    jobs.iter_mut().for_each(|job| job.logprobs = Some(20));
    jobs
}

/// Panics unless two answers are one, or part where two tokens are as good as equal.
fn assert_alike(job: &Job, answer: &Answer, expected: &Answer) {
    assert_eq!(answer.failed, None);
    let mut pairs = expected.logprobs.iter().zip(&answer.logprobs).enumerate();
    let Some((at, (old, new))) = pairs.find(|(_, (a, b))| a.token != b.token) else {
        return assert_eq!(told(answer), told(expected));
    };
    // What was chosen says its own; of the other the first answer knows it if it is likely, else what
    // the second one says.
    let score = |token: u32| {
        let listed = old.top.iter().find(|known| known.token == token);
        let logprob = match listed {
            Some(known) => known.logprob,
            None if token == old.token => old.logprob,
            None => new.logprob,
        };
        let temperature = f64::from(job.sampling.temperature);
        if temperature == 0.0 {
            return logprob.map(f64::from);
        }
        let noise = Noise::gumbel(Noise::new(job.seed, at as u64).bits(token));
        logprob.map(|logprob| f64::from(logprob) / temperature + noise)
    };
    let apart = score(old.token).zip(score(new.token));
    let (won, lost) = apart.unwrap_or_else(|| panic!("at {at}: {old:?} {new:?}"));
    println!("apart at {at} by {}", won - lost);
    // Penalties and bias move what is chosen by; then only that both were likely is known.
    let is_edited = job.sampling.repeat_penalty != 1.0 || !job.sampling.logit_bias.is_empty();
    let near = if is_edited { 20.0 } else { NEAR };
    assert!((won - lost).abs() < near, "at {at}: {old:?} {new:?}");
}

#[tokio::test]
async fn a_whole_models_answers_are_the_same() {
    let plain = load(&exact());
    let drafting = eager(&exact(), LOOKUP);
    for job in jobs() {
        let expected = ask(&plain, job.clone()).await;
        let answer = ask(&drafting, job).await;
        assert_eq!(answer.failed, None);
        assert_eq!(told(&answer), told(&expected));
        assert_eq!(answer.logprobs, expected.logprobs);
    }
    assert_eq!(plain.load().drafted_tokens, 0);
    let load = drafting.load();
    println!("{load:?}");
    assert!(load.accepted_tokens > 0 && load.accepted_tokens < load.drafted_tokens);
}

/// The fixture whose tokenizer is the model's.
fn with_draft_model(config: LocalConfig) -> LocalConfig {
    LocalConfig {
        speculate: Speculate::Draft,
        draft: Some(fixture("tiny-draft-f16.gguf").model),
        ..config
    }
}

#[tokio::test]
async fn a_draft_model_changes_nothing() {
    let plain = load(&exact());
    let nothing = Sources::default();
    let drafting = eager(&with_draft_model(exact()), nothing);
    assert_eq!(drafting.draft_trouble(), None);
    for job in jobs() {
        let expected = ask(&plain, job.clone()).await;
        let answer = ask(&drafting, job).await;
        assert_eq!(told(&answer), told(&expected));
        assert_eq!(answer.logprobs, expected.logprobs);
    }
    let load = drafting.load();
    println!("{load:?}");
    assert!(load.accepted_tokens > 0 && load.accepted_tokens < load.drafted_tokens);
}

#[tokio::test]
async fn a_model_that_drafts_for_itself_is_right() {
    let config = LocalConfig {
        draft: Some(exact().model),
        ..with_draft_model(exact())
    };
    let drafting = eager(&config, Sources::default());
    for temperature in [0.0, 1.0] {
        let mut job = job(LONG, 60);
        job.sampling.temperature = temperature;
        let answer = ask(&drafting, job).await;
        assert_eq!(answer.failed, None);
    }
    // But for what is drafted beyond an answer's end, and near ties.
    let load = drafting.load();
    println!("{load:?}");
    assert!(load.accepted_tokens * 10 > load.drafted_tokens * 8);
}

#[tokio::test]
async fn sessions_share_a_draft_model() {
    let plain = load(&exact());
    let drafting = eager(&with_draft_model(exact()), LOOKUP);
    let mut running = Vec::new();
    for job in jobs() {
        let events = drafting.generate(job.clone()).await.unwrap();
        running.push((job, events));
    }
    for (job, events) in running {
        let answer = collect(events).await;
        // Others' cells between its own move what attention adds up by its last digits.
        assert_alike(&job, &answer, &ask(&plain, job.clone()).await);
    }
}

#[tokio::test]
async fn a_draft_model_of_another_family_is_left_out_and_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.gguf");
    crate::gguf::specimen::of_kind(crate::gguf::specimen::KINDS[0])
        .save(&file)
        .unwrap();
    let config = |draft: PathBuf| LocalConfig {
        draft: Some(draft),
        ..with_draft_model(moe())
    };
    for (draft, why) in [(file, "vocabulary"), ("no.gguf".into(), "loaded")] {
        let engine = load(&config(draft));
        let trouble = engine.draft_trouble().unwrap_or_default().to_owned();
        assert!(trouble.contains(why), "{trouble}");
        assert_eq!(ask(&engine, job(LONG, 5)).await.failed, None);
    }
}

#[tokio::test]
async fn what_repeats_itself_takes_fewer_steps_than_tokens() {
    let drafting = eager(&exact(), LOOKUP);
    let mut job = job(REPEATED, 60);
    job.grammar = Grammar::Gbnf(
        r#"root ::= " four five six seven eight nine ten one two three four five six seven eight nine ten one two three""#
            .into(),
    );
    let answer = ask(&drafting, job).await;
    let load = drafting.load();
    println!("{load:?}");
    assert!(load.accepted_tokens * 2 > u64::from(answer.finish.unwrap().2));
}

#[tokio::test]
async fn sessions_that_share_batches_answer_alike() {
    let plain = load(&exact());
    let drafting = eager(&exact(), LOOKUP);
    let mut running = Vec::new();
    for job in jobs() {
        let events = drafting.generate(job.clone()).await.unwrap();
        running.push((job, events));
    }
    for (job, events) in running {
        let answer = collect(events).await;
        assert_alike(&job, &answer, &ask(&plain, job.clone()).await);
    }
    assert!(drafting.load().accepted_tokens > 0);
}

/// The controller itself, with what it measures.
#[tokio::test]
async fn an_engine_that_decides_by_itself_answers_alike() {
    let plain = load(&moe());
    let drafting = load(&LocalConfig {
        speculate: Speculate::Auto,
        ..moe()
    });
    for job in jobs() {
        let expected = ask(&plain, job.clone()).await;
        assert_alike(&job, &ask(&drafting, job.clone()).await, &expected);
    }
    println!("{:?}", drafting.load());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chains_answers_are_alike() {
    let make = |config: &HeadConfig| LocalEngine::load_head(config).unwrap();
    let plain = Ring::with_head(&[2], Precision::F32, None, &make).await;
    let mut expected = Vec::new();
    for job in jobs() {
        expected.push(ask(&plain.head, job).await);
    }
    // On a ring without latency there is one window at a time, on a slow one there are several.
    for (cuts, latency) in [(&[2][..], 0), (&[1, 3][..], 0), (&[2][..], 1_000)] {
        let ring = eager_ring(cuts, Duration::from_millis(latency)).await;
        for (job, expected) in jobs().iter().zip(&expected) {
            assert_alike(job, &ask(&ring.head, job.clone()).await, expected);
        }
        let load = ring.head.load();
        println!("{cuts:?} {latency} ms: {load:?}");
        assert!(load.accepted_tokens > 0 && load.accepted_tokens < load.drafted_tokens);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_chain_draft_beside_each_other() {
    let ring = eager_ring(&[2], Duration::from_secs(1)).await;
    let mut running = Vec::new();
    for job in jobs() {
        running.push(ring.head.generate(job).await.unwrap());
    }
    for events in running {
        let answer = collect(events).await;
        assert_eq!(answer.failed, None);
        let (_, _, tokens) = answer.finish.unwrap();
        // A stop string's tokens are counted and not told.
        assert!(answer.tokens.len() <= tokens as usize && tokens <= 60);
    }
    assert!(ring.head.load().accepted_tokens > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_that_is_lost_takes_its_windows_with_it() {
    let ring = eager_ring(&[2], Duration::from_secs(1)).await;
    let mut wanted = job(REPEATED, 60);
    wanted.logprobs = Some(20);
    let undisturbed = ask(&ring.head, wanted.clone()).await;
    let mut events = ring.head.generate(wanted.clone()).await.unwrap();
    let (copy, receiver) = mpsc::channel(1024);
    let mut deltas = 0;
    while let Some(event) = events.recv().await {
        deltas += u64::from(matches!(event, Event::Delta(_)));
        copy.send(event).await.unwrap();
        if deltas == 3 {
            deltas += 1;
            ring.head.tell(ToHead::Down).await.unwrap();
            ring.head.tell(ToHead::Up(2)).await.unwrap();
        }
    }
    drop(copy);
    assert_alike(&wanted, &collect(receiver).await, &undisturbed);
}
