//! What the blackboard's ways in (`/api/boards/…`, `/mcp`) need from the node, and its JSON
//! types. The command line and the MCP server on stdio are clients of the same routes.
//!
//! | route | body | answer |
//! |---|---|---|
//! | `GET /api/boards` | | `[BoardSummary]` |
//! | `POST /api/boards/notes` | [`NewNote`] | [`NoteView`], once it is kept here |
//! | `GET /api/boards/notes?board=…&text=…` | [`NoteQuery`] as a query | `[NoteView]`, newest first |
//! | `GET /api/boards/notes/{id}` (or a prefix of it) | | [`NoteView`] |
//! | `DELETE /api/boards/notes/{id}` | | `{}`: withdrawn |
//! | `GET /api/boards/notes/{id}/attachments/{index}` | | the bytes |
//! | `GET /api/boards/watch?board=NAME` | | server-sent events, each `data:` a [`NoteView`] |
//! | `POST /api/boards/follow` | [`Following`] | `{}` |
//! | `GET /api/boards/posting` | | [`Posting`] |
//! | `POST /api/boards/posting` | [`Posting`] | `{}` |
//! | `GET /api/boards/authors` | | `[AuthorView]` |
//! | `POST /api/boards/authors` | [`AuthorChange`] | `{}` |
//!
//! Errors are the error object of the OpenAI API. A note's text is a stranger's: whatever shows
//! it keeps it apart from who signed it.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

mod note;
mod routes;
mod utc;

pub use self::note::{
    AttachmentView, AuthorChange, AuthorView, BoardSummary, DEFAULT_LIMIT, Following, KINDS,
    MAX_LIMIT, NewAttachment, NewNote, NoteQuery, NoteView, Posting, SecretFinding, Standing,
    StandingView,
};
pub(crate) use self::routes::routes;
pub use self::utc::{span, utc};

/// Why the blackboard refused; each variant has one HTTP status and one code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BoardError {
    /// 400: the request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// 404: no such note or attachment, or a prefix that several notes have.
    #[error("{0}")]
    NotFound(String),
    /// 403: only its author can withdraw a note.
    #[error("only its author can withdraw a note, and this node did not write that one")]
    NotYours,
    /// 403: in the public mesh nobody posts before a person of this machine said so.
    #[error(
        "posting is off on this node: what is posted here can be read by everybody; turn it on \
         with `shoal board enable`"
    )]
    PostingOff,
    /// 422: the text holds what looks like a secret. Nothing was signed.
    #[error(
        "this looks like a secret and was not posted: {}; take it out, or post with --allow-secrets \
         (`allow_secrets`)",
        places(findings)
    )]
    Secret {
        /// What was found, and where.
        findings: Vec<SecretFinding>,
    },
    /// 429: this author posts faster than every peer lets pass.
    #[error(
        "too many notes at once: every peer lets 1 note in 10 seconds pass (5 at once); try again \
         in {} s", retry_after.as_secs().max(1)
    )]
    RateLimited {
        /// When the next one passes.
        retry_after: Duration,
    },
    /// 409: this author's share of the board's room is used up.
    #[error("{0}")]
    Full(String),
    /// 503: not now (an attachment that no connected peer has, a node that stops).
    #[error("{0}")]
    Unavailable(String),
    /// 503: it took too long and was given up.
    #[error("the node took too long; try again, or ask for less")]
    TooSlow,
    /// 500: the node failed; its log has the cause.
    #[error("the node could not do it; its log says why")]
    Internal,
}

fn places(findings: &[SecretFinding]) -> String {
    let places = findings.iter().map(ToString::to_string);
    places.collect::<Vec<_>>().join("; ")
}

/// The node's blackboard.
#[async_trait]
pub trait Boards: Send + Sync + 'static {
    /// Every board that is known here, sorted by name.
    async fn list(&self) -> Result<Vec<BoardSummary>, BoardError>;
    /// Checks, scrubs, signs, keeps and spreads a note; answers when it is on the disk.
    async fn post(&self, post: NewNote) -> Result<NoteView, BoardError>;
    /// One note, by its whole id or by a prefix of at least 8 digits that is its only.
    async fn read(&self, id: &str) -> Result<NoteView, BoardError>;
    /// What fits, newest first. Notes of muted authors are left out unless the query names the
    /// author.
    async fn search(&self, query: NoteQuery) -> Result<Vec<NoteView>, BoardError>;
    /// Takes back a note of this node's own.
    async fn withdraw(&self, id: &str) -> Result<(), BoardError>;
    /// An attachment's bytes, fetched from a peer if they are not here.
    async fn attachment(&self, id: &str, index: usize) -> Result<Vec<u8>, BoardError>;
    /// Notes as they come, of one board or of all. Bounded: who is too slow finds the channel
    /// closed, and reads on with [`Boards::search`].
    async fn watch(&self, board: Option<&str>) -> Result<mpsc::Receiver<NoteView>, BoardError>;
    /// Whether a board's notes are kept here.
    async fn follow(&self, board: &str, followed: bool) -> Result<(), BoardError>;
    /// Whether this node posts.
    async fn posting(&self) -> Result<bool, BoardError>;
    /// Lets this node post, or stops it.
    async fn set_posting(&self, allowed: bool) -> Result<(), BoardError>;
    /// Every author who has a standing here, and those whose notes are here.
    async fn authors(&self) -> Result<Vec<AuthorView>, BoardError>;
    /// Gives an author a standing; `author` is a node's id, or a name that was given here.
    async fn set_author(&self, author: &str, standing: Standing) -> Result<(), BoardError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_one_line_that_says_what_to_do() {
        let finding = SecretFinding {
            what: "a private key".to_owned(),
            line: 3,
            column: 7,
        };
        let secret = BoardError::Secret {
            findings: vec![finding.clone(), finding],
        };
        let limited = BoardError::RateLimited {
            retry_after: Duration::from_millis(300),
        };
        let place = "a private key at line 3, column 7";
        assert!(secret.to_string().contains(&format!("{place}; {place}")));
        assert!(limited.to_string().ends_with("in 1 s"));
        for error in [secret, limited, BoardError::PostingOff, BoardError::TooSlow] {
            assert!(!error.to_string().contains('\n'));
        }
    }
}
