//! The head over a real engine: calls and JSON that are forced are valid, whatever the model is,
//! in each format in which the name or the arguments stand elsewhere.

#![cfg(feature = "llama")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use llama_sys::engine::Engine;
use llama_sys::local::{LocalConfig, LocalEngine};
use node::core::speed::Answered;
use node::head::{Head, HeadFacts, Hold, Profile, Surroundings};
use protocol::generate::generate_event::Event;
use protocol::generate::generate_request::Prompt;
use protocol::generate::tool_choice::Mode;
use protocol::generate::{
    ChatPrompt, Delta, FinishReason, GenerateRequest, OutputFormat, Sampling, ToolChoice,
    output_format,
};
use serde_json::{Value, json};

/// Templates whose formats open calls in different ways, and what is asked of each. The last is
/// that of a model which knows no tools.
const CASES: [(&str, Mode, &str); 9] = [
    ("Qwen-Qwen3-0.6B", Mode::Required, ""),
    ("Qwen3-Coder", Mode::Function, "weather"),
    ("mistralai-Mistral-Nemo-Instruct-2407", Mode::Required, ""),
    (
        "Mistral-Small-3.2-24B-Instruct-2506",
        Mode::Function,
        "weather",
    ),
    ("ibm-granite-granite-3.3-2B-Instruct", Mode::Required, ""),
    (
        "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
        Mode::Function,
        "dice",
    ),
    ("openai-gpt-oss-120b", Mode::Function, "weather"),
    ("openai-gpt-oss-120b", Mode::Required, ""),
    ("SmolLM2-135M-Instruct", Mode::Required, ""),
];

/// Enough for any answer that the schemas below allow.
const MAX_TOKENS: u32 = 250;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn engine() -> Arc<dyn Engine> {
    let config = LocalConfig {
        parallel: Some(1),
        // Two threads on a busy machine wait for one another, and the model is tiny.
        threads: Some(1),
        ..LocalConfig::new(here("../tests/fixtures/tiny-moe-q8_0.gguf"))
    };
    Arc::new(LocalEngine::load(&config, |_| true).unwrap())
}

fn head(engine: &Arc<dyn Engine>, template: &str) -> Head {
    let path = here("src/head/templates_fixture").join(format!("{template}.jinja"));
    let facts = HeadFacts {
        model: template.to_owned(),
        template: Some(std::fs::read_to_string(path).unwrap()),
        ..HeadFacts::default()
    };
    let profile = Arc::new(Profile::new(facts));
    Head::new(profile, Arc::clone(engine), Surroundings::default())
}

/// Two tools, one of which refers to its own definitions.
fn tools() -> Value {
    json!([
        { "type": "function", "function": { "name": "weather", "parameters": {
            "type": "object",
            "properties": {
                "city": { "type": "string", "maxLength": 8 },
                "unit": { "$ref": "#/$defs/unit" },
            },
            "required": ["city", "unit"],
            "additionalProperties": false,
            "$defs": { "unit": { "enum": ["celsius", "fahrenheit"] } },
        } } },
        { "type": "function", "function": { "name": "dice", "parameters": {
            "type": "object",
            "properties": { "sides": { "type": "integer", "minimum": 2, "maximum": 20 } },
            "required": ["sides"],
            "additionalProperties": false,
        } } },
    ])
}

fn request(seed: u64, tools: Option<(Mode, &str)>) -> GenerateRequest {
    // With a system message templates leave out long texts of their own.
    let messages = json!([
        { "role": "system", "content": "Rust" },
        { "role": "user", "content": "fn main() {" },
    ]);
    let mut chat = ChatPrompt {
        messages_json: messages.to_string(),
        ..ChatPrompt::default()
    };
    if let Some((mode, function)) = tools {
        chat.tools_json = self::tools().to_string();
        chat.tool_choice = Some(ToolChoice {
            mode: mode.into(),
            function: function.to_owned(),
        });
    }
    GenerateRequest {
        request_id: format!("r{seed}"),
        prompt: Some(Prompt::Chat(chat)),
        max_tokens: Some(MAX_TOKENS),
        sampling: Some(Sampling {
            temperature: Some(1.2),
            seed: Some(seed),
            ..Sampling::default()
        }),
        ..GenerateRequest::default()
    }
}

/// Nothing holds an engine here.
struct Nothing;

impl Hold for Nothing {
    fn on_answered(&self, _: &Answered) {}
}

/// The whole answer in one delta, and how it ended.
async fn answer(head: &Head, request: GenerateRequest) -> (Delta, FinishReason) {
    let mut stream = head.generate(request, Nothing).await.unwrap();
    let mut whole = Delta::default();
    while let Some(event) = stream.recv().await {
        match event.event.unwrap() {
            Event::Delta(delta) => {
                whole.text.push_str(&delta.text);
                for call in delta.tool_calls {
                    if call.name.is_empty() {
                        let last = whole.tool_calls.last_mut().unwrap();
                        last.arguments.push_str(&call.arguments);
                    } else {
                        whole.tool_calls.push(call);
                    }
                }
            }
            Event::Finished(finished) => return (whole, finished.reason()),
            Event::Failed(failure) => panic!("{failure}"),
            Event::Queued(_) | Event::Started(_) => {}
        }
    }
    panic!("the stream ended without an end");
}

fn assert_fits(name: &str, arguments: &str, what: &str) {
    let arguments: Value = serde_json::from_str(arguments)
        .unwrap_or_else(|e| panic!("{what}: {arguments:?} is no JSON: {e}"));
    match name {
        "weather" => {
            assert!(arguments["city"].is_string(), "{what}: {arguments}");
            let unit = arguments["unit"].as_str().unwrap();
            assert!(["celsius", "fahrenheit"].contains(&unit), "{what}: {unit}");
        }
        "dice" => {
            let sides = arguments["sides"].as_i64().unwrap();
            assert!((2..=20).contains(&sides), "{what}: {sides}");
        }
        other => panic!("{what}: nobody offered {other}"),
    }
}

#[tokio::test]
async fn forced_calls_are_valid_in_every_format() {
    let engine = engine();
    for (seed, (template, mode, function)) in (0..).zip(CASES) {
        let head = head(&engine, template);
        let what = format!("{template}, {mode:?} {function}");
        let (whole, reason) = answer(&head, request(seed, Some((mode, function)))).await;
        assert_eq!(whole.text, "", "{what}");
        assert!(!whole.tool_calls.is_empty(), "{what}: {whole:?}");
        assert_eq!(reason, FinishReason::ToolCalls, "{what}");
        for call in &whole.tool_calls {
            assert!(function.is_empty() || call.name == function, "{what}");
            assert_fits(&call.name, &call.arguments, &what);
        }
    }
}

#[tokio::test]
async fn json_is_valid_where_a_schema_wants_it() {
    let engine = engine();
    let head = head(&engine, "SmolLM2-135M-Instruct");
    let schema = json!({
        "type": "object",
        "properties": {
            "pair": { "type": "array", "items": { "$ref": "#/$defs/n" }, "minItems": 2, "maxItems": 2 },
            "yes": { "type": "boolean" },
        },
        "required": ["pair", "yes"],
        "additionalProperties": false,
        "$defs": { "n": { "enum": [1, 2] } },
    });
    for seed in 0..2 {
        let mut wanted = request(seed, None);
        wanted.format = Some(OutputFormat {
            format: Some(output_format::Format::JsonSchema(schema.to_string())),
        });
        let (whole, reason) = answer(&head, wanted).await;
        assert_eq!(reason, FinishReason::Stop);
        let value: Value = serde_json::from_str(&whole.text).unwrap();
        assert!(value["pair"][1] == 1 || value["pair"][1] == 2, "{value}");
        assert!(value["yes"].is_boolean(), "{value}");
    }
}
