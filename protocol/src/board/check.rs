//! From what an author signed to a [`Saying`]: each field against its limit.

use super::{
    error::EntryError,
    names::BoardName,
    note_id::{NoteId, Parts},
    saying::{Attachment, Kind, Note, Saying, Withdrawal},
    wire,
};
use crate::{
    ids::{NodeId, UnixMillis},
    limits::{
        MAX_ATTACHMENT_BYTES, MAX_ATTACHMENT_NAME_BYTES, MAX_ATTACHMENTS, MAX_NOTE_AHEAD,
        MAX_NOTE_BODY_BYTES, MAX_NOTE_LIFETIME,
    },
    names::SwarmName,
};

/// Who signed, and the times of the envelope.
#[derive(Debug, Clone, Copy)]
pub(super) struct Signing {
    pub(super) author: NodeId,
    pub(super) written: UnixMillis,
    pub(super) expires: UnixMillis,
}

/// Whether the times are those of a note, for a clock that says `now`.
pub(super) fn check_times(
    written: UnixMillis,
    expires: UnixMillis,
    now: UnixMillis,
) -> Result<(), EntryError> {
    if written > now.saturating_add(MAX_NOTE_AHEAD) {
        return Err(EntryError::Ahead);
    }
    check_lifetime(written, expires)
}

fn check_lifetime(written: UnixMillis, expires: UnixMillis) -> Result<(), EntryError> {
    let holds = written < expires && expires <= written.saturating_add(MAX_NOTE_LIFETIME);
    holds.then_some(()).ok_or(EntryError::Lifetime)
}

/// What was said.
pub(super) fn check(
    saying: &wire::Saying,
    swarm: &SwarmName,
    signing: &Signing,
) -> Result<Saying, EntryError> {
    if saying.swarm != swarm.as_str() {
        return Err(EntryError::Swarm(swarm.clone()));
    }
    let board = saying.board.parse()?;
    match &saying.what {
        None => Err(EntryError::Unknown),
        Some(wire::saying::What::Note(note)) => check_note(note, board).map(Saying::Note),
        Some(wire::saying::What::Withdrawal(withdrawal)) => {
            check_withdrawal(withdrawal, board, signing).map(Saying::Withdrawal)
        }
    }
}

fn check_note(note: &wire::Note, board: BoardName) -> Result<Note, EntryError> {
    if note.attachments.len() > MAX_ATTACHMENTS {
        return Err(field("attachments", "at most 4"));
    }
    let agent = match note.agent.as_str() {
        "" => None,
        name => Some(name.parse()?),
    };
    let attachments = note.attachments.iter().map(check_attachment);
    Ok(Note {
        board,
        kind: check_kind(note.kind())?,
        parent: check_parent(&note.parent)?,
        body: check_body(&note.body)?,
        agent,
        attachments: attachments.collect::<Result<_, _>>()?,
    })
}

/// Text that a terminal shows as it is: escape sequences and carriage returns would let a note
/// draw over its neighbours.
fn check_body(body: &str) -> Result<String, EntryError> {
    if body.is_empty() || body.len() > MAX_NOTE_BODY_BYTES {
        return Err(field("body", "1 to 4096 bytes of text"));
    }
    if body.chars().any(is_hidden) || body.trim().is_empty() {
        return Err(field(
            "body",
            "visible text, without control characters other than line ends and tabs",
        ));
    }
    Ok(body.to_owned())
}

fn is_hidden(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
}

fn check_attachment(attachment: &wire::Attachment) -> Result<Attachment, EntryError> {
    let digest = attachment.digest.as_slice().try_into();
    let digest = digest.map_err(|_| field("digest", "the 32 bytes of a hash"))?;
    if attachment.bytes == 0 || attachment.bytes > MAX_ATTACHMENT_BYTES {
        return Err(field("bytes", "1 byte to 256 KiB"));
    }
    let name = &attachment.name;
    let is_plain = |c: char| !c.is_control() && !matches!(c, '/' | '\\');
    if name.len() > MAX_ATTACHMENT_NAME_BYTES
        || !name.chars().all(is_plain)
        || matches!(name.as_str(), "." | "..")
    {
        return Err(field("name", "a file's name of up to 128 bytes, no path"));
    }
    Ok(Attachment {
        digest,
        bytes: attachment.bytes,
        name: (!name.is_empty()).then(|| name.clone()),
    })
}

/// The note's id follows from what is said and from who says it.
fn check_withdrawal(
    withdrawal: &wire::Withdrawal,
    board: BoardName,
    signing: &Signing,
) -> Result<Withdrawal, EntryError> {
    let content = withdrawal.content.as_slice().try_into();
    let content = content.map_err(|_| field("content", "the 32 bytes of a hash"))?;
    let parts = Parts {
        written: UnixMillis(withdrawal.written_unix_millis),
        expires: signing.expires,
        content,
    };
    check_lifetime(parts.written, parts.expires)?;
    if signing.written < parts.written {
        return Err(field("written", "no later than its withdrawal"));
    }
    Ok(Withdrawal {
        board,
        note: NoteId::of(&signing.author, &parts),
        written: parts.written,
        expires: parts.expires,
        content,
        kind: check_kind(withdrawal.kind())?,
        parent: check_parent(&withdrawal.parent)?,
    })
}

fn check_kind(kind: wire::Kind) -> Result<Kind, EntryError> {
    match kind {
        wire::Kind::Unspecified => Err(EntryError::Unknown),
        wire::Kind::Status => Ok(Kind::Status),
        wire::Kind::Finding => Ok(Kind::Finding),
        wire::Kind::Question => Ok(Kind::Question),
        wire::Kind::Answer => Ok(Kind::Answer),
        wire::Kind::Tip => Ok(Kind::Tip),
        wire::Kind::Done => Ok(Kind::Done),
    }
}

fn check_parent(bytes: &[u8]) -> Result<Option<NoteId>, EntryError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let id = NoteId::from_bytes(bytes);
    id.map(Some).map_err(|_| field("parent", "a note's id"))
}

fn field(field: &'static str, must: &'static str) -> EntryError {
    EntryError::Field { field, must }
}
