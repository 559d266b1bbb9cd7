//! `POST /v1/completions`, whole and streamed.

use protocol::generate::{
    Delta, FinishReason, GenerateRequest, Started, TokenLogprob, generate_event::Event,
    generate_request::Prompt,
};
use serde_json::{Value, json};

use crate::scripted::{Script, Step, TestServer, delta, finished, hello};

const COMPLETIONS: &str = "/v1/completions";

fn token(text: &str, logprob: Option<f32>) -> TokenLogprob {
    TokenLogprob {
        token: 1,
        text: text.as_bytes().to_vec(),
        logprob,
        top: Vec::new(),
    }
}

/// Echoes with log-probabilities, and one more token where tokens are wanted.
fn scoring(request: &GenerateRequest) -> Script {
    let mut started = Started {
        prompt_tokens: 2,
        prompt_text: "ab".to_owned(),
        ..Started::default()
    };
    if request.prompt_logprobs {
        started.prompt = vec![token("a", None), token("b", Some(-0.5))];
    }
    let mut steps = vec![Step::Event(Event::Started(started))];
    if request.max_tokens == Some(0) {
        steps.push(finished(FinishReason::Length, 0));
        return Ok(steps);
    }
    steps.push(delta(Delta {
        text: "c".to_owned(),
        tokens: vec![3],
        logprobs: match request.top_logprobs {
            Some(_) => vec![token("c", Some(-2.0))],
            None => Vec::new(),
        },
        ..Delta::default()
    }));
    steps.push(finished(FinishReason::Stop, 1));
    Ok(steps)
}

fn still(mut value: Value) -> Value {
    assert!(value["id"].as_str().unwrap().starts_with("cmpl-"));
    value["id"] = "ID".into();
    value["created"] = 7.into();
    value
}

#[tokio::test]
async fn a_whole_answer() {
    let server = TestServer::start(hello).await;
    let body = json!({ "model": "org/one", "prompt": "Hi" });
    let answer = server.post(COMPLETIONS, &body).await.json();
    assert_eq!(
        still(answer),
        json!({
            "id": "ID",
            "object": "text_completion",
            "created": 7,
            "model": "org/one:full",
            "system_fingerprint": concat!("shoal-", env!("CARGO_PKG_VERSION")),
            "choices": [
                { "index": 0, "text": "Hello", "logprobs": null, "finish_reason": "stop" }
            ],
            "usage": {
                "prompt_tokens": 5,
                "completion_tokens": 2,
                "total_tokens": 7,
                "prompt_tokens_details": { "cached_tokens": 2 },
                "completion_tokens_details": { "reasoning_tokens": 0 },
            },
        })
    );
    let request = server.backend.last();
    assert_eq!(request.max_tokens, Some(16));
    assert_eq!(request.prompt, Some(Prompt::Text("Hi".to_owned())));
}

#[tokio::test]
async fn a_stream() {
    let server = TestServer::start(hello).await;
    let body = json!({
        "model": "org/one",
        "prompt": "Hi",
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    let chunks = server.post(COMPLETIONS, &body).await.chunks();
    let choice = |text: &str, reason: Value| json!([{ "index": 0, "text": text, "logprobs": null, "finish_reason": reason }]);
    let choices: Vec<Value> = chunks.iter().map(|c| c["choices"].clone()).collect();
    let (hel, lo) = (choice("Hel", Value::Null), choice("lo", Value::Null));
    assert_eq!(choices, [hel, lo, choice("", "stop".into()), json!([])]);
    assert!(chunks.iter().all(|c| c["object"] == "text_completion"));
    assert_eq!(chunks[0]["usage"], Value::Null);
    assert_eq!(chunks[3]["usage"]["completion_tokens"], 2);
}

#[tokio::test]
async fn every_kind_of_prompt() {
    let server = TestServer::start(hello).await;
    let tokens = |tokens: &[u32]| {
        let tokens = tokens.to_vec();
        Prompt::Tokens(protocol::generate::TokenPrompt { tokens })
    };
    let cases = [
        (
            json!(["a", "b"]),
            vec![Prompt::Text("a".into()), Prompt::Text("b".into())],
        ),
        (json!([1, 2]), vec![tokens(&[1, 2])]),
        (json!([[1], [2, 3]]), vec![tokens(&[1]), tokens(&[2, 3])]),
    ];
    for (prompt, wanted) in cases {
        server.backend.requests.lock().unwrap().clear();
        let body = json!({ "model": "org/one", "prompt": prompt, "n": 2 });
        let answer = server.post(COMPLETIONS, &body).await.json();
        let choices = answer["choices"].as_array().unwrap();
        assert_eq!(choices.len(), wanted.len() * 2);
        for (index, choice) in choices.iter().enumerate() {
            assert_eq!(choice["index"], index);
        }
        // Each prompt counts once.
        assert_eq!(answer["usage"]["prompt_tokens"], 5 * wanted.len());
        let requests = server.backend.requests.lock().unwrap();
        let asked: Vec<_> = requests.iter().map(|r| r.prompt.clone().unwrap()).collect();
        let doubled: Vec<_> = wanted.iter().flat_map(|p| [p.clone(), p.clone()]).collect();
        assert_eq!(asked, doubled);
    }
}

#[tokio::test]
async fn echo_with_legacy_log_probabilities() {
    let server = TestServer::start(scoring).await;
    let body = json!({ "model": "org/one", "prompt": "ab", "echo": true, "logprobs": 1 });
    let answer = server.post(COMPLETIONS, &body).await.json();
    let choice = answer["choices"][0].clone();
    assert_eq!(choice["text"], "abc");
    let wanted = json!({
        "tokens": ["a", "b", "c"],
        "token_logprobs": [null, -0.5, -2.0],
        "top_logprobs": [null, { "b": -0.5 }, { "c": -2.0 }],
        "text_offset": [0, 1, 2],
    });
    assert_eq!(choice["logprobs"], wanted);

    let mut body = body;
    body["stream"] = true.into();
    let chunks = server.post(COMPLETIONS, &body).await.chunks();
    assert_eq!(chunks[0]["choices"][0]["text"], "ab");
    assert_eq!(chunks[1]["choices"][0]["text"], "c");
    let offsets = &chunks[1]["choices"][0]["logprobs"]["text_offset"];
    assert_eq!(offsets, &json!([2]));
}

#[tokio::test]
async fn scoring_without_generating() {
    let server = TestServer::start(scoring).await;
    for prompt in [json!("ab"), json!([1, 2])] {
        let body = json!({
            "model": "org/one",
            "prompt": prompt,
            "echo": true,
            "logprobs": 0,
            "max_tokens": 0,
        });
        let answer = server.post(COMPLETIONS, &body).await.json();
        let choice = &answer["choices"][0];
        assert_eq!(choice["text"], "ab");
        assert_eq!(choice["finish_reason"], "length");
        assert_eq!(choice["logprobs"]["tokens"], json!(["a", "b"]));
        assert_eq!(choice["logprobs"]["top_logprobs"], json!([null, null]));
        assert_eq!(answer["usage"]["completion_tokens"], 0);
    }
    let request = server.backend.last();
    assert!(request.prompt_logprobs);
    assert_eq!(request.top_logprobs, Some(0));
}

#[tokio::test]
async fn a_suffix_is_filled_in_before() {
    let server = TestServer::start(hello).await;
    let body = json!({ "model": "org/one", "prompt": "a", "suffix": "b" });
    assert_eq!(server.post(COMPLETIONS, &body).await.status, 200);
    let Some(Prompt::Infill(infill)) = server.backend.last().prompt else {
        panic!("an infill");
    };
    assert_eq!((infill.prefix.as_str(), infill.suffix.as_str()), ("a", "b"));
}

#[tokio::test]
async fn wrong_fields_are_refused_by_name() {
    let server = TestServer::start(hello).await;
    let cases = [
        (json!({}), "prompt"),
        (json!({ "prompt": [] }), "prompt"),
        (json!({ "prompt": {} }), "prompt"),
        (json!({ "prompt": [[]] }), "prompt"),
        (json!({ "prompt": ["a", 1] }), "prompt"),
        (json!({ "prompt": [1, "a"] }), "prompt"),
        (json!({ "prompt": [-1] }), "prompt"),
        (json!({ "prompt": [4_294_967_296_u64] }), "prompt"),
        (json!({ "prompt": "a", "best_of": 2 }), "best_of"),
        (json!({ "prompt": "a", "max_tokens": -1 }), "max_tokens"),
        (json!({ "prompt": "a", "logprobs": 21 }), "logprobs"),
        (json!({ "prompt": "a", "logprobs": true }), "logprobs"),
        (json!({ "prompt": [1], "suffix": "b" }), "suffix"),
        (
            json!({ "prompt": "a", "suffix": "b", "echo": true }),
            "suffix",
        ),
        (json!({ "prompt": vec!["a"; 65], "n": 2 }), "n"),
        (json!({ "prompt": "a", "echo": 1 }), "echo"),
    ];
    for (mut body, param) in cases {
        body["model"] = "org/one".into();
        let answer = server.post(COMPLETIONS, &body).await;
        assert_eq!(answer.refused(400)["param"], param, "{body}");
    }
}
