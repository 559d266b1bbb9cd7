//! The engine on a real model, where the environment names one (`TEST_MODEL`, the path of
//! a SmolLM2-135M-Instruct). Without it each test says so and passes.

use super::*;

fn real() -> Option<LocalConfig> {
    let Some(path) = std::env::var_os("TEST_MODEL") else {
        println!("skipped: TEST_MODEL names no model");
        return None;
    };
    Some(LocalConfig {
        context_length: Some(2048),
        // More threads wait for one another where tests share few cores.
        threads: Some(1),
        ..LocalConfig::new(path)
    })
}

fn chat(question: &str, tokens: u32) -> Job {
    let text = format!("<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n");
    job(&text, tokens)
}

#[tokio::test]
async fn a_question_is_answered_and_ended() {
    let Some(config) = real() else { return };
    let engine = load(&config);
    let answer = ask(&engine, chat("What is the capital of France?", 60)).await;
    assert!(answer.text.contains("Paris"), "{}", answer.text);
    let (reason, _, tokens) = answer.finish.unwrap();
    assert_eq!(
        (reason, tokens as usize),
        (FinishReason::Stop, answer.tokens.len())
    );
    assert!(!answer.text.contains("<|im_end|>"));
}

#[tokio::test]
async fn many_streams_answer_as_alone_up_to_near_ties() {
    let Some(config) = real() else { return };
    let engine = load(&config);
    let questions = [
        "Name a colour.",
        "What is 2+2?",
        "Write a haiku.",
        "Who was Newton?",
    ];
    let with_logprobs = |question: &&str| Job {
        logprobs: Some(5),
        ..chat(question, 32)
    };
    let mut alone = Vec::new();
    for question in &questions {
        alone.push(ask(&engine, with_logprobs(question)).await);
    }
    let engine = load(&config);
    let mut streams = Vec::new();
    for question in &questions {
        streams.push(engine.generate(with_logprobs(question)).await.unwrap());
    }
    for (events, alone) in streams.into_iter().zip(alone) {
        let beside = collect(events).await;
        assert_eq!(beside.failed, None);
        let mut pairs = alone.logprobs.iter().zip(&beside.logprobs);
        if let Some((a, b)) = pairs.find(|(a, b)| a.token != b.token) {
            let other = a.top.iter().find(|t| t.token == b.token);
            let gap = other.map(|t| a.logprob.unwrap() - t.logprob.unwrap());
            assert!(gap.is_some_and(|g| g < 0.5), "{a:?} {b:?}");
        }
    }
}

#[tokio::test]
async fn a_conversation_is_taken_up_where_it_was() {
    let Some(config) = real() else { return };
    let engine = load(&config);
    let first = ask(&engine, chat(&"Tell me about the sea. ".repeat(20), 16)).await;
    let again = ask(&engine, chat(&"Tell me about the sea. ".repeat(20), 16)).await;
    assert_eq!(
        (first.cached_tokens, again.cached_tokens),
        (0, first.prompt_tokens - 1)
    );
    assert!(again.timing.prefill_micros < first.timing.prefill_micros);
}

#[tokio::test]
async fn schemas_hold_for_a_real_vocabulary() {
    let Some(config) = real() else { return };
    let engine = load(&config);
    let schema = r#"{"type":"object","properties":{"name":{"type":"string","maxLength":20},
        "tags":{"type":"array","items":{"enum":["a","b"]},"maxItems":3},
        "nested":{"type":"object","properties":{"n":{"type":"number"}},"required":["n"]}},
        "required":["name","tags","nested"]}"#;
    for seed in 0..4 {
        let mut job = chat("Describe a ship as JSON.", 200);
        job.sampling.temperature = 1.0;
        job.seed = seed;
        job.grammar = Grammar::JsonSchema(schema.into());
        let answer = ask(&engine, job).await;
        if answer.finish.unwrap().0 == FinishReason::Stop {
            let value: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
            assert!(value["name"].is_string() && value["nested"]["n"].is_number());
        }
    }
}
