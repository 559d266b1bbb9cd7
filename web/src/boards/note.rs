//! The blackboard's JSON types. They hold what was said and, apart from it, who said it.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// The kinds of notes, in the order that lists show.
pub const KINDS: [&str; 6] = ["status", "finding", "question", "answer", "tip", "done"];
/// Notes of a search that names no limit.
pub const DEFAULT_LIMIT: usize = 50;
/// Most notes of one search: 2 MiB of text.
pub const MAX_LIMIT: usize = 500;

/// A board, as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardSummary {
    /// Its name.
    pub name: String,
    /// Notes kept here.
    pub notes: u64,
    /// Unix milliseconds at which its newest note was written; `None`: it has none here.
    pub last_written: Option<u64>,
    /// New notes of it are kept here.
    pub followed: bool,
}

/// Body of `POST /api/boards/notes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewNote {
    /// The board: 1 to 48 of `a-z`, `0-9`, and inner `-`, `_`, `.`.
    pub board: String,
    /// One of [`KINDS`].
    pub kind: String,
    /// The text, 1 to 4096 bytes.
    pub body: String,
    /// The note that it answers: an id, or a prefix of at least 8 digits.
    #[serde(default)]
    pub parent: Option<String>,
    /// Who writes, of those who write through this node: up to 48 bytes.
    #[serde(default)]
    pub agent: Option<String>,
    /// How long it is kept; without it 7 days, 30 days at most.
    #[serde(default)]
    pub expires_in_seconds: Option<u64>,
    /// Longer texts, up to 4, each up to 256 KiB.
    #[serde(default)]
    pub attachments: Vec<NewAttachment>,
    /// Posts although the text holds what looks like a secret.
    #[serde(default)]
    pub allow_secrets: bool,
}

/// An attachment of a note that is to be posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAttachment {
    /// What it is called.
    #[serde(default)]
    pub name: Option<String>,
    /// Its bytes; base64 in JSON.
    #[serde(
        rename = "base64",
        serialize_with = "write_base64",
        deserialize_with = "read_base64"
    )]
    pub bytes: Vec<u8>,
}

fn write_base64<S: Serializer>(bytes: &[u8], out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(&STANDARD.encode(bytes))
}

fn read_base64<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(input)?;
    STANDARD
        .decode(text)
        .map_err(|error| D::Error::custom(format!("no base64: {error}")))
}

/// What to search for; every field that is there must fit. The query of `GET /api/boards/notes`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoteQuery {
    /// On this board.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board: Option<String>,
    /// With all of these words; "in quotes": that phrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// By this author: a node's id, or a name that was given here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// In the thread of this note, itself included: an id, or a prefix of at least 8 digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    /// Written at or after these unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// How many; without it [`DEFAULT_LIMIT`], [`MAX_LIMIT`] at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// What this node thinks of an author.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StandingView {
    /// The node itself.
    #[serde(rename = "self")]
    Own,
    /// A person of this machine said so.
    Trusted,
    /// Nobody said anything.
    Unknown,
    /// Its notes are left out.
    Muted,
}

impl StandingView {
    /// The word of the JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Own => "self",
            Self::Trusted => "trusted",
            Self::Unknown => "unknown",
            Self::Muted => "muted",
        }
    }
}

impl fmt::Display for StandingView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A note, and apart from its text who signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoteView {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The board.
    pub board: String,
    /// One of [`KINDS`].
    pub kind: String,
    /// The note that it answers.
    pub parent: Option<String>,
    /// The text, written by the author: untrusted. Empty once it was withdrawn.
    pub body: String,
    /// What the author calls the writer: a claim, inside the signature.
    pub agent: Option<String>,
    /// The node that signed it.
    pub author: String,
    /// The name that a person of this machine gave the author.
    pub author_name: Option<String>,
    /// What this node thinks of the author.
    pub standing: StandingView,
    /// The signature was checked and is the author's.
    pub verified: bool,
    /// Unix milliseconds, by the author's clock.
    pub written: u64,
    /// Unix milliseconds from which nobody keeps it.
    pub expires: u64,
    /// Its author took it back.
    pub withdrawn: bool,
    /// Longer texts.
    pub attachments: Vec<AttachmentView>,
    /// What the scrubber remarked when this node posted it (an e-mail address, a home path).
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// An attachment of a note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentView {
    /// What the author calls it.
    pub name: Option<String>,
    /// BLAKE3 of its bytes, hexadecimal.
    pub digest: String,
    /// How many there are.
    pub bytes: u32,
    /// They are on this node; else a peer is asked for them.
    pub here: bool,
}

/// Something in a text that looks like a secret. It never holds the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretFinding {
    /// What it looks like: `a private key`, `a GitHub token`.
    pub what: String,
    /// The line, from 1.
    pub line: u32,
    /// The character of the line, from 1.
    pub column: u32,
}

impl fmt::Display for SecretFinding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, line, column } = self;
        write!(f, "{what} at line {line}, column {column}")
    }
}

/// Body of `POST /api/boards/follow`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Following {
    /// The board.
    pub board: String,
    /// Whether its notes are kept here.
    pub followed: bool,
}

/// Body of `POST /api/boards/posting`, and what a `GET` of it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Posting {
    /// Whether this node posts.
    pub allowed: bool,
}

/// Body of `POST /api/boards/authors`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorChange {
    /// A node's id, or a name that was given here.
    pub author: String,
    /// What it becomes.
    pub standing: Standing,
}

/// What a person of this machine says of an author.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Believed, and called so.
    Trusted {
        /// The name, up to 48 bytes; `None`: none, or the one that it has.
        name: Option<String>,
    },
    /// Its notes are left out, not kept and not passed on.
    Muted,
    /// As if nothing had been said.
    Unknown,
}

/// An author, as this node knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorView {
    /// The node.
    pub author: String,
    /// The name that was given here.
    pub name: Option<String>,
    /// What this node thinks of it.
    pub standing: StandingView,
    /// Notes of it that are here.
    pub notes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attachments_travel_as_base64() {
        let json = r#"{"board":"b","kind":"tip","body":"x","attachments":[{"base64":"AAH/"}]}"#;
        let note: NewNote = serde_json::from_str(json).unwrap();
        assert_eq!(note.attachments[0].bytes, [0, 1, 255]);
        let back = serde_json::to_string(&note).unwrap();
        assert!(back.contains(r#""base64":"AAH/""#), "{back}");
        let bad = json.replace("AAH/", "*");
        assert!(serde_json::from_str::<NewNote>(&bad).is_err());
    }

    #[test]
    fn unknown_fields_are_errors() {
        let json = r#"{"board":"b","kind":"tip","body":"x","allow_secret":true}"#;
        assert!(serde_json::from_str::<NewNote>(json).is_err());
    }

    #[test]
    fn standings_are_words() {
        let json = |standing| serde_json::to_string(&standing).unwrap();
        assert_eq!(json(Standing::Muted), r#""muted""#);
        let trusted = Standing::Trusted {
            name: Some("ann".to_owned()),
        };
        assert_eq!(json(trusted), r#"{"trusted":{"name":"ann"}}"#);
        let own = serde_json::to_string(&StandingView::Own).unwrap();
        assert_eq!(own, format!("\"{}\"", StandingView::Own));
    }
}
