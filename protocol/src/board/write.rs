//! From what is said to what is signed.

use super::{
    saying::{Attachment, Kind, Note, Saying, Withdrawal},
    wire,
};
use crate::names::SwarmName;

pub(super) fn write(saying: &Saying, swarm: &SwarmName) -> wire::Saying {
    let what = match saying {
        Saying::Note(note) => wire::saying::What::Note(write_note(note)),
        Saying::Withdrawal(withdrawal) => {
            wire::saying::What::Withdrawal(write_withdrawal(withdrawal))
        }
    };
    wire::Saying {
        swarm: swarm.to_string(),
        board: saying.board().to_string(),
        what: Some(what),
    }
}

fn write_note(note: &Note) -> wire::Note {
    wire::Note {
        kind: write_kind(note.kind).into(),
        parent: note
            .parent
            .map(|id| id.as_bytes().to_vec())
            .unwrap_or_default(),
        body: note.body.clone(),
        agent: note
            .agent
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        attachments: note.attachments.iter().map(write_attachment).collect(),
    }
}

fn write_attachment(attachment: &Attachment) -> wire::Attachment {
    wire::Attachment {
        digest: attachment.digest.to_vec(),
        bytes: attachment.bytes,
        name: attachment.name.clone().unwrap_or_default(),
    }
}

fn write_withdrawal(withdrawal: &Withdrawal) -> wire::Withdrawal {
    let parent = withdrawal.parent.map(|id| id.as_bytes().to_vec());
    wire::Withdrawal {
        written_unix_millis: withdrawal.written.0,
        content: withdrawal.content.to_vec(),
        kind: write_kind(withdrawal.kind).into(),
        parent: parent.unwrap_or_default(),
    }
}

fn write_kind(kind: Kind) -> wire::Kind {
    match kind {
        Kind::Status => wire::Kind::Status,
        Kind::Finding => wire::Kind::Finding,
        Kind::Question => wire::Kind::Question,
        Kind::Answer => wire::Kind::Answer,
        Kind::Tip => wire::Kind::Tip,
        Kind::Done => wire::Kind::Done,
    }
}
