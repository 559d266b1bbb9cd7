//! The resources: `note://ID`, a note with its provenance, and `note://ID/attachments/INDEX`.

use base64::{Engine, engine::general_purpose::STANDARD};
use rmcp::model::{Resource, ResourceContents, ResourceTemplate};

use super::shown;
use crate::{
    Boards,
    boards::{BoardError, NoteQuery, NoteView},
};

/// Notes that the list names, newest first; older ones are found by searching.
const LISTED: usize = 50;
const JSON: &str = "application/json";

/// What a URI names.
#[derive(Debug, PartialEq, Eq)]
struct Address<'a> {
    id: &'a str,
    attachment: Option<usize>,
}

impl<'a> Address<'a> {
    fn parse(uri: &'a str) -> Option<Self> {
        let rest = uri.strip_prefix("note://")?;
        let (id, attachment) = match rest.split_once("/attachments/") {
            Some((id, index)) => (id, Some(index.parse().ok()?)),
            None => (rest, None),
        };
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_id.then_some(Self { id, attachment })
    }
}

/// The newest notes. No word of their authors' is in the list.
pub(super) async fn list(boards: &dyn Boards) -> Result<Vec<Resource>, BoardError> {
    let query = NoteQuery {
        limit: Some(LISTED),
        ..NoteQuery::default()
    };
    let notes = boards.search(query).await?;
    Ok(notes.iter().map(resource).collect())
}

fn resource(note: &NoteView) -> Resource {
    let short = &note.id[..note.id.floor_char_boundary(8)];
    Resource::new(shown::uri(&note.id), format!("{}/{short}", note.board))
        .with_description(shown::line(note))
        .with_mime_type(JSON)
}

/// The forms of the URIs.
pub(super) fn templates() -> Vec<ResourceTemplate> {
    vec![
        ResourceTemplate::new("note://{id}", "note")
            .with_description("A note of the blackboard, its provenance apart from its text")
            .with_mime_type(JSON),
        ResourceTemplate::new("note://{id}/attachments/{index}", "attachment")
            .with_description("An attachment of a note; its provenance is in `_meta`"),
    ]
}

/// Reads one.
pub(super) async fn read(boards: &dyn Boards, uri: &str) -> Result<ResourceContents, BoardError> {
    let wrong = || {
        BoardError::NotFound("no such resource: note://ID or note://ID/attachments/INDEX".into())
    };
    let address = Address::parse(uri).ok_or_else(wrong)?;
    let note = boards.read(address.id).await?;
    let Some(index) = address.attachment else {
        let text = shown::note(&note).to_string();
        return Ok(ResourceContents::text(text, uri).with_mime_type(JSON));
    };
    let bytes = boards.attachment(&note.id, index).await?;
    let contents = match String::from_utf8(bytes) {
        Ok(text) => ResourceContents::text(text, uri),
        Err(error) => ResourceContents::blob(STANDARD.encode(error.as_bytes()), uri)
            .with_mime_type("application/octet-stream"),
    };
    Ok(contents.with_meta(shown::provenance_meta(&note)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_notes_and_attachments() {
        let parse = Address::parse;
        let note = Address {
            id: "00ff",
            attachment: None,
        };
        assert_eq!(parse("note://00ff"), Some(note));
        let attachment = Address {
            id: "00ff",
            attachment: Some(2),
        };
        assert_eq!(parse("note://00ff/attachments/2"), Some(attachment));
        for bad in [
            "",
            "note://",
            "note://x",
            "note://00ff/",
            "note://00ff/attachments/",
            "note://00ff/attachments/-1",
            "note://../attachments/1",
            "file:///etc/passwd",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
