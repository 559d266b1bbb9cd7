//! What people and agents see of an entry: the text, and apart from it whose it is.

use protocol::NodeId;
use protocol::board::{Entry, Note, Saying};
use web::boards::{AttachmentView, NoteView, StandingView};

use super::{Keeper, State};
use crate::core::board::standing::Standing;

impl Keeper {
    /// A note, or of a withdrawal the note that is no more.
    pub(super) fn view(&self, state: &State, entry: &Entry, warnings: Vec<String>) -> NoteView {
        let (id, written) = match &entry.saying {
            Saying::Note(_) => (entry.id, entry.written),
            Saying::Withdrawal(withdrawal) => (withdrawal.note, withdrawal.written),
        };
        let note = entry.saying.note();
        let agent = note.and_then(|note| note.agent.as_ref());
        let standings = &state.desk.standings;
        NoteView {
            id: id.to_string(),
            board: entry.saying.board().to_string(),
            kind: entry.saying.kind().to_string(),
            parent: entry.saying.parent().map(|id| id.to_string()),
            body: note.map(|note| note.body.clone()).unwrap_or_default(),
            agent: agent.map(ToString::to_string),
            author: entry.author.to_string(),
            author_name: standings.name(&entry.author).map(str::to_owned),
            standing: self.standing(state, &entry.author),
            // Nothing is kept whose signature was not checked.
            verified: true,
            written: written.0,
            expires: entry.expires.0,
            withdrawn: note.is_none(),
            attachments: note
                .map(|note| attachments(state, note))
                .unwrap_or_default(),
            warnings,
        }
    }

    pub(super) fn standing(&self, state: &State, author: &NodeId) -> StandingView {
        match state.desk.standings.of(author) {
            _ if *author == self.0.own => StandingView::Own,
            Some(Standing::Trusted { .. }) => StandingView::Trusted,
            Some(Standing::Muted) => StandingView::Muted,
            None => StandingView::Unknown,
        }
    }
}

fn attachments(state: &State, note: &Note) -> Vec<AttachmentView> {
    let views = note.attachments.iter().map(|attachment| AttachmentView {
        name: attachment.name.clone(),
        digest: hex::encode(attachment.digest),
        bytes: attachment.bytes,
        here: state.attachments.contains_key(&attachment.digest),
    });
    views.collect()
}
