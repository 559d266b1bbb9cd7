//! Requests through a head over the fake engine.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Mutex;

use llama_sys::engine::JobError;
use llama_sys::fake::{End, FakeConfig, FakeEngine, Script};
use protocol::generate::generate_event::Event as Out;
use protocol::generate::{
    self as wire, ChatPrompt, Delta, FinishReason, GenerateEvent, InfillPrompt, TokenPrompt,
    ToolChoice, tool_choice::Mode,
};
use serde_json::json;

use super::*;

const ANSWER: &str = "<think>\nHm, é.\n</think>\n\nI look.\n<tool_call>\n{\"name\": \"weather\", \"arguments\": \
    {\"city\": \"Paris\"}}\n</tool_call>\n<tool_call>{\"name\": \"time\", \"arguments\": {}}</tool_call>";

impl Hold for () {
    fn on_answered(&self, _: &Answered) {}
}

/// What its answers took.
#[derive(Default)]
struct Heard(Mutex<Vec<Answered>>);

impl Hold for Arc<Heard> {
    fn on_answered(&self, answered: &Answered) {
        self.0.lock().unwrap().push(*answered);
    }
}

fn surroundings() -> Surroundings {
    Surroundings {
        seed: || 77,
        now: || 0,
    }
}

fn head_over(engine: FakeEngine) -> Head {
    let facts = HeadFacts {
        model: "org/model".into(),
        ..HeadFacts::default()
    };
    Head::new(
        Arc::new(Profile::new(facts)),
        Arc::new(engine),
        surroundings(),
    )
}

fn saying(text: &'static str) -> Head {
    head_over(FakeEngine::new(
        FakeConfig::default().with_script(move |_| Script::say(text)),
    ))
}

fn chat() -> GenerateRequest {
    let tool = |name: &str| json!({ "type": "function", "function": { "name": name } });
    GenerateRequest {
        request_id: "r".into(),
        prompt: Some(Asked::Chat(ChatPrompt {
            messages_json: json!([{ "role": "user", "content": "Weather?" }]).to_string(),
            tools_json: json!([tool("weather"), tool("time")]).to_string(),
            parallel_tool_calls: true,
            ..ChatPrompt::default()
        })),
        ..GenerateRequest::default()
    }
}

fn prompt(asked: Asked) -> GenerateRequest {
    GenerateRequest {
        prompt: Some(asked),
        ..GenerateRequest::default()
    }
}

async fn events(head: &Head, request: GenerateRequest) -> Vec<Out> {
    let mut stream = head.generate(request, ()).await.unwrap();
    let mut all = Vec::new();
    while let Some(GenerateEvent { event }) = stream.recv().await {
        all.push(event.unwrap());
    }
    all
}

/// The whole answer in one delta, calls joined; and its ends.
fn joined(events: &[Out]) -> (Delta, Vec<&Out>) {
    let mut whole = Delta::default();
    let mut others = Vec::new();
    for event in events {
        let Out::Delta(delta) = event else {
            others.push(event);
            continue;
        };
        whole.text.push_str(&delta.text);
        whole.reasoning.push_str(&delta.reasoning);
        whole.tokens.extend(&delta.tokens);
        for call in &delta.tool_calls {
            if call.name.is_empty() {
                whole
                    .tool_calls
                    .last_mut()
                    .unwrap()
                    .arguments
                    .push_str(&call.arguments);
            } else {
                whole.tool_calls.push(call.clone());
            }
        }
    }
    (whole, others)
}

#[tokio::test]
async fn an_answer_is_read_as_it_streams() {
    let events = events(&saying(ANSWER), chat()).await;
    let (whole, others) = joined(&events);
    assert_eq!(whole.reasoning, "Hm, é.");
    assert_eq!(whole.text, "I look.");
    assert_eq!(whole.tokens.len(), ANSWER.chars().count());
    let calls: Vec<_> = whole
        .tool_calls
        .iter()
        .map(|c| (c.index, &*c.name, &*c.arguments))
        .collect();
    assert_eq!(
        calls,
        [(0, "weather", "{\"city\": \"Paris\"}"), (1, "time", "{}")]
    );
    assert!(whole.tool_calls.iter().all(|c| c.id.starts_with("call_")));
    let [Out::Started(started), Out::Finished(finished)] = others[..] else {
        panic!("{others:?}");
    };
    assert_eq!((started.model.as_str(), started.seed), ("org/model", 77));
    assert_eq!(finished.reason(), FinishReason::ToolCalls);
}

#[tokio::test]
async fn an_answer_goes_on_elsewhere_from_any_place() {
    let head = saying(ANSWER);
    let all = events(&head, chat()).await;
    let (whole, _) = joined(&all);
    let deltas: Vec<&Delta> = all
        .iter()
        .filter_map(|e| match e {
            Out::Delta(delta) => Some(delta),
            _ => None,
        })
        .collect();
    for cut in 0..=deltas.len() {
        let had: Vec<Out> = deltas[..cut]
            .iter()
            .map(|d| Out::Delta((*d).clone()))
            .collect();
        let (before, _) = joined(&had);
        let calls = before
            .tool_calls
            .iter()
            .map(|c| c.id.len() + c.name.len() + c.arguments.len());
        let sent = before.text.len() + before.reasoning.len() + calls.sum::<usize>();
        let mut request = chat();
        request.sampling = Some(wire::Sampling {
            seed: Some(77),
            ..wire::Sampling::default()
        });
        request.resume = Some(wire::Resume {
            tokens: before.tokens,
            sent_text_bytes: sent as u64,
        });
        let rest = events(&head, request).await;
        let (together, _) = joined(&[had, rest].concat());
        assert_eq!(together, whole, "cut after {cut} deltas");
    }
}

#[tokio::test]
async fn a_required_call_reaches_the_engine_as_grammar() {
    let jobs: Arc<Mutex<Vec<Job>>> = Arc::default();
    let seen = Arc::clone(&jobs);
    let head = head_over(FakeEngine::new(FakeConfig::default().with_script(
        move |job| {
            seen.lock().unwrap().push(job.clone());
            Script::say("{\"name\": \"time\", \"arguments\": {}}")
        },
    )));
    let mut request = chat();
    if let Some(Asked::Chat(chat)) = &mut request.prompt {
        chat.tool_choice = Some(ToolChoice {
            mode: Mode::Required.into(),
            function: String::new(),
        });
    }
    request.max_tokens = Some(99);
    request.stop = vec![String::new(), "END".into()];
    let (whole, _) = joined(&events(&head, request).await);
    assert_eq!(whole.tool_calls[0].name, "time");
    assert_eq!(whole.text, "");
    let job = jobs.lock().unwrap().remove(0);
    assert!(matches!(&job.grammar, Grammar::JsonSchema(s) if s.contains("\"const\":\"weather\"")));
    assert!(
        matches!(&job.prompt, Prompt::Text { text, parse_special: true } if text.ends_with("<tool_call>\n"))
    );
    assert_eq!(
        (job.seed, job.max_tokens, job.show_special),
        (77, Some(99), true)
    );
    assert_eq!(job.stop, ["END"]);
}

#[tokio::test]
async fn plain_prompts_are_given_as_they_are() {
    let head = head_over(FakeEngine::default());
    let (whole, _) = joined(&events(&head, prompt(Asked::Text("<think>x".into()))).await);
    assert_eq!(whole.text, "<think>x");
    let tokens = TokenPrompt {
        tokens: "ab".chars().map(u32::from).collect(),
    };
    let all = events(&head, prompt(Asked::Tokens(tokens))).await;
    assert!(matches!(&all[0], Out::Started(started) if started.prompt_text == "ab"));
    let infill = InfillPrompt {
        prefix: "a".into(),
        suffix: "b".into(),
    };
    let (whole, _) = joined(&events(&head, prompt(Asked::Infill(infill))).await);
    assert_eq!(whole.text, "ab");
}

#[tokio::test]
async fn refusals_name_the_field_and_what_to_do() {
    let head = head_over(FakeEngine::default());
    let long = head
        .generate(prompt(Asked::Text("x".repeat(5000))), ())
        .await
        .unwrap_err();
    assert_eq!(long.code(), ErrorCode::ContextLengthExceeded);
    assert_eq!(long.param, "prompt");
    assert!(
        long.message.contains("4096") && long.message.contains("5000"),
        "{}",
        long.message
    );
    let none = head
        .generate(GenerateRequest::default(), ())
        .await
        .unwrap_err();
    assert_eq!(none.code(), ErrorCode::InvalidRequest);
    let mut broken = chat();
    if let Some(Asked::Chat(chat)) = &mut broken.prompt {
        chat.messages_json = "[]".into();
    }
    assert_eq!(
        head.generate(broken, ()).await.unwrap_err().param,
        "messages"
    );
}

#[tokio::test]
async fn an_engine_that_breaks_off_gives_what_was_held_and_a_failure() {
    let config = FakeConfig::default()
        .with_script(|_| Script::say("Hello <tool_ca").ending(End::Fail(JobError::WorkerLost)));
    let all = events(&head_over(FakeEngine::new(config)), chat()).await;
    let (whole, others) = joined(&all);
    assert_eq!(whole.text, "Hello <tool_ca");
    assert!(
        matches!(others[..], [Out::Started(_), Out::Failed(f)] if f.code() == ErrorCode::WorkerLost)
    );
}

#[tokio::test]
async fn whoever_leaves_cancels_and_lets_the_guard_go() {
    let config = FakeConfig::default().with_script(|_| Script::say("a").ending(End::Hang));
    let engine = FakeEngine::new(config);
    let mut load = engine.load_changes();
    let guard = Arc::new(Heard::default());
    let stream = head_over(engine)
        .generate(chat(), Arc::clone(&guard))
        .await
        .unwrap();
    load.wait_for(|load| load.running == 1).await.unwrap();
    assert_eq!(Arc::strong_count(&guard), 2);
    drop(stream);
    load.wait_for(|load| load.running == 0).await.unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while Arc::strong_count(&guard) > 1 {
        assert!(tokio::time::Instant::now() < deadline, "the guard is kept");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_answer_to_its_end_is_measured() {
    let heard = Arc::new(Heard::default());
    let head = saying("Hello");
    for resume in [None, Some(wire::Resume::default())] {
        let request = GenerateRequest { resume, ..chat() };
        let mut stream = head.generate(request, Arc::clone(&heard)).await.unwrap();
        while stream.recv().await.is_some() {}
    }
    let heard = heard.0.lock().unwrap();
    let tokens: Vec<_> = heard.iter().map(|a| a.answer_tokens).collect();
    assert_eq!(tokens, [5], "and one that was begun elsewhere is not");
}

#[tokio::test]
async fn embeddings_come_in_order_and_whole() {
    let head = head_over(FakeEngine::default());
    let input = |text: &str| wire::EmbedInput {
        input: Some(embed_input::Input::Text(text.to_owned())),
    };
    let request = EmbedRequest {
        inputs: vec![input("one"), input("three")],
        ..EmbedRequest::default()
    };
    let answer = head.embed(request.clone()).await.unwrap();
    assert_eq!((answer.embeddings.len(), answer.prompt_tokens), (2, 8));
    let narrow = EmbedRequest {
        dimensions: Some(2),
        ..request
    };
    assert_eq!(head.embed(narrow).await.unwrap_err().param, "dimensions");
    assert_eq!(
        head.embed(EmbedRequest::default()).await.unwrap_err().param,
        "input"
    );
}
