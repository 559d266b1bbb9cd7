//! What commands write to. Tests give a buffer. It knows no command.

use std::fmt::Display;
use std::io::{self, Write};

use super::CliError;

/// Standard output, or a test's buffer.
pub(super) struct Terminal {
    out: Box<dyn Write + Send>,
}

impl Terminal {
    /// The process's own.
    pub(super) fn process() -> Self {
        Self {
            out: Box::new(io::stdout()),
        }
    }

    /// Writes text at once, as it is.
    ///
    /// # Errors
    /// [`CliError::Output`]: nobody takes it.
    pub(super) fn text(&mut self, text: &str) -> Result<(), CliError> {
        self.bytes(text.as_bytes())
    }

    /// Writes a line.
    ///
    /// # Errors
    /// [`CliError::Output`]: nobody takes it.
    pub(super) fn line(&mut self, line: impl Display) -> Result<(), CliError> {
        self.text(&format!("{line}\n"))
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    /// [`CliError::Output`]: nobody takes it.
    pub(super) fn json(&mut self, value: &impl serde::Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value);
        let text = text.map_err(|error| CliError::Output(error.into()))?;
        self.line(text)
    }

    /// Writes a value as JSON on one line.
    ///
    /// # Errors
    /// [`CliError::Output`]: nobody takes it.
    pub(super) fn json_line(&mut self, value: &impl serde::Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value);
        let text = text.map_err(|error| CliError::Output(error.into()))?;
        self.line(text)
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// [`CliError::Output`]: nobody takes it.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        let written = self.out.write_all(bytes);
        written
            .and_then(|()| self.out.flush())
            .map_err(CliError::Output)
    }

    /// Says something to the person on stderr, beside what stdout is for.
    pub(super) fn remark(text: &str) {
        // Nobody is left to tell if stderr is gone.
        let _ = writeln!(io::stderr(), "{text}");
    }

    /// Says on stderr in one line why a command failed.
    pub(super) fn complain(error: &CliError) {
        if !error.is_silent() {
            // Nobody is left to tell if stderr is gone too.
            let _ = writeln!(io::stderr(), "shoal: {error}");
        }
    }
}
