//! `shoal doctor`: one line a check, `ok`, `warn` or `fail`, with what to do. Works with and
//! without a node.

mod checks;
mod node;
mod swarm;

use std::fmt;

use self::checks::Place;
use super::args::ClientArgs;
use super::connect::{configuration, wait};
use super::{CliError, Exit, Terminal, text};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ok,
    Warn,
    Fail,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        })
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    level: Level,
    what: String,
    /// What to do, unless all is well.
    advice: String,
}

impl Finding {
    fn ok(what: impl Into<String>) -> Self {
        Self::new(Level::Ok, what, "")
    }

    fn warn(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Level::Warn, what, advice)
    }

    fn fail(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Level::Fail, what, advice)
    }

    fn new(level: Level, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            level,
            what: what.into(),
            advice: advice.into(),
        }
    }

    fn line(&self) -> String {
        let what = text::printable(&self.what);
        match self.advice.is_empty() {
            true => format!("{:4}  {what}", self.level),
            false => format!(
                "{:4}  {what}: {}",
                self.level,
                text::printable(&self.advice)
            ),
        }
    }
}

/// Checks everything and prints each finding as it comes.
pub(super) fn run(args: &ClientArgs, terminal: &mut Terminal) -> Result<Exit, CliError> {
    let mut worst = Level::Ok;
    let mut tell = |findings: Vec<Finding>| {
        findings.iter().try_for_each(|finding| {
            worst = worst.max(finding.level);
            terminal.line(finding.line())
        })
    };
    let effective = match configuration(args) {
        Ok(effective) => effective,
        Err(error) => {
            tell(vec![Finding::fail("configuration", error.to_string())])?;
            return Ok(Exit::Failed);
        }
    };
    tell(vec![checks::configuration(&effective)])?;
    tell(checks::machine(&effective.config))?;
    tell(checks::folders(&Place::of(&effective.config)))?;
    tell(wait(async {
        Ok(node::check(args.api.as_deref(), &effective).await)
    })?)?;
    tell(vec![wait(async { Ok(node::worker().await) })?])?;
    match worst {
        Level::Fail => Ok(Exit::Failed),
        _ => Ok(Exit::Done),
    }
}
