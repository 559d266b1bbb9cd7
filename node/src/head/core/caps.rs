//! What a template knows, told by rendering small conversations: as llama.cpp does
//! (`common/jinja/caps.cpp`), but by what comes out instead of by what was touched.

use serde_json::{Map, Value, json};

use super::template::{ChatTemplate, TemplateError};

#[cfg(test)]
mod tests;

/// What a template knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Content must be an array of parts.
    pub typed_content: bool,
    /// The system role, and that it shows.
    pub system: bool,
    /// The developer role by that name.
    pub developer: bool,
    /// Tools given to the template show.
    pub tools: bool,
    /// Calls in earlier assistant messages show.
    pub tool_calls: bool,
    /// Results in the tool role show.
    pub tool_results: bool,
    /// Calls' arguments are an object; else JSON text.
    pub object_arguments: bool,
    /// Call ids must have nine letters and digits.
    pub short_ids: bool,
}

/// Texts that no template contains.
const USER: &str = "zqUSERzq";
const SYSTEM: &str = "zqSYSTEMzq";
const TOOL: &str = "zqTOOLzq";
const KEY: &str = "zqKEYzq";
const VALUE: &str = "zqVALUEzq";
const RESULT: &str = "zqRESULTzq";

/// An id that every template takes.
const ID: &str = "abc123DEF";

impl Caps {
    /// Probes a template.
    pub fn probe(template: &ChatTemplate) -> Self {
        let probe = Probe { template };
        let typed_content = !probe.user(&json!(USER)).contains(USER)
            && probe
                .user(&json!([{ "type": "text", "text": USER }]))
                .contains(USER);
        let probe = TypedProbe {
            probe,
            typed_content,
        };
        let system = probe.render(
            vec![probe.message("system", SYSTEM), probe.message("user", USER)],
            None,
        );
        let with_object = probe.calls(&json!({ KEY: VALUE }));
        let with_text = probe.calls(&json!(json!({ KEY: VALUE }).to_string()));
        let object_arguments = shows_arguments(&with_object) || !shows_arguments(&with_text);
        let calls = if object_arguments {
            with_object
        } else {
            with_text
        };
        let source = template.source();
        Self {
            typed_content,
            system: system.is_ok_and(|text| text.contains(SYSTEM)),
            developer: source.contains("developer"),
            tools: probe.tools(),
            tool_calls: calls.as_ref().is_ok_and(|text| text.contains(VALUE)),
            tool_results: calls.is_ok_and(|text| text.contains(RESULT)),
            object_arguments,
            short_ids: source.contains("length != 9"),
        }
    }
}

/// The arguments came out, and not as Python prints them.
fn shows_arguments(rendered: &Result<String, TemplateError>) -> bool {
    rendered.as_ref().is_ok_and(|text| {
        let python = text.contains(&format!("'{KEY}'"));
        let doubled = text.contains(&format!("\\\"{KEY}\\\""));
        text.contains(KEY) && text.contains(VALUE) && !python && !doubled
    })
}

struct Probe<'a> {
    template: &'a ChatTemplate,
}

impl Probe<'_> {
    fn render(&self, messages: Value, tools: Option<Value>) -> Result<String, TemplateError> {
        let mut variables = Map::from_iter([
            ("messages".to_owned(), messages),
            ("add_generation_prompt".to_owned(), json!(true)),
            ("bos_token".to_owned(), json!("")),
            ("eos_token".to_owned(), json!("")),
        ]);
        if let Some(tools) = tools {
            variables.insert("tools".to_owned(), tools);
        }
        self.template.render(&variables, 0)
    }

    fn user(&self, content: &Value) -> String {
        let messages = json!([{ "role": "user", "content": content }]);
        self.render(messages, None).unwrap_or_default()
    }
}

struct TypedProbe<'a> {
    probe: Probe<'a>,
    typed_content: bool,
}

impl TypedProbe<'_> {
    fn message(&self, role: &str, text: &str) -> Value {
        let content = if self.typed_content {
            json!([{ "type": "text", "text": text }])
        } else {
            json!(text)
        };
        json!({ "role": role, "content": content })
    }

    fn render(&self, messages: Vec<Value>, tools: Option<Value>) -> Result<String, TemplateError> {
        self.probe.render(Value::Array(messages), tools)
    }

    fn tools(&self) -> bool {
        self.render(vec![self.message("user", USER)], Some(offered()))
            .is_ok_and(|text| text.contains(TOOL))
    }

    fn calls(&self, arguments: &Value) -> Result<String, TemplateError> {
        let mut call = self.message("assistant", "");
        call["tool_calls"] = json!([{
            "id": ID,
            "type": "function",
            "function": { "name": TOOL, "arguments": arguments },
        }]);
        let mut result = self.message("tool", RESULT);
        result["tool_call_id"] = json!(ID);
        result["name"] = json!(TOOL);
        let messages = vec![self.message("user", USER), call, result];
        self.render(messages, Some(offered()))
    }
}

fn offered() -> Value {
    json!([{
        "type": "function",
        "function": {
            "name": TOOL,
            "description": "A tool",
            "parameters": {
                "type": "object",
                "properties": { KEY: { "type": "string", "description": "A key" } },
                "required": [KEY],
            },
        },
    }])
}
