//! What people and agents read here.

use protocol::NodeId;
use protocol::board::{Attachment, BoardName, Entry};
use tokio::sync::mpsc;
use web::boards::{
    AuthorView, BoardError, BoardSummary, DEFAULT_LIMIT, MAX_LIMIT, NoteQuery, NoteView, Standing,
};

use super::posting::kind;
use super::{Keeper, MAX_ATTACHMENTS_BYTES, MAX_WATCHERS, State, WATCH_QUEUE, Watcher};
use crate::core::board::holdings::{Filter, MAX_FOLLOWED};
use crate::core::board::query::Query;
use crate::core::board::standing;

/// An attachment, or what to ask peers for.
pub(super) enum Found {
    Here(Vec<u8>),
    Elsewhere {
        board: BoardName,
        attachment: Attachment,
    },
}

impl Keeper {
    pub(super) fn boards(&self) -> Vec<BoardSummary> {
        let summaries = self.state().desk.holdings.summaries().into_iter();
        let view = summaries.map(|summary| BoardSummary {
            name: summary.board.to_string(),
            notes: u64::try_from(summary.notes).unwrap_or(u64::MAX),
            last_written: summary.last_written.map(|time| time.0),
            followed: summary.is_followed,
        });
        view.collect()
    }

    pub(super) fn note(&self, id: &str) -> Result<NoteView, BoardError> {
        let state = self.state();
        let entry = self.entry_named(&state, id)?;
        Ok(self.view(&state, &entry, Vec::new()))
    }

    /// The note whose id begins so, or what withdrew it.
    pub(super) fn entry_named(&self, state: &State, id: &str) -> Result<Entry, BoardError> {
        let fact = state.fact(id)?;
        let row = self
            .0
            .disk
            .read(&fact.entry)
            .map_err(|error| internal(&error))?;
        let entry = row.and_then(|bytes| Entry::stored(&bytes, &self.0.swarm).ok());
        entry.ok_or(BoardError::Internal)
    }

    /// Whoever asks for a board that is not followed follows it from then on: its notes come
    /// within seconds.
    pub(super) fn find(&self, query: &NoteQuery) -> Result<Vec<NoteView>, BoardError> {
        let mut state = self.state();
        let board = query.board.as_deref().map(board).transpose()?;
        if let Some(board) = &board {
            self.follow_here(&mut state, board, true)?;
        }
        self.let_go(&mut state);
        let thread = query.thread.as_deref().map(|id| state.note_id(id));
        let author = query.author.as_deref().map(|text| author(&state, text));
        let muted = state
            .desk
            .standings
            .all()
            .filter(|(_, standing)| **standing == standing::Standing::Muted);
        let filter = Filter {
            board,
            text: Query::parse(query.text.as_deref().unwrap_or_default())
                .map_err(|error| BoardError::Invalid(error.to_string()))?,
            author: author.transpose()?,
            muted: muted.map(|(author, _)| *author).collect(),
            kind: query.kind.as_deref().map(kind).transpose()?,
            thread: thread.transpose()?,
            since: query.since.map(protocol::UnixMillis),
            limit: query.limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT),
        };
        let found = state.desk.holdings.search(&filter).into_iter();
        let entries = found.filter_map(|id| {
            let bytes = self.0.disk.read(&id).ok()??;
            Entry::stored(&bytes, &self.0.swarm).ok()
        });
        let views = entries.map(|entry| self.view(&state, &entry, Vec::new()));
        Ok(views.collect())
    }

    pub(super) fn look_up(&self, id: &str, index: usize) -> Result<Found, BoardError> {
        let state = self.state();
        let entry = self.entry_named(&state, id)?;
        let note = entry.saying.note();
        let attachment = note.and_then(|note| note.attachments.get(index));
        let Some(attachment) = attachment.cloned() else {
            let text = format!("the note has no attachment {index}: they are numbered from 0");
            return Err(BoardError::NotFound(text));
        };
        if !state.attachments.contains_key(&attachment.digest) {
            let board = entry.saying.board().clone();
            return Ok(Found::Elsewhere { board, attachment });
        }
        let bytes = self.0.disk.attachment(&attachment.digest);
        let bytes = bytes.map_err(|error| internal(&error))?;
        bytes.map(Found::Here).ok_or(BoardError::Internal)
    }

    /// Keeps what was fetched, while a note has it and there is room.
    pub(super) fn keep_attachment(&self, digest: [u8; 32], bytes: &[u8]) {
        let mut state = self.state();
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let here: u64 = state.attachments.values().sum();
        if !state.desk.holdings.refers_to(&digest) || here + size > MAX_ATTACHMENTS_BYTES {
            return;
        }
        match self.0.disk.put_attachment(&digest, bytes) {
            Ok(()) => {
                state.attachments.insert(digest, size);
                state.is_unflushed = true;
            }
            Err(error) => tracing::warn!(%error, "an attachment is not kept"),
        }
    }

    pub(super) fn subscribe(
        &self,
        wanted: Option<&str>,
    ) -> Result<mpsc::Receiver<NoteView>, BoardError> {
        let mut state = self.state();
        let board = wanted.map(board).transpose()?;
        if let Some(board) = &board {
            self.follow_here(&mut state, board, true)?;
        }
        state.watchers.retain(|watcher| !watcher.notes.is_closed());
        if state.watchers.len() >= MAX_WATCHERS {
            let text = format!("{MAX_WATCHERS} others watch boards here: end one of them");
            return Err(BoardError::Unavailable(text));
        }
        let (notes, receiver) = mpsc::channel(WATCH_QUEUE);
        state.watchers.push(Watcher { board, notes });
        Ok(receiver)
    }

    /// Follows a board or leaves it, here and after a restart. The network is told by whoever
    /// calls, see [`Keeper::announce`].
    pub(super) fn follow_here(
        &self,
        state: &mut State,
        board: &BoardName,
        followed: bool,
    ) -> Result<(), BoardError> {
        let is_followed = state.desk.holdings.followed().any(|known| known == board);
        if is_followed == followed {
            return Ok(());
        }
        if !state.desk.holdings.follow(board, followed) {
            return Err(BoardError::Full(format!(
                "{MAX_FOLLOWED} boards are followed here: leave one of them first"
            )));
        }
        let settings = state.settings.following(board, followed);
        let put = self.0.disk.put_settings(&settings);
        put.map_err(|error| internal(&error))?;
        state.settings = settings;
        Ok(())
    }

    pub(super) fn set_posting_here(&self, allowed: bool) -> Result<(), BoardError> {
        let mut state = self.state();
        let mut settings = state.settings.clone();
        settings.posting = Some(allowed);
        let put = self.0.disk.put_settings(&settings);
        put.map_err(|error| internal(&error))?;
        state.settings = settings;
        Ok(())
    }

    pub(super) fn known_authors(&self) -> Vec<AuthorView> {
        let state = self.state();
        let mut authors = state.desk.holdings.authors();
        for (author, _) in state.desk.standings.all() {
            authors.entry(*author).or_default();
        }
        let view = |(author, notes): (NodeId, usize)| AuthorView {
            author: author.to_string(),
            name: state.desk.standings.name(&author).map(str::to_owned),
            standing: self.standing(&state, &author),
            notes: u64::try_from(notes).unwrap_or(u64::MAX),
        };
        authors.into_iter().map(view).collect()
    }

    pub(super) fn judge_author(&self, text: &str, wanted: Standing) -> Result<(), BoardError> {
        let mut state = self.state();
        let author = author(&state, text)?;
        if author == self.0.own {
            let text = "this is the node itself: its notes are always its own";
            return Err(BoardError::Invalid(text.into()));
        }
        let wanted = match wanted {
            Standing::Trusted { name } => Some(standing::Standing::Trusted { name }),
            Standing::Muted => Some(standing::Standing::Muted),
            Standing::Unknown => None,
        };
        let changed = state.desk.standings.change(author, wanted);
        let changed = changed.map_err(|error| BoardError::Invalid(error.to_string()))?;
        let put = self.0.disk.put_author(&author, changed.as_ref());
        put.map_err(|error| internal(&error))?;
        state.desk.standings.set(author, changed);
        state.desk.reconsider();
        if state.desk.standings.is_muted(&author) {
            let gone = state.desk.holdings.remove_author(&author);
            self.erase(&mut state, &gone);
        }
        Ok(())
    }
}

fn board(text: &str) -> Result<BoardName, BoardError> {
    let board = text.parse::<BoardName>();
    board.map_err(|error| BoardError::Invalid(error.to_string()))
}

/// By the name that the owner gave, or by id.
fn author(state: &State, text: &str) -> Result<NodeId, BoardError> {
    if let Some(author) = state.desk.standings.named(text) {
        return Ok(author);
    }
    text.parse().map_err(|_| {
        BoardError::Invalid(format!(
            "`{text}` is neither a node's id nor a name that was given here (`shoal trust list`)"
        ))
    })
}

fn internal(error: &crate::store::StoreError) -> BoardError {
    tracing::error!(%error, "the boards' store failed");
    BoardError::Internal
}
