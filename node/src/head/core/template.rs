//! A chat template, compiled once and rendered under limits.
//!
//! It owns the Jinja environment that `transformers` gives templates (`trim_blocks`,
//! `lstrip_blocks`, Python's methods, `raise_exception`, `strftime_now`, `tojson`), and treats the
//! template as hostile: it may neither loop nor write without end. It does not know what
//! messages or tools are.

use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior};

mod python;
#[cfg(test)]
pub(super) mod tests;

/// Instructions that one rendering may take: some 50 times what ten thousand messages need in
/// the largest template known, and below a second.
const FUEL: u64 = 20_000_000;

/// Bytes that one rendering may write: four times the largest request body by default, and more
/// than any context holds.
const MAX_OUTPUT_BYTES: usize = 128 << 20;

/// Bytes of a template's source; the largest known has 20 KiB.
const MAX_SOURCE_BYTES: usize = 1 << 20;

/// Depth of nested macro calls and loops; low enough for a thread with a stack of 2 MiB.
const RECURSION_LIMIT: usize = 150;

/// The name under which the template is compiled.
const NAME: &str = "chat_template";

/// ChatML, for models that bring no template: what llama.cpp falls back to.
pub const CHATML: &str = "{%- for message in messages -%}\
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}\
    {%- endfor -%}\
    {%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}";

/// Why a template gave no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The source is no template that can be compiled.
    #[error("the chat template cannot be read: {0}")]
    Syntax(String),
    /// The template called `raise_exception`: it does not want these messages.
    #[error("{0}")]
    Raised(String),
    /// The template ran too long or wrote too much.
    #[error("the chat template exceeds its limits")]
    Limits,
    /// The template failed over these messages.
    #[error("the chat template failed: {0}")]
    Failed(String),
}

/// A compiled chat template.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
}

impl ChatTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    /// [`TemplateError::Syntax`] or [`TemplateError::Limits`].
    pub fn compile(source: &str) -> Result<Self, TemplateError> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(TemplateError::Limits);
        }
        let mut environment = environment();
        environment
            .add_template_owned(NAME, python::without_generation_tags(source))
            .map_err(|e| TemplateError::Syntax(line(&e)))?;
        Ok(Self {
            environment,
            source: source.to_owned(),
        })
    }

    /// The template's text, to look for the markers that it uses.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders the template over these variables. `now` is what `strftime_now` tells, in seconds
    /// of Unix time, UTC.
    ///
    /// # Errors
    /// All but [`TemplateError::Syntax`].
    pub fn render(
        &self,
        variables: &serde_json::Map<String, serde_json::Value>,
        now: u64,
    ) -> Result<String, TemplateError> {
        let template = self
            .environment
            .get_template(NAME)
            .map_err(|e| TemplateError::Failed(line(&e)))?;
        let context = variables
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(Serde(value))))
            .chain([("strftime_now".to_owned(), strftime_now(now))]);
        let mut output = Bounded(Vec::new());
        template
            .render_captured_to(Value::from_pairs(context), &mut output)
            .map_err(|e| failure(&e))?;
        String::from_utf8(output.0).map_err(|_| TemplateError::Failed("no UTF-8".into()))
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .expect("the default delimiters are valid");
    environment.set_syntax(syntax);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION_LIMIT);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(python::method);
    environment.set_formatter(python::format);
    environment.add_filter("tojson", python::tojson);
    environment.add_filter("string", python::string);
    environment.add_filter("length", python::length);
    environment.add_filter("count", python::length);
    environment.add_filter("datetimeformat", minijinja_contrib::filters::datetimeformat);
    environment.add_function("raise_exception", raise_exception);
    environment
}

/// What a template said when it refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, "refused").with_source(Raised(message)))
}

fn strftime_now(now: u64) -> Value {
    Value::from_function(move |state: &mut State, format: String| {
        let kwargs = Kwargs::from_iter([("format", Value::from(format))]);
        state.apply_filter("datetimeformat", &[Value::from(now), kwargs.into()])
    })
}

fn failure(error: &Error) -> TemplateError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        if let Some(raised) = current.downcast_ref::<Raised>() {
            return TemplateError::Raised(raised.0.clone());
        }
        let out_of_fuel = current
            .downcast_ref::<Error>()
            .is_some_and(|e| matches!(e.kind(), ErrorKind::OutOfFuel | ErrorKind::WriteFailure));
        if out_of_fuel {
            return TemplateError::Limits;
        }
        cause = current.source();
    }
    TemplateError::Failed(line(error))
}

/// An error in one line, without the template's text around it.
fn line(error: &Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().to_owned()
}

/// Output with an end.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::Error::other("too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
