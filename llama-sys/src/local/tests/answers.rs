//! What comes out of jobs: text, tokens, log-probabilities, formats, vectors.

use super::*;

#[tokio::test]
async fn a_prompt_is_answered() {
    let engine = load(&moe());
    let answer = ask(&engine, job("def main():\n", 24)).await;
    assert_eq!(answer.failed, None);
    assert_eq!(answer.tokens.len(), 24, "{answer:?}");
    assert_eq!(answer.finish, Some((FinishReason::Length, None, 24)));
    let text = engine.detokenize(answer.tokens.clone()).await.unwrap();
    assert_eq!(text, answer.text);
    assert!(answer.prompt_tokens > 3 && answer.cached_tokens == 0);
    assert!(answer.timing.decode_micros > 0);
}

/// Resumes after each delta of an answer, on another engine, and compares the rest.
async fn resume_everywhere(job: Job) -> Answer {
    let whole = ask(&load(&exact()), job.clone()).await;
    assert_eq!(whole.failed, None);
    for n in 0..=whole.deltas.len() {
        let rest = ask(&load(&exact()), resumed(job.clone(), &whole, n)).await;
        let (before, after) = whole.deltas.split_at(n);
        let tokens: Vec<u32> = after.iter().flat_map(|d| d.tokens.clone()).collect();
        let text: String = after.iter().map(|d| d.text.as_str()).collect();
        let place = format!("after {} deltas of {job:?}", before.len());
        assert_eq!(rest.tokens, tokens, "{place}");
        assert_eq!(rest.text, text, "{place}");
        assert_eq!(rest.finish, whole.finish, "{place}");
    }
    whole
}

#[tokio::test]
async fn resuming_anywhere_gives_the_same_answer() {
    for temperature in [0.0, 0.8, 1.5] {
        let mut job = job("Die Datei konnte nicht", 40);
        job.sampling.temperature = temperature;
        resume_everywhere(job.clone()).await;
        job.sampling.repeat_penalty = 1.3;
        job.sampling.presence_penalty = 0.5;
        job.sampling.top_k = 0;
        job.prompt = Prompt::Tokens(vec![0, 300, 301]);
        resume_everywhere(job).await;
    }
}

/// In batches, the bits depend on the shape: a resumed answer may leave the first one, but only
/// where two tokens are as good as equal.
#[tokio::test]
async fn resuming_in_batches_differs_at_near_ties_only() {
    let engine = load(&moe());
    let mut job = job("Die Datei konnte nicht", 40);
    job.logprobs = Some(20);
    let whole = ask(&engine, job.clone()).await;
    for n in 0..whole.deltas.len() {
        let rest = ask(&engine, resumed(job.clone(), &whole, n)).await;
        let mut pairs = whole.logprobs[n..].iter().zip(&rest.logprobs);
        let Some((old, new)) = pairs.find(|(a, b)| a.token != b.token) else {
            continue;
        };
        let known = old.top.iter().find(|t| t.token == new.token);
        let of_new = known.and_then(|t| t.logprob).expect("a likely token");
        assert!(
            (old.logprob.unwrap() - of_new).abs() < 1.5,
            "after {n}: {old:?} {new:?}"
        );
    }
}

#[tokio::test]
async fn resuming_keeps_grammar_and_stop_strings() {
    let mut with_grammar = job("{\"name\": \"shoal\", \"version\":", 60);
    with_grammar.sampling.temperature = 0.8;
    with_grammar.grammar = Grammar::JsonObject;
    resume_everywhere(with_grammar).await;

    let mut with_stop = job("for i in range(10):\n    print(", 60);
    let free = ask(&load(&exact()), with_stop.clone()).await.text;
    // A stop string in the middle, begun often before it is complete.
    let middle = free.len() / 2;
    let cut = |from: usize, to: usize| free[from..].chars().take(to).collect::<String>();
    with_stop.stop = vec![cut(middle, 5), "\u{1}never".into()];
    let whole = resume_everywhere(with_stop.clone()).await;
    let (reason, stop, _) = whole.finish.unwrap();
    assert_eq!(
        (reason, stop.as_ref()),
        (FinishReason::Stop, Some(&with_stop.stop[0]))
    );
    let place = free.find(&with_stop.stop[0]).unwrap();
    assert_eq!(whole.text, free[..place]);
}

#[tokio::test]
async fn seeds_decide_and_repeat() {
    let engine = load(&moe());
    let mut job = job("Once upon a time", 20);
    job.sampling.temperature = 1.2;
    let one = ask(&engine, job.clone()).await.tokens;
    assert_eq!(ask(&engine, job.clone()).await.tokens, one);
    job.seed = 8;
    assert_ne!(ask(&engine, job).await.tokens, one);
}

#[tokio::test]
async fn log_probabilities_are_of_the_model() {
    let engine = load(&moe());
    let mut job = job("import os\nimport", 12);
    job.logprobs = Some(5);
    job.prompt_logprobs = true;
    let answer = ask(&engine, job.clone()).await;
    assert_eq!(answer.logprobs.len(), answer.tokens.len());
    for (told, token) in answer.logprobs.iter().zip(&answer.tokens) {
        assert_eq!((told.token, told.top.len()), (*token, 5));
        // Greedy: the chosen one is the likeliest.
        assert_eq!(told.top[0].token, told.token);
        assert_eq!(told.top[0].logprob, told.logprob);
        let sum: f32 = told.top.iter().map(|t| t.logprob.unwrap().exp()).sum();
        assert!(sum <= 1.001 && told.logprob.unwrap() <= 0.0);
        assert!(told.top.is_sorted_by(|a, b| a.logprob >= b.logprob));
    }
    assert_eq!(answer.prompt.len(), answer.prompt_tokens as usize);
    assert_eq!(answer.prompt[0].logprob, None);
    assert!(
        answer.prompt[1..]
            .iter()
            .all(|p| p.logprob.is_some() && p.top.len() == 5)
    );

    // The same tokens as a prompt have the same log-probabilities, but for another batch shape.
    let prompt: Vec<u32> = answer.prompt.iter().map(|p| p.token).collect();
    job.prompt = Prompt::Tokens([prompt, answer.tokens.clone()].concat());
    job.max_tokens = Some(0);
    let echo = ask(&engine, job).await;
    assert_eq!(echo.finish, Some((FinishReason::Length, None, 0)));
    assert_eq!((echo.text.as_str(), echo.cached_tokens), ("", 0));
    for (a, b) in echo.prompt[answer.prompt.len()..]
        .iter()
        .zip(&answer.logprobs)
    {
        assert!(
            (a.logprob.unwrap() - b.logprob.unwrap()).abs() < 0.05,
            "{a:?} {b:?}"
        );
    }
}

#[tokio::test]
async fn bias_forbids_and_forces() {
    let engine = load(&moe());
    let mut job = job("The", 8);
    let free = ask(&engine, job.clone()).await.tokens;
    job.sampling.logit_bias = vec![(free[0], f32::NEG_INFINITY)];
    assert!(!ask(&engine, job.clone()).await.tokens.contains(&free[0]));
    job.sampling.logit_bias = vec![(400, 100.0)];
    for temperature in [0.0, 0.9] {
        job.sampling.temperature = temperature;
        assert_eq!(ask(&engine, job.clone()).await.tokens, [400; 8]);
    }
    job.sampling.logit_bias = vec![(1_000_000, 1.0)];
    assert!(matches!(
        engine.generate(job).await,
        Err(JobError::Invalid(_))
    ));
}

#[tokio::test]
async fn a_json_object_always_parses() {
    let engine = load(&moe());
    for seed in 0..12 {
        let mut job = job("{", 200);
        job.sampling.temperature = if seed == 0 { 0.0 } else { 1.3 };
        job.seed = seed;
        job.grammar = Grammar::JsonObject;
        let answer = ask(&engine, job).await;
        assert_eq!(answer.failed, None);
        let whole = answer.finish.unwrap().0 == FinishReason::Stop;
        if whole {
            let value: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
            assert!(value.is_object(), "{}", answer.text);
        } else {
            assert!(answer.text.starts_with('{'));
        }
    }
}

#[tokio::test]
async fn a_schema_is_kept_to() {
    let engine = load(&moe());
    let schema = r#"{"type":"object","properties":{"city":{"enum":["Oslo","Rome"]},
        "days":{"type":"integer","minimum":1,"maximum":9},"warm":{"type":"boolean"}},
        "required":["city","days","warm"],"additionalProperties":false}"#;
    for seed in 0..10 {
        let mut job = job("weather", 100);
        job.sampling.temperature = 1.0;
        job.seed = seed;
        job.grammar = Grammar::JsonSchema(schema.into());
        let answer = ask(&engine, job).await;
        assert_eq!(answer.finish.unwrap().0, FinishReason::Stop);
        let value: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
        assert!(["Oslo", "Rome"].contains(&value["city"].as_str().unwrap()));
        assert!((1..=9).contains(&value["days"].as_u64().unwrap()) && value["warm"].is_boolean());
    }
}

#[tokio::test]
async fn broken_grammars_are_named_errors() {
    let engine = load(&fixture("tiny-draft-f16.gguf"));
    let deep = format!("{}1{}", "[".repeat(5000), "]".repeat(5000));
    let broken = [
        Grammar::Gbnf("nothing here".into()),
        Grammar::Gbnf("root ::= missing".into()),
        Grammar::Gbnf("root ::= root \"a\"".into()),
        Grammar::Gbnf(String::new()),
        Grammar::Gbnf("root ::= \"a\u{0}\"".into()),
        Grammar::Gbnf(format!(
            "root ::= {}\"a\"{}",
            "(".repeat(9000),
            ")".repeat(9000)
        )),
        Grammar::Gbnf("x".repeat(1 << 20)),
        Grammar::JsonSchema("not json".into()),
        Grammar::JsonSchema("[]".into()),
        Grammar::JsonSchema(deep),
        Grammar::JsonSchema(r##"{"$ref":"#/nowhere"}"##.into()),
        Grammar::JsonSchema(r#"{"type":"string","minLength":100000000}"#.into()),
    ];
    for grammar in broken {
        let job = Job {
            grammar: grammar.clone(),
            ..job("a", 3)
        };
        let answer = engine.generate(job).await.map(|_| ());
        assert!(
            matches!(answer, Err(JobError::Grammar(_))),
            "{grammar:?}: {answer:?}"
        );
    }
}

#[tokio::test]
async fn each_text_is_embedded_as_alone() {
    let engine = load(&moe());
    let text = |t: &str| Prompt::Text {
        text: t.into(),
        parse_special: false,
    };
    let texts = [
        "a",
        "def main():\n    return 1",
        &"lorem ipsum ".repeat(90),
        "Grüße",
    ];
    let (together, tokens) = engine.embed(texts.map(text).to_vec()).await.unwrap();
    let mut total = 0;
    for (given, vector) in texts.iter().zip(&together) {
        let (alone, n) = engine.embed(vec![text(given)]).await.unwrap();
        assert_eq!(&alone[0], vector);
        let length: f32 = vector.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-4);
        total += n;
    }
    assert_eq!(tokens, total);
    let long = engine.embed(vec![Prompt::Tokens(vec![5; 5000])]).await;
    assert!(matches!(
        long,
        Err(JobError::ContextLengthExceeded {
            prompt_tokens: 5000,
            ..
        })
    ));
    assert!(matches!(
        engine.embed(vec![Prompt::Tokens(vec![])]).await,
        Err(JobError::Invalid(_))
    ));
    assert!(engine.embed(vec![]).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn what_a_model_lacks_is_said() {
    let engine = load(&fixture("tiny-draft-f16.gguf"));
    let infill = Job {
        prompt: Prompt::Infill {
            prefix: "a".into(),
            suffix: "b".into(),
        },
        ..job("", 3)
    };
    assert!(matches!(
        engine.generate(infill).await,
        Err(JobError::Unsupported(_))
    ));
    let missing = LocalEngine::load(&fixture("no-such-file.gguf"), |_| true);
    assert!(matches!(missing, Err(LoadError::File(_))));
    let stopped = LocalEngine::load(&moe(), |_| false);
    assert!(
        matches!(stopped, Err(LoadError::Model(_))),
        "{:?}",
        stopped.err()
    );
    let broken = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(broken.path(), b"GGUF but not really").unwrap();
    let refused = LocalEngine::load(&LocalConfig::new(broken.path()), |_| true);
    assert!(matches!(refused, Err(LoadError::Model(_))));
}
