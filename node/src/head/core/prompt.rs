//! From a chat request to a prompt: messages, tools and choice rendered by the model's template,
//! and what is needed to read the answer.
//!
//! It owns the order of repairs when a template refuses, and the way in which calls and JSON are
//! forced. It does not know tokens or engines.

use protocol::generate::{ChatPrompt, OutputFormat, output_format};
use serde_json::{Map, Value};

use super::answer::{AnswerParser, Rules};
use super::caps::Caps;
use super::format::{Thinking, ToolFormat};
use super::messages::{self, Message};
use super::schema::{self, SchemaError};
use super::template::{CHATML, ChatTemplate, TemplateError};
use super::tools::{Choice, Forced, Tools};

#[cfg(test)]
mod tests;

/// Why a request makes no prompt. Each variant names the request's field at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PromptError {
    /// The messages are wrong, or the model's template refuses them.
    #[error("messages: {0}")]
    Messages(String),
    /// The tools are wrong.
    #[error("tools: {0}")]
    Tools(String),
    /// The choice does not fit the tools.
    #[error("tool_choice: {0}")]
    ToolChoice(String),
    /// The template's variables are no JSON object.
    #[error("chat_template_kwargs must be a JSON object")]
    Kwargs,
    /// The schema of the answer cannot be used.
    #[error("response_format: {0}")]
    Schema(SchemaError),
    /// The model's template is of no use.
    #[error("this model cannot chat: {0}; /v1/completions takes plain text")]
    Template(TemplateError),
}

impl PromptError {
    /// The request's field at fault; empty: none.
    pub fn param(&self) -> &'static str {
        match self {
            Self::Messages(_) => "messages",
            Self::Tools(_) => "tools",
            Self::ToolChoice(_) => "tool_choice",
            Self::Kwargs => "chat_template_kwargs",
            Self::Schema(_) => "response_format",
            Self::Template(_) => "",
        }
    }
}

/// How the answer is constrained.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Constraint {
    /// Not at all.
    #[default]
    Free,
    /// To a JSON object.
    JsonObject,
    /// To a JSON Schema.
    Schema(Value),
    /// To a grammar in GBNF.
    Grammar(String),
}

/// A chat request, ready for an engine.
#[derive(Debug)]
pub struct ChatPlan {
    /// The prompt.
    pub text: String,
    /// What the answer must look like.
    pub constraint: Constraint,
    /// The answer's text must show special tokens, for its markers are some.
    pub show_special: bool,
    /// Reads the answer.
    pub parser: AnswerParser,
}

/// A model's way of chatting: its templates, what they know, its markers.
#[derive(Debug)]
pub struct Dialect {
    plain: Known,
    /// The template for requests with tools, where the model has one of its own.
    with_tools: Option<Known>,
    bos: String,
    eos: String,
}

/// A template and what was found out about it.
#[derive(Debug)]
struct Known {
    template: ChatTemplate,
    caps: Caps,
    format: ToolFormat,
    thinking: Thinking,
}

impl Known {
    fn of(source: &str) -> Result<Self, PromptError> {
        let template = ChatTemplate::compile(source).map_err(PromptError::Template)?;
        let caps = Caps::probe(&template);
        // A template without tools may have marks for calls all the same, which the model knows.
        let format = match ToolFormat::detect(source) {
            ToolFormat::Plain if !caps.tools => ToolFormat::Hermes,
            format => format,
        };
        Ok(Self {
            template,
            caps,
            format,
            thinking: Thinking::detect(source),
        })
    }
}

impl Dialect {
    /// Compiles and probes a model's templates; ChatML where there is none.
    ///
    /// # Errors
    /// [`PromptError::Template`] when the template cannot be compiled.
    pub fn new(
        template: Option<&str>,
        tool_template: Option<&str>,
        (bos, eos): (&str, &str),
    ) -> Result<Self, PromptError> {
        Ok(Self {
            plain: Known::of(template.unwrap_or(CHATML))?,
            with_tools: tool_template.map(Known::of).transpose()?,
            bos: bos.to_owned(),
            eos: eos.to_owned(),
        })
    }

    /// Plans the answer to a chat request. `now` is Unix time in seconds, for templates that
    /// print the date.
    ///
    /// # Errors
    /// Any [`PromptError`].
    pub fn plan(
        &self,
        chat: &ChatPrompt,
        format: Option<&OutputFormat>,
        now: u64,
    ) -> Result<ChatPlan, PromptError> {
        let (tools, choice) = Tools::read(&chat.tools_json, chat.tool_choice.as_ref())?;
        let request = Request {
            messages: messages::read(&chat.messages_json)?,
            kwargs: read_kwargs(&chat.template_kwargs_json)?,
            tools,
            choice,
            parallel: chat.parallel_tool_calls,
            now,
        };
        let known = match &self.with_tools {
            Some(known) if !request.tools.is_empty() => known,
            _ => &self.plain,
        };
        let prompt = self.render(known, &request)?;
        let constraint = constraint(format)?;
        Ok(known.plan(prompt, &request, constraint))
    }

    /// Renders the messages; those that a template refuses are tried in ever plainer shapes.
    fn render(&self, known: &Known, request: &Request) -> Result<String, PromptError> {
        let mut messages = request.messages.clone();
        let teach = !request.tools.is_empty() && !known.caps.tools;
        if teach {
            messages::instruct(&mut messages, &request.tools.instructions());
        }
        let messages = messages::fit(messages, &known.caps);
        let first = match self.render_once(known, request, &messages) {
            Ok(text) => return Ok(text),
            Err(error) => error,
        };
        let shapes: [fn(Vec<Message>) -> Vec<Message>; 3] = [
            messages::system_first,
            |messages| messages::alternating(messages::system_first(messages)),
            |messages| messages::alternating(messages::system_to_user(messages)),
        ];
        if !known.caps.typed_content {
            for shape in shapes {
                let shaped = shape(messages.clone());
                if let Ok(text) = self.render_once(known, request, &shaped) {
                    return Ok(text);
                }
            }
        }
        Err(PromptError::Messages(match first {
            TemplateError::Raised(text) => format!("the model's chat template refuses: {text}"),
            other => other.to_string(),
        }))
    }

    fn render_once(
        &self,
        known: &Known,
        request: &Request,
        messages: &[Message],
    ) -> Result<String, TemplateError> {
        let continued = request.continued(messages);
        let mut variables = request.kwargs.clone();
        let messages = messages.iter().cloned().map(Value::Object).collect();
        variables.insert("messages".into(), Value::Array(messages));
        variables.insert("add_generation_prompt".into(), continued.is_none().into());
        variables.insert("bos_token".into(), self.bos.as_str().into());
        variables.insert("eos_token".into(), self.eos.as_str().into());
        if !request.tools.is_empty() && known.caps.tools {
            variables.insert("tools".into(), Value::Array(request.tools.json.clone()));
        }
        let text = known.template.render(&variables, request.now)?;
        match continued {
            Some(beginning) => cut_after(text, beginning.trim_end()),
            None => Ok(text),
        }
    }
}

/// One request, read.
struct Request {
    messages: Vec<Message>,
    tools: Tools,
    choice: Choice,
    parallel: bool,
    kwargs: Map<String, Value>,
    now: u64,
}

impl Request {
    /// The call that the model must make.
    fn forced(&self, format: ToolFormat) -> Option<Forced> {
        match self.choice {
            Choice::Auto => None,
            choice => Some(self.tools.force(format, choice, self.parallel)),
        }
    }

    /// The beginning of the answer, where the client asks for the last message to be continued.
    fn continued<'a>(&self, messages: &'a [Message]) -> Option<&'a str> {
        let wanted = self.kwargs.get("continue_final_message")?.as_bool()?;
        let last = messages.last().filter(|m| m["role"] == "assistant")?;
        wanted.then(|| messages::content(last))
    }
}

/// The prompt up to the end of the message that is to be continued.
fn cut_after(mut text: String, beginning: &str) -> Result<String, TemplateError> {
    let start = text
        .rfind(beginning)
        .ok_or_else(|| TemplateError::Failed("it does not show the last message".into()))?;
    text.truncate(start + beginning.len());
    Ok(text)
}

fn read_kwargs(text: &str) -> Result<Map<String, Value>, PromptError> {
    if text.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_str(text).map_err(|_| PromptError::Kwargs)
}

/// What an output format asks of the engine.
///
/// # Errors
/// [`PromptError::Schema`].
pub fn constraint(format: Option<&OutputFormat>) -> Result<Constraint, PromptError> {
    match format.and_then(|f| f.format.as_ref()) {
        None | Some(output_format::Format::JsonObject(false)) => Ok(Constraint::Free),
        Some(output_format::Format::JsonObject(true)) => Ok(Constraint::JsonObject),
        Some(output_format::Format::JsonSchema(text)) => schema::check_text(text)
            .map(Constraint::Schema)
            .map_err(PromptError::Schema),
        Some(output_format::Format::Grammar(text)) => Ok(Constraint::Grammar(text.clone())),
    }
}

impl Known {
    fn plan(&self, mut text: String, request: &Request, constraint: Constraint) -> ChatPlan {
        let mut rules = Rules {
            format: self.format,
            taught: !self.caps.tools,
            thinking: self.thinking,
            tools: (!request.tools.is_empty()).then(|| request.tools.offered()),
            max_calls: if request.parallel { u32::MAX } else { 1 },
        };
        let open = self.thinking.open;
        let thinks = text.trim_end().ends_with(open);
        let forced = request.forced(self.format);
        let mut primed = String::new();
        let constraint = match forced {
            Some(forced) => {
                close_thinking(&mut text, thinks, self.thinking);
                text.push_str(&forced.opening);
                if forced.reader == self.format {
                    primed = forced.opening;
                }
                rules.format = forced.reader;
                Constraint::Schema(forced.schema)
            }
            None if constraint != Constraint::Free => {
                close_thinking(&mut text, thinks, self.thinking);
                constraint
            }
            None => {
                if thinks {
                    primed = open.to_owned();
                }
                Constraint::Free
            }
        };
        ChatPlan {
            show_special: rules.tools.is_some() || self.marks_prose(),
            parser: primed_parser(rules, &primed),
            text,
            constraint,
        }
    }

    /// Prose itself stands between special tokens.
    fn marks_prose(&self) -> bool {
        matches!(self.format, ToolFormat::Harmony | ToolFormat::CommandR)
            || self.thinking.open.starts_with('[')
            || self.thinking.open.starts_with("<|")
    }
}

/// A constrained answer cannot think first: reasoning that the template opened is closed.
fn close_thinking(text: &mut String, open: bool, tags: Thinking) {
    if open {
        text.truncate(text.trim_end().len());
        text.push_str(&format!("\n\n{}\n\n", tags.close));
    }
}

/// A parser that has seen what the prompt already says of the answer.
fn primed_parser(rules: Rules, primed: &str) -> AnswerParser {
    let mut parser = AnswerParser::new(rules);
    if !primed.is_empty() {
        parser.prime(primed);
    }
    parser
}
