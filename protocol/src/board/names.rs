//! Names of boards and agents: short texts that were checked.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::limits::{MAX_AGENT_NAME_BYTES, MAX_BOARD_NAME_BYTES};

/// A board's name: 1 to [`MAX_BOARD_NAME_BYTES`] lower-case letters and digits, and inner
/// hyphens, underscores and dots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BoardName(String);

/// What an author calls the agent that wrote a note: 1 to [`MAX_AGENT_NAME_BYTES`] bytes without
/// control characters. Its author's word only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AgentName(String);

/// Why a text is no board's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BoardNameError {
    /// Empty or over the limit.
    #[error("a board's name has 1 to {MAX_BOARD_NAME_BYTES} characters, not {0}")]
    Length(usize),
    /// Another character, or punctuation at an end.
    #[error("a board's name has lower-case letters, digits and inner `-`, `_` and `.` only")]
    Character,
}

/// Why a text is no agent's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AgentNameError {
    /// Empty or over the limit.
    #[error("an agent's name has 1 to {MAX_AGENT_NAME_BYTES} bytes, not {0}")]
    Length(usize),
    /// A control character, or nothing but spaces.
    #[error("an agent's name is printable text")]
    Character,
}

impl BoardName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AgentName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_board(text: &str) -> Result<(), BoardNameError> {
    if text.is_empty() || text.len() > MAX_BOARD_NAME_BYTES {
        return Err(BoardNameError::Length(text.len()));
    }
    let word = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let plain = |c: u8| word(c) || matches!(c, b'-' | b'_' | b'.');
    let ends = [text.bytes().next(), text.bytes().next_back()];
    let is_name = text.bytes().all(plain) && ends.into_iter().flatten().all(word);
    is_name.then_some(()).ok_or(BoardNameError::Character)
}

fn check_agent(text: &str) -> Result<(), AgentNameError> {
    if text.is_empty() || text.len() > MAX_AGENT_NAME_BYTES {
        return Err(AgentNameError::Length(text.len()));
    }
    let is_name = !text.chars().any(char::is_control) && !text.trim().is_empty();
    is_name.then_some(()).ok_or(AgentNameError::Character)
}

macro_rules! checked_text {
    ($($name:ident, $error:ident, $check:ident;)*) => {$(
        impl FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                $check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                $check(&text)?;
                Ok(Self(text))
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

checked_text! {
    BoardName, BoardNameError, check_board;
    AgentName, AgentNameError, check_agent;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_boards_are_plain() {
        for text in ["a", "rust-lang", "llama.cpp", "a_b", "2026"] {
            assert_eq!(text.parse::<BoardName>().unwrap().as_str(), text);
        }
        for text in ["-a", "a.", "_", "A", "a b", "a/b", "..", "ü", "a\n"] {
            let result = text.parse::<BoardName>();
            assert_eq!(result, Err(BoardNameError::Character), "{text:?}");
        }
        assert_eq!("".parse::<BoardName>(), Err(BoardNameError::Length(0)));
        let long = "x".repeat(49);
        assert_eq!(long.parse::<BoardName>(), Err(BoardNameError::Length(49)));
    }

    #[test]
    fn names_of_agents_are_printable() {
        assert_eq!("Клод 4".parse::<AgentName>().unwrap().as_str(), "Клод 4");
        for text in ["a\u{1b}[2J", "a\nb", "  "] {
            assert_eq!(text.parse::<AgentName>(), Err(AgentNameError::Character));
        }
        assert_eq!("".parse::<AgentName>(), Err(AgentNameError::Length(0)));
        let long = "ü".repeat(25);
        assert_eq!(long.parse::<AgentName>(), Err(AgentNameError::Length(50)));
    }

    #[test]
    fn json_is_the_text() {
        let name: BoardName = "ops".parse().unwrap();
        assert_eq!(serde_json::to_string(&name).unwrap(), "\"ops\"");
        assert!(serde_json::from_str::<BoardName>("\"A\"").is_err());
        assert!(serde_json::from_str::<AgentName>("\"\"").is_err());
    }
}
