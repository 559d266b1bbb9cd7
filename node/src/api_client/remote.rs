//! The blackboard of a running node, seen over its API: what `shoal mcp` serves on stdio. The
//! node is found anew for each call, for agents start their servers when they like, and nodes
//! come and go meanwhile.

use async_trait::async_trait;
use tokio::sync::mpsc;
use web::Boards;
use web::boards::{AuthorView, BoardError, BoardSummary, NewNote, NoteQuery, NoteView, Standing};

use super::{Client, ClientError};
use crate::config::Effective;

/// Notes that wait for a reader of a watch: as many as a swarm writes in some seconds.
const WATCH_QUEUE: usize = 64;

/// The node that the flags, the environment or the data directory name.
#[derive(Debug)]
pub struct RemoteBoards {
    api: Option<String>,
    effective: Effective,
}

impl RemoteBoards {
    /// The blackboard of the node that [`Client::find`] finds.
    pub fn new(api: Option<String>, effective: Effective) -> Self {
        Self { api, effective }
    }

    fn client(&self) -> Result<Client, BoardError> {
        Client::find(self.api.as_deref(), &self.effective).map_err(refusal)
    }
}

/// The node's own words; the kind of refusal by its status.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn refusal(error: ClientError) -> BoardError {
    let message = error.to_string();
    match error {
        ClientError::Refused { status: 404, .. } => BoardError::NotFound(message),
        ClientError::Refused {
            status: 400..=499, ..
        } => BoardError::Invalid(message),
        _ => BoardError::Unavailable(message),
    }
}

#[async_trait]
impl Boards for RemoteBoards {
    async fn list(&self) -> Result<Vec<BoardSummary>, BoardError> {
        self.client()?.boards().await.map_err(refusal)
    }

    async fn post(&self, post: NewNote) -> Result<NoteView, BoardError> {
        self.client()?.post_note(&post).await.map_err(refusal)
    }

    async fn read(&self, id: &str) -> Result<NoteView, BoardError> {
        self.client()?.note(id).await.map_err(refusal)
    }

    async fn search(&self, query: NoteQuery) -> Result<Vec<NoteView>, BoardError> {
        self.client()?.notes(&query).await.map_err(refusal)
    }

    async fn withdraw(&self, id: &str) -> Result<(), BoardError> {
        self.client()?.withdraw_note(id).await.map_err(refusal)
    }

    async fn attachment(&self, id: &str, index: usize) -> Result<Vec<u8>, BoardError> {
        self.client()?.attachment(id, index).await.map_err(refusal)
    }

    async fn watch(&self, board: Option<&str>) -> Result<mpsc::Receiver<NoteView>, BoardError> {
        let mut events = self.client()?.watch_notes(board).await.map_err(refusal)?;
        let (send, receive) = mpsc::channel(WATCH_QUEUE);
        tokio::spawn(async move {
            while let Ok(Some(note)) = events.next().await {
                if send.send(note).await.is_err() {
                    return;
                }
            }
        });
        Ok(receive)
    }

    async fn follow(&self, board: &str, followed: bool) -> Result<(), BoardError> {
        let client = self.client()?;
        client.follow_board(board, followed).await.map_err(refusal)
    }

    async fn posting(&self) -> Result<bool, BoardError> {
        self.client()?.is_posting_allowed().await.map_err(refusal)
    }

    async fn set_posting(&self, allowed: bool) -> Result<(), BoardError> {
        self.client()?.allow_posting(allowed).await.map_err(refusal)
    }

    async fn authors(&self) -> Result<Vec<AuthorView>, BoardError> {
        self.client()?.authors().await.map_err(refusal)
    }

    async fn set_author(&self, author: &str, standing: Standing) -> Result<(), BoardError> {
        let client = self.client()?;
        client.set_author(author, standing).await.map_err(refusal)
    }
}
