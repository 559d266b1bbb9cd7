//! Real templates render as `jinja2` renders them; hostile ones meet their limits.
#![allow(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests")]

use std::path::PathBuf;

use serde_json::{Map, Value as Json, json};

use super::*;

/// The date at which the fixtures were rendered.
const NOW: u64 = 1_700_000_000;

pub(crate) fn fixture(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/head/templates_fixture");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn render(source: &str, variables: Json) -> Result<String, TemplateError> {
    let Json::Object(variables) = variables else {
        panic!("variables are an object");
    };
    ChatTemplate::compile(source)?.render(&variables, NOW)
}

#[test]
fn fixtures_render_as_jinja2_does() {
    let expected: Json = serde_json::from_str(&fixture("expected.json")).unwrap();
    let mut compared = 0;
    for (name, rendered) in expected["rendered"].as_object().unwrap() {
        let template = ChatTemplate::compile(&fixture(&format!("{name}.jinja"))).unwrap();
        for (conversation, text) in rendered.as_object().unwrap() {
            let mut variables: Map<String, Json> =
                serde_json::from_value(expected["conversations"][conversation].clone()).unwrap();
            variables.insert("add_generation_prompt".into(), true.into());
            variables.insert("bos_token".into(), "<s>".into());
            variables.insert("eos_token".into(), "</s>".into());
            let got = template.render(&variables, NOW);
            assert_eq!(got.ok().as_deref(), text.as_str(), "{name}, {conversation}");
            compared += 1;
        }
    }
    assert!(compared >= 80, "the fixtures are there");
}

#[test]
fn json_is_written_as_python_writes_it() {
    let value = json!({ "v": { "b": [1, 2.5, "é<'\n"], "a": null } });
    let plain = render("{{ v | tojson }}", value.clone()).unwrap();
    assert_eq!(plain, "{\"b\": [1, 2.5, \"é<'\\n\"], \"a\": null}");
    let ascii = render("{{ v.b | tojson(ensure_ascii=true) }}", value.clone()).unwrap();
    assert_eq!(ascii, "[1, 2.5, \"\\u00e9<'\\n\"]");
    let indented = render("{{ v.b | tojson(indent=2) }}", value.clone()).unwrap();
    assert_eq!(indented, "[\n  1,\n  2.5,\n  \"é<'\\n\"\n]");
    let printed = render("{{ v }} {{ true }} {{ none }}", value).unwrap();
    assert_eq!(printed, "{'b': [1, 2.5, \"é<'\\n\"], 'a': None} True None");
}

#[test]
fn python_is_there_where_templates_use_it() {
    let text = render(
        "{{ 'a,b,c'.rsplit(',', 1)[0] }}|{{ 'x=y'.partition('=')[2] }}|{{ 'abc'.removeprefix('a') }}|\
         {{ nothing | length }}|{{ strftime_now('%d %b %Y') }}|\
         {%- set ns = namespace(n=0) %}{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}\
         {% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}|{% generation %}g{% endgeneration %}",
        json!({}),
    );
    assert_eq!(text.unwrap(), "a,b|y|bc|0|14 Nov 2023|3|g");
}

#[test]
fn a_refusal_keeps_its_words() {
    let refused = render("{{ raise_exception('only users') }}", json!({}));
    assert_eq!(refused, Err(TemplateError::Raised("only users".into())));
    let broken = ChatTemplate::compile("{% for %}").unwrap_err();
    assert!(matches!(broken, TemplateError::Syntax(_)));
}

#[test]
fn hostile_templates_end() {
    let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    assert_eq!(render(endless, json!({})), Err(TemplateError::Limits));
    let long = "{% set x = 'x' * 1000000 %}{% for a in range(9999) %}{{ x }}{% endfor %}";
    assert_eq!(render(long, json!({})), Err(TemplateError::Limits));
    let deep = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
    assert!(matches!(
        render(deep, json!({})),
        Err(TemplateError::Failed(_))
    ));
    let nested = format!(
        "{}{}",
        "{% if 1 %}".repeat(5000),
        "{% endif %}".repeat(5000)
    );
    assert!(ChatTemplate::compile(&nested).is_err());
    let huge = "x".repeat(MAX_SOURCE_BYTES + 1);
    assert_eq!(
        ChatTemplate::compile(&huge).unwrap_err(),
        TemplateError::Limits
    );
}
