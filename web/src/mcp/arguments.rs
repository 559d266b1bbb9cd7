//! What the tools are called with. Like the other bodies of ours, unknown fields are errors: an
//! agent that misspells one is told so.

use std::time::{SystemTime, UNIX_EPOCH};

use rmcp::model::JsonObject;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::boards::{BoardError, NewAttachment, NewNote, NoteQuery, span};

/// Notes of a search that names no limit: what fits an agent's context.
pub(super) const DEFAULT_LIMIT: usize = 20;
/// Most notes of one search.
pub(super) const MAX_LIMIT: usize = 100;

/// Reads a tool's arguments.
pub(super) fn read<T: DeserializeOwned>(arguments: Option<JsonObject>) -> Result<T, BoardError> {
    let value = Value::Object(arguments.unwrap_or_default());
    serde_json::from_value(value)
        .map_err(|error| BoardError::Invalid(format!("wrong arguments: {error}")))
}

/// Of `list_boards`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Of `read_note`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadNote {
    id: String,
}

impl ReadNote {
    pub(super) fn id(&self) -> &str {
        bare(&self.id)
    }
}

/// An id, also one that was given as the resource's URI.
fn bare(id: &str) -> &str {
    id.strip_prefix("note://").unwrap_or(id)
}

/// Of `search_notes`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchNotes {
    board: Option<String>,
    text: Option<String>,
    author: Option<String>,
    kind: Option<String>,
    thread: Option<String>,
    since: Option<String>,
    limit: Option<usize>,
}

impl SearchNotes {
    pub(super) fn query(self) -> Result<NoteQuery, BoardError> {
        let limit = self.limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            let message = format!("`limit` must be from 1 to {MAX_LIMIT}");
            return Err(BoardError::Invalid(message));
        }
        Ok(NoteQuery {
            board: self.board,
            text: self.text,
            author: self.author,
            kind: self.kind,
            thread: self.thread.map(|id| bare(&id).to_owned()),
            since: self.since.as_deref().map(since).transpose()?,
            limit: Some(limit),
        })
    }
}

/// Unix milliseconds that lie `text` ago.
fn since(text: &str) -> Result<u64, BoardError> {
    let wrong = || BoardError::Invalid("`since` must be a time like 30m, 24h or 7d".to_owned());
    let ago = span(text).ok_or_else(wrong)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let moment = now.unwrap_or_default().saturating_sub(ago);
    Ok(u64::try_from(moment.as_millis()).unwrap_or(u64::MAX))
}

/// Of `post_note`. There is no way past the scrubber: that is a person's to decide.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PostNote {
    board: String,
    kind: String,
    text: String,
    parent: Option<String>,
    agent: Option<String>,
    expires_in: Option<String>,
    #[serde(default)]
    attachments: Vec<TextAttachment>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextAttachment {
    name: Option<String>,
    text: String,
}

impl PostNote {
    pub(super) fn note(self) -> Result<NewNote, BoardError> {
        let attachments = self
            .attachments
            .into_iter()
            .map(|attachment| NewAttachment {
                name: attachment.name,
                bytes: attachment.text.into_bytes(),
            });
        Ok(NewNote {
            board: self.board,
            kind: self.kind,
            body: self.text,
            parent: self.parent.map(|id| bare(&id).to_owned()),
            agent: self.agent,
            expires_in_seconds: self.expires_in.as_deref().map(lifetime).transpose()?,
            attachments: attachments.collect(),
            allow_secrets: false,
        })
    }
}

fn lifetime(text: &str) -> Result<u64, BoardError> {
    let wrong =
        || BoardError::Invalid("`expires_in` must be a time like 12h or 7d, up to 30d".to_owned());
    span(text).map(|span| span.as_secs()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arguments(value: Value) -> Option<JsonObject> {
        serde_json::from_value(value).ok()
    }

    #[test]
    fn a_misspelt_field_is_named() {
        let given = arguments(json!({ "board": "b", "kind": "tip", "text": "x", "txet": 1 }));
        let error = read::<PostNote>(given).err().unwrap();
        assert!(error.to_string().contains("txet"), "{error}");
        assert!(read::<ReadNote>(None).is_err());
        assert!(read::<Nothing>(None).is_ok());
    }

    #[test]
    fn an_agent_cannot_pass_the_scrubber() {
        let given = json!({ "board": "b", "kind": "tip", "text": "x", "allow_secrets": true });
        assert!(read::<PostNote>(arguments(given)).is_err());
    }

    #[test]
    fn limits_and_times_are_checked() {
        let query = |value| read::<SearchNotes>(arguments(value)).unwrap().query();
        assert_eq!(query(json!({})).unwrap().limit, Some(DEFAULT_LIMIT));
        let thread = query(json!({ "thread": "note://00ff", "since": "1h" })).unwrap();
        assert_eq!(thread.thread.as_deref(), Some("00ff"));
        assert!(thread.since.unwrap() > 1_700_000_000_000);
        for bad in [
            json!({ "limit": 0 }),
            json!({ "limit": 101 }),
            json!({ "since": "soon" }),
        ] {
            assert!(query(bad).is_err());
        }
    }
}
