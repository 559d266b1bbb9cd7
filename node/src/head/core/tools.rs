//! Tools as a client offers them: checked, told to models whose template knows none, and forced
//! where the client requires a call. It owns the texts and schemas for that; it does not render
//! templates.

use std::collections::BTreeSet;

use protocol::generate::{ToolChoice, tool_choice::Mode};
use serde_json::{Value, json};

use super::answer::Offered;
use super::format::ToolFormat;
use super::prompt::PromptError;
use super::schema::{self, Definitions};

/// Tools of one request: four times what OpenAI takes.
const MAX_TOOLS: usize = 512;

/// Bytes of a tool's name; OpenAI takes 64.
const MAX_TOOL_NAME_BYTES: usize = 128;

/// Calls that a forced answer may hold.
const MAX_FORCED_CALLS: u32 = 16;

/// The tools of one request.
#[derive(Debug, Clone, Default)]
pub struct Tools {
    /// As the client sent them, for the template.
    pub json: Vec<Value>,
    /// Names and parameters, in order.
    pub functions: Vec<(String, Value)>,
}

/// What the client wants of the tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The model decides.
    Auto,
    /// There must be a call.
    Required,
    /// There must be a call of the function at this place.
    Function(usize),
}

impl Tools {
    /// Reads `tools_json` and `tool_choice`; no tools where the choice is `none`.
    ///
    /// # Errors
    /// [`PromptError::Tools`] and [`PromptError::ToolChoice`], with what is wrong.
    pub fn read(text: &str, choice: Option<&ToolChoice>) -> Result<(Self, Choice), PromptError> {
        let tools = Self::parse(text)?;
        let mode = choice.map_or(Mode::Auto, ToolChoice::mode);
        let choice =
            match mode {
                Mode::Auto => Choice::Auto,
                Mode::None => return Ok((Self::default(), Choice::Auto)),
                Mode::Required | Mode::Function if tools.json.is_empty() => {
                    return Err(PromptError::ToolChoice("it needs tools".into()));
                }
                Mode::Required => Choice::Required,
                Mode::Function => {
                    let name = choice.map(|c| c.function.as_str()).unwrap_or_default();
                    let place = tools.functions.iter().position(|(known, _)| known == name);
                    Choice::Function(place.ok_or_else(|| {
                        PromptError::ToolChoice(format!("no tool is named {name:?}"))
                    })?)
                }
            };
        Ok((tools, choice))
    }

    fn parse(text: &str) -> Result<Self, PromptError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let json: Vec<Value> = serde_json::from_str(text)
            .map_err(|_| PromptError::Tools("must be an array of tools".into()))?;
        if json.len() > MAX_TOOLS {
            return Err(PromptError::Tools(format!("more than {MAX_TOOLS} tools")));
        }
        let functions = json.iter().map(function).collect::<Result<Vec<_>, _>>()?;
        let mut names = BTreeSet::new();
        if let Some((name, _)) = functions.iter().find(|(name, _)| !names.insert(name)) {
            return Err(PromptError::Tools(format!("two tools are named {name:?}")));
        }
        let json = json.into_iter().map(completed).collect();
        Ok(Self { json, functions })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.json.is_empty()
    }

    /// What the reader of the answer must know of them.
    pub fn offered(&self) -> Offered {
        Offered::new(self.functions.iter().cloned())
    }

    /// Tells a model whose template knows no tools what there is, in the words of Hermes.
    pub fn instructions(&self) -> String {
        let mut text = String::from(
            "You are a function calling AI model. You may call one or more functions to assist \
             with the user query. You are provided with function signatures within \
             <tools></tools> XML tags:\n<tools>",
        );
        for tool in &self.json {
            text.push('\n');
            text.push_str(&tool.to_string());
        }
        text.push_str(
            "\n</tools>\n\nFor each function call, return a JSON object with function name and \
             arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": \
             <function-name>, \"arguments\": <args-json-object>}\n</tool_call>",
        );
        text
    }
}

fn function(tool: &Value) -> Result<(String, Value), PromptError> {
    let wrong = |what: &str| PromptError::Tools(what.to_owned());
    if tool.get("type").is_some_and(|kind| kind != "function") {
        return Err(wrong("only tools of type \"function\" are known"));
    }
    let function = tool
        .get("function")
        .ok_or_else(|| wrong("a tool lacks its function"))?;
    let name = function.get("name").and_then(Value::as_str);
    let name = name.filter(|n| is_tool_name(n)).ok_or_else(|| {
        wrong("a function's name must have 1 to 128 letters, digits, or any of _ - . : /")
    })?;
    let parameters = match function.get("parameters") {
        None | Some(Value::Null) => json!({ "type": "object", "properties": {} }),
        Some(schema) => {
            schema::check(schema)
                .map_err(|e| PromptError::Tools(format!("parameters of {name}: {e}")))?;
            let strict = function.get("strict") == Some(&Value::Bool(true));
            let schema = object_schema(schema);
            if strict {
                schema
            } else {
                schema::loosened(schema)
            }
        }
    };
    Ok((name.to_owned(), parameters))
}

/// A tool with the keys that clients may leave out and templates rely on.
fn completed(mut tool: Value) -> Value {
    tool["type"] = "function".into();
    if let Some(function) = tool["function"].as_object_mut() {
        function.entry("description").or_insert_with(|| "".into());
        let parameters = function.entry("parameters").or_insert(Value::Null);
        if parameters.is_null() {
            *parameters = json!({ "type": "object", "properties": {} });
        }
    }
    tool
}

fn is_tool_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/');
    !name.is_empty() && name.len() <= MAX_TOOL_NAME_BYTES && name.chars().all(known)
}

/// Arguments are an object, whatever the schema leaves open.
fn object_schema(schema: &Value) -> Value {
    let mut schema = schema.clone();
    let open = ["type", "$ref", "anyOf", "oneOf", "allOf", "const", "enum"];
    if let Some(entries) = schema.as_object_mut()
        && !open.iter().any(|key| entries.contains_key(*key))
    {
        entries.insert("type".into(), "object".into());
    }
    schema
}

/// A call that the model must make: text put at the prompt's end, and the schema of what follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Forced {
    /// The end of the prompt, which opens the call.
    pub opening: String,
    /// How the answer is to be read, the opening before it.
    pub reader: ToolFormat,
    /// What must follow.
    pub schema: Value,
}

impl Tools {
    /// How to force a call in a model's format. A format that writes the name outside the JSON
    /// can be forced only where one function is left; else the call is one JSON object, which
    /// every reader takes.
    pub fn force(&self, format: ToolFormat, choice: Choice, parallel: bool) -> Forced {
        let wanted: Vec<&(String, Value)> = match choice {
            Choice::Function(place) => self.functions.get(place).into_iter().collect(),
            _ => self.functions.iter().collect(),
        };
        if let [(name, parameters)] = wanted.as_slice()
            && let Some(opening) = named_opening(format, name)
        {
            let mut definitions = Definitions::default();
            let root = definitions.add("arguments", parameters);
            return Forced {
                opening,
                reader: format,
                schema: definitions.under(root),
            };
        }
        let (opening, keys, array) = json_opening(format);
        let mut definitions = Definitions::default();
        let calls: Vec<Value> = wanted
            .iter()
            .enumerate()
            .map(|(i, (name, parameters))| {
                let arguments = definitions.add(&format!("f{i}"), parameters);
                call_schema(keys, name, &arguments)
            })
            .collect();
        let call = match calls.as_slice() {
            [call] => call.clone(),
            _ => json!({ "anyOf": calls }),
        };
        let root = if array {
            let most = if parallel { MAX_FORCED_CALLS } else { 1 };
            json!({ "type": "array", "items": call, "minItems": 1, "maxItems": most })
        } else {
            call
        };
        let reader = match format {
            ToolFormat::Harmony => ToolFormat::Plain,
            format => format,
        };
        Forced {
            opening: opening.to_owned(),
            reader,
            schema: definitions.under(root),
        }
    }
}

fn call_schema((name_key, arguments_key): (&str, &str), name: &str, arguments: &Value) -> Value {
    json!({
        "type": "object",
        "properties": { name_key: { "const": name }, arguments_key: arguments },
        "required": [name_key, arguments_key],
        "additionalProperties": false
    })
}

const ARGUMENTS: (&str, &str) = ("name", "arguments");

/// What opens calls written in JSON, their keys, and whether they stand in an array.
fn json_opening(format: ToolFormat) -> (&'static str, (&'static str, &'static str), bool) {
    match format {
        ToolFormat::Mistral => ("[TOOL_CALLS]", ARGUMENTS, true),
        ToolFormat::TagArray => ("<|tool_call|>", ARGUMENTS, true),
        ToolFormat::CommandR => ("<|START_ACTION|>", ("tool_name", "parameters"), true),
        ToolFormat::Llama3 => ("", ("name", "parameters"), false),
        ToolFormat::Hermes | ToolFormat::QwenXml | ToolFormat::Glm => {
            ("<tool_call>\n", ARGUMENTS, false)
        }
        _ => ("", ARGUMENTS, false),
    }
}

/// What opens a call of one function in formats that write its name outside the JSON.
fn named_opening(format: ToolFormat, name: &str) -> Option<String> {
    match format {
        ToolFormat::MistralNamed => Some(format!("[TOOL_CALLS]{name}[ARGS]")),
        ToolFormat::Functionary => Some(format!("<function={name}>")),
        ToolFormat::DeepSeek => Some(format!(
            "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n"
        )),
        ToolFormat::Kimi => Some(format!(
            "<|tool_calls_section_begin|><|tool_call_begin|>functions.{name}:0\
             <|tool_call_argument_begin|>"
        )),
        ToolFormat::Harmony => Some(format!(
            "<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>"
        )),
        _ => None,
    }
}
