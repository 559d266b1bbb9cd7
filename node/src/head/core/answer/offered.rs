//! The tools that an answer may call: their names and their parameters' types.

use std::collections::BTreeMap;

use serde_json::Value;

/// Names and parameter schemas of the tools offered.
#[derive(Debug, Clone, Default)]
pub struct Offered {
    parameters: BTreeMap<String, Value>,
}

impl Offered {
    /// The tools as (name, parameters' schema).
    pub fn new(tools: impl IntoIterator<Item = (String, Value)>) -> Self {
        Self {
            parameters: tools.into_iter().collect(),
        }
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.parameters.contains_key(name)
    }

    /// A parameter that was written as plain text, as the JSON that its schema wants.
    pub(super) fn to_json(&self, tool: &str, parameter: &str, text: &str) -> String {
        let kind = self
            .parameters
            .get(tool)
            .and_then(|schema| schema.get("properties")?.get(parameter)?.get("type"));
        let wants_text = kind.is_some_and(|kind| kind == "string");
        if wants_text {
            return Value::from(text).to_string();
        }
        let trimmed = text.trim();
        let python = match trimmed {
            "True" => "true",
            "False" => "false",
            "None" => "null",
            other => other,
        };
        match serde_json::from_str::<serde::de::IgnoredAny>(python) {
            Ok(_) => python.to_owned(),
            Err(_) => Value::from(text).to_string(),
        }
    }
}
