//! A blackboard in memory: small, and nothing in it is scripted.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::mpsc;
use web::{
    Boards,
    boards::{
        AttachmentView, AuthorView, BoardError, BoardSummary, DEFAULT_LIMIT, KINDS, NewNote,
        NoteQuery, NoteView, SecretFinding, Standing, StandingView,
    },
};

/// When the first note is written; each further one a minute later.
const BEGINNING: u64 = 1_790_000_000_000;
const MINUTE: u64 = 60_000;
/// Notes that are kept; one more is over the author's share.
const ROOM: usize = 50;

#[derive(Default)]
pub(crate) struct Pinboard {
    kept: Mutex<Vec<Kept>>,
    watchers: Mutex<Vec<(Option<String>, mpsc::Sender<NoteView>)>>,
    unfollowed: Mutex<Vec<String>>,
    authors: Mutex<Vec<(String, Standing)>>,
    closed: AtomicBool,
}

struct Kept {
    view: NoteView,
    attachments: Vec<Vec<u8>>,
}

impl Pinboard {
    /// A note by somebody else.
    pub(crate) fn arrive(&self, author: &str, board: &str, body: &str) -> NoteView {
        let note = NewNote {
            board: board.to_owned(),
            kind: "tip".to_owned(),
            body: body.to_owned(),
            agent: Some("self (trusted)".to_owned()),
            ..NewNote::default()
        };
        self.keep(note, author)
    }

    /// Ends every watch, as a node does with readers that are too slow.
    pub(crate) fn cut_off(&self) {
        self.watchers.lock().unwrap().clear();
    }

    fn keep(&self, note: NewNote, author: &str) -> NoteView {
        let mut kept = self.kept.lock().unwrap();
        let number = kept.len() as u64;
        let attachments = note.attachments.iter().map(|attachment| AttachmentView {
            name: attachment.name.clone(),
            digest: format!("{:064x}", attachment.bytes.len()),
            bytes: u32::try_from(attachment.bytes.len()).unwrap(),
            here: true,
        });
        let view = NoteView {
            id: format!("{:08x}{:056x}", number + 0xa0, number),
            board: note.board,
            kind: note.kind,
            parent: note.parent,
            body: note.body,
            agent: note.agent,
            author: author.to_owned(),
            author_name: None,
            standing: StandingView::Unknown,
            verified: true,
            written: BEGINNING + number * MINUTE,
            expires: BEGINNING + number * MINUTE + 7 * 86_400_000,
            withdrawn: false,
            attachments: attachments.collect(),
            warnings: Vec::new(),
        };
        let attachments = note.attachments.into_iter().map(|a| a.bytes).collect();
        kept.push(Kept {
            view: view.clone(),
            attachments,
        });
        drop(kept);
        let view = self.shown(view);
        let mut watchers = self.watchers.lock().unwrap();
        watchers.retain(|(board, out)| {
            board.as_ref().is_some_and(|board| *board != view.board)
                || out.try_send(view.clone()).is_ok()
        });
        view
    }

    fn shown(&self, mut note: NoteView) -> NoteView {
        if note.author == "me" {
            note.standing = StandingView::Own;
        }
        for (author, standing) in self.authors.lock().unwrap().iter() {
            if *author == note.author {
                (note.standing, note.author_name) = match standing {
                    Standing::Trusted { name } => (StandingView::Trusted, name.clone()),
                    Standing::Muted => (StandingView::Muted, None),
                    Standing::Unknown => (StandingView::Unknown, None),
                };
            }
        }
        note
    }

    fn find(&self, id: &str) -> Result<usize, BoardError> {
        let kept = self.kept.lock().unwrap();
        let mut fitting = (0..kept.len()).filter(|i| kept[*i].view.id.starts_with(id));
        match (id.len() >= 8, fitting.next(), fitting.next()) {
            (true, Some(index), None) => Ok(index),
            _ => Err(BoardError::NotFound(format!("there is no note {id}"))),
        }
    }
}

fn fits(note: &NoteView, query: &NoteQuery) -> bool {
    let same = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
    let words = query.text.as_deref().unwrap_or_default();
    let in_thread = |id: &String| note.id == *id || note.parent.as_deref() == Some(id);
    same(&query.board, &note.board)
        && same(&query.kind, &note.kind)
        && same(&query.author, &note.author)
        && query.thread.as_ref().is_none_or(in_thread)
        && query.since.is_none_or(|since| note.written >= since)
        && words.split(' ').all(|word| note.body.contains(word))
        && (note.standing != StandingView::Muted || query.author.is_some())
}

#[async_trait]
impl Boards for Pinboard {
    async fn list(&self) -> Result<Vec<BoardSummary>, BoardError> {
        let mut boards: Vec<BoardSummary> = Vec::new();
        for Kept { view, .. } in self.kept.lock().unwrap().iter() {
            let unfollowed = self.unfollowed.lock().unwrap();
            match boards.iter_mut().find(|board| board.name == view.board) {
                Some(board) => {
                    board.notes += 1;
                    board.last_written = Some(view.written);
                }
                None => boards.push(BoardSummary {
                    name: view.board.clone(),
                    notes: 1,
                    last_written: Some(view.written),
                    followed: !unfollowed.contains(&view.board),
                }),
            }
        }
        boards.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(boards)
    }

    async fn post(&self, post: NewNote) -> Result<NoteView, BoardError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(BoardError::PostingOff);
        }
        if !KINDS.contains(&post.kind.as_str()) || post.body.is_empty() {
            return Err(BoardError::Invalid("no kind, or no text".to_owned()));
        }
        if post.body.contains("PRIVATE KEY") && !post.allow_secrets {
            let findings = vec![SecretFinding {
                what: "a private key".to_owned(),
                line: 1,
                column: 1,
            }];
            return Err(BoardError::Secret { findings });
        }
        if post.body == "too fast" {
            let retry_after = Duration::from_secs(9);
            return Err(BoardError::RateLimited { retry_after });
        }
        if self.kept.lock().unwrap().len() >= ROOM {
            return Err(BoardError::Full("this node's share is used up".to_owned()));
        }
        let mails = post.body.contains('@');
        let mut view = self.keep(post, "me");
        if mails {
            view.warnings.push("an e-mail address at line 1".to_owned());
        }
        Ok(view)
    }

    async fn read(&self, id: &str) -> Result<NoteView, BoardError> {
        let index = self.find(id)?;
        let view = self.kept.lock().unwrap()[index].view.clone();
        Ok(self.shown(view))
    }

    async fn search(&self, query: NoteQuery) -> Result<Vec<NoteView>, BoardError> {
        let kept = self.kept.lock().unwrap();
        let all = kept.iter().rev().map(|kept| self.shown(kept.view.clone()));
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
        Ok(all.filter(|note| fits(note, &query)).take(limit).collect())
    }

    async fn withdraw(&self, id: &str) -> Result<(), BoardError> {
        let index = self.find(id)?;
        let kept = &mut self.kept.lock().unwrap()[index];
        if kept.view.author != "me" {
            return Err(BoardError::NotYours);
        }
        kept.view.withdrawn = true;
        kept.view.body.clear();
        Ok(())
    }

    async fn attachment(&self, id: &str, index: usize) -> Result<Vec<u8>, BoardError> {
        let note = self.find(id)?;
        let kept = self.kept.lock().unwrap();
        let bytes = kept[note].attachments.get(index).cloned();
        bytes.ok_or_else(|| BoardError::NotFound("the note has no such attachment".to_owned()))
    }

    async fn watch(&self, board: Option<&str>) -> Result<mpsc::Receiver<NoteView>, BoardError> {
        let (send, receive) = mpsc::channel(8);
        let mut watchers = self.watchers.lock().unwrap();
        watchers.push((board.map(str::to_owned), send));
        Ok(receive)
    }

    async fn follow(&self, board: &str, followed: bool) -> Result<(), BoardError> {
        let mut unfollowed = self.unfollowed.lock().unwrap();
        unfollowed.retain(|known| known != board);
        if !followed {
            unfollowed.push(board.to_owned());
        }
        Ok(())
    }

    async fn posting(&self) -> Result<bool, BoardError> {
        Ok(!self.closed.load(Ordering::SeqCst))
    }

    async fn set_posting(&self, allowed: bool) -> Result<(), BoardError> {
        self.closed.store(!allowed, Ordering::SeqCst);
        Ok(())
    }

    async fn authors(&self) -> Result<Vec<AuthorView>, BoardError> {
        let kept = self.kept.lock().unwrap();
        let mut authors: Vec<AuthorView> = Vec::new();
        for note in kept.iter().map(|kept| self.shown(kept.view.clone())) {
            match authors.iter_mut().find(|known| known.author == note.author) {
                Some(known) => known.notes += 1,
                None => authors.push(AuthorView {
                    author: note.author,
                    name: note.author_name,
                    standing: note.standing,
                    notes: 1,
                }),
            }
        }
        Ok(authors)
    }

    async fn set_author(&self, author: &str, standing: Standing) -> Result<(), BoardError> {
        let mut authors = self.authors.lock().unwrap();
        authors.retain(|(known, _)| known != author);
        authors.push((author.to_owned(), standing));
        Ok(())
    }
}
