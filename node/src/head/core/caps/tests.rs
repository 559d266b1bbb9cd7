//! What real templates know is found out.

use super::super::template::{CHATML, tests::fixture};
use super::*;

fn probe(source: &str) -> Caps {
    Caps::probe(&ChatTemplate::compile(source).expect("a template"))
}

fn probe_fixture(name: &str) -> Caps {
    probe(&fixture(&format!("{name}.jinja")))
}

#[test]
fn chatml_knows_roles_only() {
    let caps = probe(CHATML);
    assert!(caps.system && !caps.tools && !caps.tool_calls && !caps.typed_content);
}

#[test]
fn templates_with_tools_are_told_from_those_without() {
    for name in [
        "Qwen-Qwen3-0.6B",
        "Qwen3-Coder",
        "mistralai-Mistral-Nemo-Instruct-2407",
        "openai-gpt-oss-120b",
        "google-gemma-4-31B-it",
        "GLM-4.6",
    ] {
        let caps = probe_fixture(name);
        assert!(
            caps.tools && caps.tool_calls && caps.object_arguments,
            "{name}"
        );
        assert!(caps.tool_results && caps.system, "{name}");
    }
    for name in ["SmolLM2-135M-Instruct", "microsoft-Phi-3.5-mini-instruct"] {
        assert!(!probe_fixture(name).tools, "{name}");
    }
    assert!(probe_fixture("mistralai-Mistral-Nemo-Instruct-2407").short_ids);
    assert!(!probe_fixture("meetkai-functionary-medium-v3.2").object_arguments);
    assert!(probe_fixture("openai-gpt-oss-120b").developer);
}

#[test]
fn content_that_must_be_parts_is_noticed() {
    let source =
        "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}";
    assert!(probe(source).typed_content);
}

#[test]
fn a_template_that_ignores_the_system_role_is_noticed() {
    let source =
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}";
    assert!(!probe(source).system);
}
