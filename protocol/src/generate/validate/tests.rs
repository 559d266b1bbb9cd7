//! Each limit of a request: what just fits, what does not, and which field is named.

use proptest::prelude::*;

use super::*;
use crate::generate::{
    ErrorCode, Failure,
    tests::{embed_request, generate_request},
};

fn chat(change: impl FnOnce(&mut ChatPrompt)) -> Result<(), RequestError> {
    let mut chat = ChatPrompt {
        messages_json: r#"[{"role":"user","content":"hi"}]"#.into(),
        ..ChatPrompt::default()
    };
    change(&mut chat);
    request(|r| r.prompt = Some(Prompt::Chat(chat)))
}

fn request(change: impl FnOnce(&mut GenerateRequest)) -> Result<(), RequestError> {
    let mut request = GenerateRequest {
        request_id: "r".into(),
        model: "m".into(),
        prompt: Some(Prompt::Text("hi".into())),
        ..GenerateRequest::default()
    };
    change(&mut request);
    request.validate()
}

fn sampling(change: impl FnOnce(&mut Sampling)) -> Result<(), RequestError> {
    let mut sampling = Sampling::default();
    change(&mut sampling);
    request(|r| r.sampling = Some(sampling))
}

fn embed(change: impl FnOnce(&mut EmbedRequest)) -> Result<(), RequestError> {
    let mut request = embed_request();
    change(&mut request);
    request.validate()
}

#[track_caller]
fn refused(result: Result<(), RequestError>, param: &str) {
    let error = result.expect_err("must be refused");
    assert_eq!(error.param(), param, "{error}");
    let failure = Failure::from(error);
    assert_eq!(failure.param, param);
    assert!(!failure.is_retryable() && !failure.message.is_empty());
}

#[test]
fn whole_requests_pass() {
    assert_eq!(generate_request().validate(), Ok(()));
    assert_eq!(embed_request().validate(), Ok(()));
    assert_eq!(request(|_| {}), Ok(()));
    assert_eq!(chat(|_| {}), Ok(()));
}

#[test]
fn ids_and_names_are_checked() {
    refused(request(|r| r.request_id.clear()), "request_id");
    refused(request(|r| r.model.clear()), "model");
    let error = request(|r| r.model = "../../etc/passwd".into()).unwrap_err();
    assert_eq!(Failure::from(error).code(), ErrorCode::ModelNotFound);
    let error = request(|r| r.prompt = None).unwrap_err();
    assert_eq!(error, RequestError::Missing("prompt"));
    assert_eq!(error.code(), ErrorCode::InvalidRequest);
}

#[test]
fn messages_are_a_bounded_array() {
    for text in ["", "[]", "{}", "[", "null"] {
        refused(chat(|c| c.messages_json = text.into()), "messages");
    }
    let array = |n: usize| format!("[{}0]", "0,".repeat(n - 1));
    assert_eq!(chat(|c| c.messages_json = array(MAX_MESSAGES)), Ok(()));
    refused(
        chat(|c| c.messages_json = array(MAX_MESSAGES + 1)),
        "messages",
    );
    let long = format!("[\"{}\"]", "x".repeat(MAX_PROMPT_BYTES));
    refused(chat(|c| c.messages_json = long), "messages");
}

#[test]
fn tools_are_a_bounded_array() {
    let tools = |n: usize| format!("[{}{{}}]", "{},".repeat(n - 1));
    assert_eq!(chat(|c| c.tools_json = tools(MAX_TOOLS)), Ok(()));
    refused(chat(|c| c.tools_json = tools(MAX_TOOLS + 1)), "tools");
    refused(chat(|c| c.tools_json = "{}".into()), "tools");
    let long = format!("[\"{}\"]", "x".repeat(MAX_TOOLS_BYTES));
    refused(chat(|c| c.tools_json = long), "tools");
}

#[test]
fn a_forced_tool_must_be_there() {
    let choose = |mode: Mode, function: &str, tools: &str| {
        chat(|c| {
            c.tools_json = tools.into();
            c.tool_choice = Some(ToolChoice {
                mode: mode.into(),
                function: function.into(),
            });
        })
    };
    assert_eq!(choose(Mode::None, "", ""), Ok(()));
    assert_eq!(choose(Mode::Required, "", "[{}]"), Ok(()));
    assert_eq!(choose(Mode::Function, "f", "[{}]"), Ok(()));
    refused(choose(Mode::Required, "", ""), "tools");
    refused(choose(Mode::Function, "f", "[]"), "tools");
    refused(choose(Mode::Function, "", "[{}]"), "tool_choice");
    refused(
        choose(Mode::Function, &"f".repeat(65), "[{}]"),
        "tool_choice",
    );
    let unknown = ToolChoice {
        mode: 99,
        ..ToolChoice::default()
    };
    refused(chat(|c| c.tool_choice = Some(unknown)), "tool_choice");
}

#[test]
fn template_variables_are_an_object() {
    let kwargs = |text: &str| chat(|c| c.template_kwargs_json = text.into());
    assert_eq!(kwargs(r#"{"enable_thinking": false}"#), Ok(()));
    refused(kwargs("[]"), "chat_template_kwargs");
    refused(
        kwargs(&" ".repeat(MAX_TEMPLATE_KWARGS_BYTES + 1)),
        "chat_template_kwargs",
    );
}

#[test]
fn prompts_are_bounded() {
    let tokens =
        |n| request(|r| r.prompt = Some(Prompt::Tokens(TokenPrompt { tokens: vec![1; n] })));
    assert_eq!(tokens(MAX_TOKENS), Ok(()));
    refused(tokens(MAX_TOKENS + 1), "prompt");
    refused(tokens(0), "prompt");
    let text = |n| request(|r| r.prompt = Some(Prompt::Text("x".repeat(n))));
    assert_eq!(text(0), Ok(()));
    refused(text(MAX_PROMPT_BYTES + 1), "prompt");
    let infill = InfillPrompt {
        prefix: "x".repeat(MAX_PROMPT_BYTES),
        suffix: "y".into(),
    };
    refused(
        request(|r| r.prompt = Some(Prompt::Infill(infill))),
        "prompt",
    );
}

#[test]
fn sampling_parameters_have_ranges() {
    type Set = fn(&mut Sampling, f32);
    let cases: [(&str, Set, [f32; 2], [f32; 2]); 6] = [
        (
            "temperature",
            |s, v| s.temperature = Some(v),
            [0.0, 2.0],
            [-0.1, 2.1],
        ),
        ("top_p", |s, v| s.top_p = Some(v), [0.0, 1.0], [-0.1, 1.1]),
        ("min_p", |s, v| s.min_p = Some(v), [0.0, 1.0], [-0.1, 1.1]),
        (
            "repeat_penalty",
            |s, v| s.repeat_penalty = Some(v),
            [0.1, 10.0],
            [0.0, 10.1],
        ),
        (
            "presence_penalty",
            |s, v| s.presence_penalty = Some(v),
            [-2.0, 2.0],
            [-2.1, 2.1],
        ),
        (
            "frequency_penalty",
            |s, v| s.frequency_penalty = Some(v),
            [-2.0, 2.0],
            [-2.1, 2.1],
        ),
    ];
    for (param, set, good, bad) in cases {
        for value in good {
            assert_eq!(sampling(|s| set(s, value)), Ok(()), "{param} {value}");
        }
        for value in bad.into_iter().chain([f32::NAN, f32::INFINITY]) {
            refused(sampling(|s| set(s, value)), param);
        }
    }
}

#[test]
fn logit_biases_are_bounded() {
    let bias = |bias, n| sampling(|s| s.logit_bias = vec![LogitBias { token: 1, bias }; n]);
    for value in [-100.0, 100.0, f32::NEG_INFINITY] {
        assert_eq!(bias(value, MAX_LOGIT_BIAS), Ok(()));
    }
    refused(bias(0.0, MAX_LOGIT_BIAS + 1), "logit_bias");
    for value in [100.1, f32::NAN, f32::INFINITY, f32::MIN] {
        refused(bias(value, 1), "logit_bias");
    }
}

#[test]
fn stop_strings_are_bounded() {
    let stop = |n: usize, length: usize| request(|r| r.stop = vec!["x".repeat(length); n]);
    assert_eq!(stop(MAX_STOP_STRINGS, MAX_STOP_BYTES), Ok(()));
    refused(stop(MAX_STOP_STRINGS + 1, 1), "stop");
    refused(stop(1, MAX_STOP_BYTES + 1), "stop");
    refused(stop(1, 0), "stop");
}

#[test]
fn formats_are_checked() {
    let format = |f| request(|r| r.format = Some(OutputFormat { format: Some(f) }));
    assert_eq!(format(Format::JsonObject(true)), Ok(()));
    assert_eq!(format(Format::JsonSchema("{}".into())), Ok(()));
    refused(format(Format::JsonSchema("[]".into())), "response_format");
    refused(format(Format::Grammar(String::new())), "response_format");
    refused(
        format(Format::Grammar("x".repeat(MAX_GRAMMAR_BYTES + 1))),
        "response_format",
    );
}

#[test]
fn levels_of_a_later_version_are_refused() {
    refused(request(|r| r.privacy = 99), "privacy");
    refused(request(|r| r.top_logprobs = Some(21)), "top_logprobs");
    assert_eq!(request(|r| r.top_logprobs = Some(20)), Ok(()));
}

#[test]
fn a_resumed_answer_keeps_its_seed_and_limits() {
    let resume = |tokens: usize, sent_text_bytes, seed, max_tokens| {
        request(|r| {
            r.resume = Some(Resume {
                tokens: vec![1; tokens],
                sent_text_bytes,
            });
            r.max_tokens = max_tokens;
            r.sampling = Some(Sampling {
                seed,
                ..Sampling::default()
            });
        })
    };
    assert_eq!(resume(3, 12, Some(1), Some(3)), Ok(()));
    assert_eq!(resume(0, 0, None, None), Ok(()));
    refused(resume(3, 12, None, None), "seed");
    refused(resume(3, 12, Some(1), Some(2)), "resume");
    // The beginning of the first token's text was sent, and the token not told yet.
    assert_eq!(resume(0, 1, Some(1), None), Ok(()));
    refused(resume(0, 1, None, None), "seed");
    refused(resume(0, 4097, Some(1), None), "resume");
    refused(resume(1, u64::MAX, Some(1), None), "resume");
    refused(resume(MAX_TOKENS + 1, 0, Some(1), None), "resume");
}

#[test]
fn embedding_inputs_are_bounded() {
    let text = |n: usize| EmbedInput {
        input: Some(embed_input::Input::Text("x".repeat(n))),
    };
    let tokens = |n| EmbedInput {
        input: Some(embed_input::Input::Tokens(TokenPrompt {
            tokens: vec![1; n],
        })),
    };
    assert_eq!(
        embed(|r| r.inputs = vec![text(1); MAX_EMBED_INPUTS]),
        Ok(())
    );
    refused(
        embed(|r| r.inputs = vec![text(1); MAX_EMBED_INPUTS + 1]),
        "input",
    );
    refused(
        embed(|r| r.inputs = vec![text(MAX_PROMPT_BYTES), text(1)]),
        "input",
    );
    refused(
        embed(|r| r.inputs = vec![tokens(MAX_TOKENS), tokens(1)]),
        "input",
    );
    for inputs in [
        vec![],
        vec![text(0)],
        vec![tokens(0)],
        vec![EmbedInput::default()],
    ] {
        refused(embed(|r| r.inputs = inputs), "input");
    }
    refused(embed(|r| r.dimensions = Some(0)), "dimensions");
    refused(
        embed(|r| r.dimensions = Some(MAX_EMBED_DIMENSIONS + 1)),
        "dimensions",
    );
    refused(embed(|r| r.privacy = -1), "privacy");
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes: Vec<u8>) {
        use prost::Message;
        let _ = GenerateRequest::decode(bytes.as_slice()).map(|r| r.validate());
        let _ = EmbedRequest::decode(bytes.as_slice()).map(|r| r.validate());
    }
}
