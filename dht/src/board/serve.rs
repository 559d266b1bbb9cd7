//! The answering side: one peer's requests on a stream, until it says END.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use futures::{AsyncRead, AsyncWrite};
use protocol::{
    NodeId, UnixMillis,
    board::{BoardName, NoteId},
    limits::{MAX_BOARDS_MESSAGE_BYTES, MAX_ENTRY_BYTES},
    reconcile::{BoardsReply, BoardsRequest, RefusalCode},
};

use super::{
    AT_ONCE, Clerk, ClerkGone,
    error::{ServeError, Violation},
    take_all,
    talk::Talk,
};
use crate::core::board::{
    Responder,
    session::{MOST_LACKED, MOST_ROUNDS},
};

/// Bytes of a message beside its entries, and beside each of them.
const OVERHEAD_BYTES: usize = 16;

/// Entries of the longest that fit a message, whatever they are.
const SURE_TO_FIT: usize = MAX_BOARDS_MESSAGE_BYTES / (MAX_ENTRY_BYTES + OVERHEAD_BYTES) - 1;

/// Requests on one stream: every round, the longest difference both ways in messages with as few
/// entries as there can be, and as many offers.
const MOST_REQUESTS: usize = MOST_ROUNDS as usize + 3 * (MOST_LACKED / SURE_TO_FIT);

const _: () = assert!(AT_ONCE <= SURE_TO_FIT);

/// What a peer's requests brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Served {
    /// The board that it reconciled, if it did.
    pub board: Option<BoardName>,
    /// Entries that are new here.
    pub news: usize,
}

/// Answers a peer's requests, of boards that are followed here. What came counts whatever ends it.
///
/// # Errors
/// [`ServeError`] says why not all was answered.
pub async fn serve_boards<IO>(
    io: IO,
    clerk: &Clerk,
    peer: NodeId,
    followed: &BTreeSet<BoardName>,
    came: &mut Served,
) -> Result<(), ServeError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut talk = Talk::new(io);
    let mut visit = Visit {
        clerk,
        peer,
        followed,
        opened: None,
        came,
    };
    for _ in 0..MOST_REQUESTS {
        let Some(request) = talk.hear().await? else {
            talk.end().await;
            return Ok(());
        };
        let request = BoardsRequest::decode(&request).map_err(Violation::Message)?;
        let reply = visit.answer(request).await?;
        talk.say(&reply.encode()).await?;
    }
    Err(Violation::Endless.into())
}

struct Visit<'a> {
    clerk: &'a Clerk,
    peer: NodeId,
    followed: &'a BTreeSet<BoardName>,
    opened: Option<Opened>,
    came: &'a mut Served,
}

struct Opened {
    board: Arc<BoardName>,
    since: UnixMillis,
    /// Made when the first round comes: the items are as they are then.
    responder: Option<Responder>,
    /// How many entries the peer may give: as many as it was told are wanted.
    wanted: usize,
}

impl Visit<'_> {
    async fn answer(&mut self, request: BoardsRequest) -> Result<BoardsReply, ServeError> {
        match request {
            BoardsRequest::Open(board, since) => self.open(board, since).await,
            BoardsRequest::Attachment(digest) => {
                let found = self.clerk.ask(move |ledger| ledger.attachment(&digest));
                Ok(found.await?.map_or(
                    BoardsReply::Refused(RefusalCode::NotHeld),
                    BoardsReply::Attachment,
                ))
            }
            BoardsRequest::Round(message) => {
                let opened = self.opened.as_mut().ok_or(Violation::Unfitting)?;
                opened.on_round(self.clerk, &message).await
            }
            BoardsRequest::Want(ids) => {
                let opened = self.opened.as_ref().ok_or(Violation::Unfitting)?;
                let (answered, entries) = gather(self.clerk, &opened.board, &ids).await?;
                Ok(BoardsReply::Entries { answered, entries })
            }
            BoardsRequest::Offer(ids) => {
                let opened = self.opened.as_mut().ok_or(Violation::Unfitting)?;
                let board = Arc::clone(&opened.board);
                let lacking = self.clerk.ask(move |ledger| ledger.lacks(&board, ids));
                let lacking = lacking.await?;
                opened.wanted = lacking.len();
                Ok(BoardsReply::Lacking(lacking))
            }
            BoardsRequest::Give(entries) => self.take(entries).await,
        }
    }

    async fn open(
        &mut self,
        board: BoardName,
        since: UnixMillis,
    ) -> Result<BoardsReply, ServeError> {
        if self.opened.is_some() {
            return Err(Violation::Unfitting.into());
        }
        if !self.followed.contains(&board) {
            return Ok(BoardsReply::Refused(RefusalCode::NotFollowed));
        }
        let board = Arc::new(board);
        let of = Arc::clone(&board);
        let floor = self.clerk.ask(move |ledger| ledger.floor(&of)).await?;
        let since = since.max(floor);
        self.came.board = Some(BoardName::clone(&board));
        self.opened = Some(Opened {
            board,
            since,
            responder: None,
            wanted: 0,
        });
        Ok(BoardsReply::Opened(since))
    }

    async fn take(&mut self, entries: Vec<Bytes>) -> Result<BoardsReply, ServeError> {
        let opened = self.opened.as_mut().ok_or(Violation::Unfitting)?;
        let left = opened.wanted.checked_sub(entries.len());
        opened.wanted = left.ok_or(Violation::Unfitting)?;
        let took = take_all(self.clerk, &opened.board, self.peer, entries).await?;
        self.came.news += took.new;
        if took.is_forged {
            return Err(Violation::Forged.into());
        }
        Ok(BoardsReply::Taken)
    }
}

impl Opened {
    async fn on_round(&mut self, clerk: &Clerk, message: &[u8]) -> Result<BoardsReply, ServeError> {
        let responder = match &mut self.responder {
            Some(responder) => responder,
            empty => {
                let (board, since) = (Arc::clone(&self.board), self.since);
                let made = clerk.ask(move |ledger| Responder::new(&ledger.items(&board, since)));
                empty.insert(made.await?)
            }
        };
        Ok(BoardsReply::Round(responder.on_round(message)?.into()))
    }
}

/// The entries of the first of these ids, as many as fit a message; and how many ids that are.
pub(super) async fn gather(
    clerk: &Clerk,
    board: &Arc<BoardName>,
    ids: &[NoteId],
) -> Result<(usize, Vec<Bytes>), ClerkGone> {
    let (mut answered, mut bytes) = (0, OVERHEAD_BYTES);
    let mut gathered = Vec::new();
    for some in ids.chunks(AT_ONCE) {
        let (board, wanted) = (Arc::clone(board), some.to_vec());
        let entries = clerk.ask(move |ledger| ledger.entries(&board, &wanted));
        let mut entries = entries.await?;
        // What a ledger holds fits, and so many; a message that does not would end the stream.
        entries.retain(|entry| entry.len() <= MAX_ENTRY_BYTES);
        entries.truncate(some.len());
        let more: usize = entries.iter().map(|e| e.len() + OVERHEAD_BYTES).sum();
        if bytes + more > MAX_BOARDS_MESSAGE_BYTES {
            break;
        }
        bytes += more;
        answered += some.len();
        gathered.extend(entries);
    }
    Ok((answered, gathered))
}
