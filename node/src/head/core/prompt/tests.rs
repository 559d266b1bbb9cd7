//! Prompts of real templates: roles repaired, tools told, calls and JSON forced.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests")]

use protocol::generate::{ToolChoice, tool_choice::Mode};
use serde_json::json;

use super::super::answer::Piece;
use super::super::template::tests::fixture;
use super::*;

/// As Gemma's: no system role, strict turns.
const STRICT: &str = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}\
    {% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}\
    <{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<model>{% endif %}";

fn dialect(source: &str) -> Dialect {
    Dialect::new(Some(source), None, ("<s>", "</s>")).unwrap()
}

fn fixture_dialect(name: &str) -> Dialect {
    dialect(&fixture(&format!("{name}.jinja")))
}

fn chat(messages: Value) -> ChatPrompt {
    ChatPrompt {
        messages_json: messages.to_string(),
        parallel_tool_calls: true,
        ..ChatPrompt::default()
    }
}

fn hello() -> Value {
    json!([{ "role": "user", "content": "Hello" }])
}

fn with_tools(mode: Mode, function: &str) -> ChatPrompt {
    let tool = |name: &str| {
        json!({ "type": "function", "function": { "name": name, "parameters": {
            "type": "object",
            "properties": { "at": { "$ref": "#/$defs/place" } },
            "$defs": { "place": { "type": "string" } },
        } } })
    };
    ChatPrompt {
        tools_json: json!([tool("weather"), tool("time")]).to_string(),
        tool_choice: Some(ToolChoice {
            mode: mode.into(),
            function: function.to_owned(),
        }),
        ..chat(hello())
    }
}

fn plan(dialect: &Dialect, chat: &ChatPrompt) -> ChatPlan {
    dialect.plan(chat, None, 0).unwrap()
}

fn read(mut plan: ChatPlan, answer: &str) -> Vec<Piece> {
    let mut pieces = plan.parser.push(answer);
    pieces.extend(plan.parser.finish());
    pieces
}

#[test]
fn roles_that_a_template_refuses_are_folded() {
    let messages = json!([
        { "role": "developer", "content": "Be brief." },
        { "role": "user", "content": "One." },
        { "role": "user", "content": "Two." },
    ]);
    let plan = plan(&dialect(STRICT), &chat(messages));
    assert_eq!(plan.text, "<user>Be brief.\n\nOne.\n\nTwo.<model>");
}

#[test]
fn what_no_shape_repairs_is_told_in_the_templates_words() {
    let source = "{{ raise_exception('not today') }}";
    let error = dialect(source).plan(&chat(hello()), None, 0).unwrap_err();
    assert_eq!(error.param(), "messages");
    assert!(error.to_string().contains("refuses: not today"), "{error}");
}

#[test]
fn tools_reach_models_whose_template_knows_none() {
    let plan = plan(
        &fixture_dialect("SmolLM2-135M-Instruct"),
        &with_tools(Mode::Auto, ""),
    );
    assert!(plan.text.contains("<tools>"), "{}", plan.text);
    assert!(plan.text.contains("\"name\":\"weather\""), "{}", plan.text);
    assert_eq!(plan.constraint, Constraint::Free);
    assert!(plan.show_special);
    let call = "<tool_call>{\"name\":\"time\",\"arguments\":{}}</tool_call>";
    assert!(matches!(&read(plan, call)[0], Piece::Call { name, .. } if name == "time"));
}

#[test]
fn none_hides_the_tools() {
    let plan = plan(
        &fixture_dialect("Qwen-Qwen3-0.6B"),
        &with_tools(Mode::None, ""),
    );
    assert!(!plan.text.contains("weather"));
    let call = "<tool_call>{\"name\":\"time\",\"arguments\":{}}</tool_call>";
    assert_eq!(read(plan, call), [Piece::Text(call.to_owned())]);
}

#[test]
fn a_required_call_is_opened_and_constrained() {
    let plan = plan(
        &fixture_dialect("SmolLM2-135M-Instruct"),
        &with_tools(Mode::Required, ""),
    );
    assert!(
        plan.text.ends_with("<|im_start|>assistant\n<tool_call>\n"),
        "{}",
        plan.text
    );
    let Constraint::Schema(schema) = &plan.constraint else {
        panic!("constrained");
    };
    assert_eq!(schema["anyOf"][1]["properties"]["name"]["const"], "time");
    assert_eq!(
        schema["anyOf"][1]["properties"]["arguments"]["$ref"],
        "#/$defs/f1"
    );
    let place = &schema["$defs"]["f1"]["properties"]["at"]["$ref"];
    assert_eq!(place, "#/$defs/f1/$defs/place");
    let pieces = read(
        plan,
        "{\"name\": \"weather\", \"arguments\": {\"at\": \"Rome\"}}",
    );
    assert_eq!(
        pieces,
        [
            Piece::Call {
                index: 0,
                name: "weather".into()
            },
            Piece::Arguments {
                index: 0,
                text: "{\"at\": \"Rome\"}".into()
            },
        ]
    );
}

#[test]
fn a_named_function_is_forced_in_every_format() {
    for (name, answer) in [
        (
            "SmolLM2-135M-Instruct",
            "{\"name\": \"time\", \"arguments\": {}}",
        ),
        ("Qwen3-Coder", "{\"name\": \"time\", \"arguments\": {}}"),
        (
            "mistralai-Mistral-Nemo-Instruct-2407",
            "[{\"name\": \"time\", \"arguments\": {}}]",
        ),
        ("Mistral-Small-3.2-24B-Instruct-2506", "{}"),
        (
            "ibm-granite-granite-3.3-2B-Instruct",
            "[{\"name\": \"time\", \"arguments\": {}}]",
        ),
        ("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", "{}"),
        ("openai-gpt-oss-120b", "{}"),
        (
            "microsoft-Phi-3.5-mini-instruct",
            "{\"name\": \"time\", \"arguments\": {}}",
        ),
    ] {
        let plan = plan(&fixture_dialect(name), &with_tools(Mode::Function, "time"));
        assert!(matches!(plan.constraint, Constraint::Schema(_)), "{name}");
        let pieces = read(plan, answer);
        let expected = [
            Piece::Call {
                index: 0,
                name: "time".into(),
            },
            Piece::Arguments {
                index: 0,
                text: "{}".into(),
            },
        ];
        assert_eq!(pieces, expected, "{name}");
    }
}

#[test]
fn a_required_call_is_read_where_the_format_cannot_be_forced() {
    let call = "{\"name\": \"time\", \"arguments\": {}}";
    for name in [
        "openai-gpt-oss-120b",
        "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
        "Mistral-Small-3.2-24B-Instruct-2506",
    ] {
        let plan = plan(&fixture_dialect(name), &with_tools(Mode::Required, ""));
        assert!(
            matches!(&read(plan, call)[0], Piece::Call { name, .. } if name == "time"),
            "{name}"
        );
    }
}

#[test]
fn choices_that_fit_no_tool_are_refused() {
    let dialect = fixture_dialect("SmolLM2-135M-Instruct");
    let unknown = dialect
        .plan(&with_tools(Mode::Function, "nobody"), None, 0)
        .unwrap_err();
    assert_eq!(unknown.param(), "tool_choice");
    let mut toolless = with_tools(Mode::Required, "");
    toolless.tools_json.clear();
    assert_eq!(
        dialect.plan(&toolless, None, 0).unwrap_err().param(),
        "tool_choice"
    );
    let mut twice = with_tools(Mode::Auto, "");
    twice.tools_json = "[{\"function\":{\"name\":\"a\"}},{\"function\":{\"name\":\"a\"}}]".into();
    assert_eq!(dialect.plan(&twice, None, 0).unwrap_err().param(), "tools");
}

#[test]
fn thinking_that_the_template_opens_is_read_as_reasoning() {
    let dialect = dialect(&format!("{CHATML}{{{{- '<think>\\n' -}}}}"));
    let free = plan(&dialect, &chat(hello()));
    assert!(free.text.ends_with("<think>\n"), "{:?}", free.text);
    assert_eq!(
        read(free, "Hm.\n</think>\n\nHello!"),
        [Piece::Reasoning("Hm.".into()), Piece::Text("Hello!".into())]
    );
    let format = OutputFormat {
        format: Some(output_format::Format::JsonObject(true)),
    };
    let json = dialect.plan(&chat(hello()), Some(&format), 0).unwrap();
    assert!(
        json.text.ends_with("<think>\n\n</think>\n\n"),
        "{:?}",
        json.text
    );
    assert_eq!(json.constraint, Constraint::JsonObject);
    assert_eq!(read(json, "{}"), [Piece::Text("{}".into())]);
}

#[test]
fn template_variables_reach_the_template() {
    let mut quiet = chat(hello());
    quiet.template_kwargs_json = "{\"enable_thinking\": false}".into();
    let plan = plan(&fixture_dialect("Qwen-Qwen3-0.6B"), &quiet);
    assert!(plan.text.ends_with("<think>\n\n</think>\n\n"));
    quiet.template_kwargs_json = "[]".into();
    let error = fixture_dialect("Qwen-Qwen3-0.6B")
        .plan(&quiet, None, 0)
        .unwrap_err();
    assert_eq!(error, PromptError::Kwargs);
}

#[test]
fn the_last_message_is_continued_where_asked() {
    let messages = json!([
        { "role": "user", "content": "Count." },
        { "role": "assistant", "content": "One, two," },
    ]);
    let dialect = fixture_dialect("SmolLM2-135M-Instruct");
    let mut continued = chat(messages);
    assert!(
        plan(&dialect, &continued)
            .text
            .ends_with("<|im_start|>assistant\n")
    );
    continued.template_kwargs_json = "{\"continue_final_message\": true}".into();
    assert!(
        plan(&dialect, &continued)
            .text
            .ends_with("<|im_start|>assistant\nOne, two,")
    );
}

#[test]
fn a_model_without_a_template_speaks_chatml() {
    let dialect = Dialect::new(None, None, ("", "")).unwrap();
    let text = plan(&dialect, &chat(hello())).text;
    assert_eq!(
        text,
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn schemas_are_checked() {
    let schema = |text: &str| OutputFormat {
        format: Some(output_format::Format::JsonSchema(text.to_owned())),
    };
    let dialect = fixture_dialect("SmolLM2-135M-Instruct");
    let good = dialect
        .plan(&chat(hello()), Some(&schema("{\"type\":\"object\"}")), 0)
        .unwrap();
    assert_eq!(
        good.constraint,
        Constraint::Schema(json!({ "type": "object" }))
    );
    let bad = dialect
        .plan(&chat(hello()), Some(&schema("7")), 0)
        .unwrap_err();
    assert_eq!(bad.param(), "response_format");
}

#[test]
fn calls_in_the_history_reach_templates_without_tools() {
    let messages = json!([
        { "role": "user", "content": "Weather?" },
        { "role": "assistant", "tool_calls": [
            { "id": "c", "type": "function", "function": { "name": "weather", "arguments": "{\"at\":\"Rome\"}" } }
        ] },
        { "role": "tool", "tool_call_id": "c", "content": "sunny" },
    ]);
    let text = plan(&fixture_dialect("SmolLM2-135M-Instruct"), &chat(messages)).text;
    assert!(
        text.contains(
            "<tool_call>\n{\"name\":\"weather\",\"arguments\":{\"at\":\"Rome\"}}\n</tool_call>"
        ),
        "{text}"
    );
    assert!(text.contains("sunny"), "{text}");
}
