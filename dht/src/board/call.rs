//! The asking side: a board reconciled with a peer, and an attachment.

use std::sync::Arc;

use bytes::Bytes;
use futures::{AsyncRead, AsyncWrite};
use protocol::{
    NodeId,
    board::{BoardName, NoteId},
    limits::MAX_LISTED_NOTES,
    reconcile::{BoardsReply, BoardsRequest},
};

use super::{
    Clerk,
    error::{CallError, Violation},
    serve::gather,
    take_all,
    talk::Talk,
};
use crate::core::board::{Difference, Initiator};

/// Of so many notes that a peer says to have it must have an eighth: notes expire and are withdrawn
/// while they are asked for, but not seven in eight.
const MANY_WANTED: usize = 32;

/// What a reconciliation brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// Entries that are new here.
    pub news: usize,
    /// Entries that were given to the peer.
    pub given: usize,
    /// Both have the same now, as far as each takes what the other has; else another reconciliation
    /// goes on.
    pub is_whole: bool,
}

/// Reconciles a board with a peer, on a new stream. What came counts whatever ends it.
///
/// # Errors
/// See [`CallError`].
pub async fn reconcile<IO>(
    io: IO,
    clerk: &Clerk,
    peer: NodeId,
    board: BoardName,
    came: &mut Reconciled,
) -> Result<(), CallError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut visit = Visit {
        talk: Talk::new(io),
        clerk,
        peer,
        board: Arc::new(board),
    };
    let difference = visit.compare().await?;
    visit.fetch(difference.lacking, came).await?;
    visit.give(&difference.surplus, came).await?;
    visit.talk.end().await;
    came.is_whole = difference.is_whole;
    Ok(())
}

/// Asks for an attachment of so many bytes, on a new stream.
///
/// # Errors
/// See [`CallError`].
pub async fn ask_attachment<IO>(io: IO, digest: [u8; 32], bytes: u32) -> Result<Bytes, CallError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut talk = Talk::new(io);
    let reply = ask(&mut talk, &BoardsRequest::Attachment(digest)).await?;
    let BoardsReply::Attachment(attachment) = reply else {
        return Err(Violation::Unfitting.into());
    };
    let is_long = u32::try_from(attachment.len()) == Ok(bytes);
    if !is_long || *blake3::hash(&attachment).as_bytes() != digest {
        return Err(Violation::Attachment.into());
    }
    talk.end().await;
    Ok(attachment)
}

struct Visit<'a, IO> {
    talk: Talk<IO>,
    clerk: &'a Clerk,
    peer: NodeId,
    board: Arc<BoardName>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Visit<'_, IO> {
    async fn ask(&mut self, request: &BoardsRequest) -> Result<BoardsReply, CallError> {
        ask(&mut self.talk, request).await
    }

    /// What either lacks.
    async fn compare(&mut self) -> Result<Difference, CallError> {
        let board = Arc::clone(&self.board);
        let floor = self.clerk.ask(move |ledger| ledger.floor(&board)).await?;
        let open = BoardsRequest::Open(BoardName::clone(&self.board), floor);
        let BoardsReply::Opened(since) = self.ask(&open).await? else {
            return Err(Violation::Unfitting.into());
        };
        let (board, since) = (Arc::clone(&self.board), since.max(floor));
        let begun = self
            .clerk
            .ask(move |ledger| Initiator::begin(&ledger.items(&board, since)));
        let (mut initiator, first) = begun.await?;
        let mut message = Some(first);
        while let Some(next) = message {
            let BoardsReply::Round(answer) = self.ask(&BoardsRequest::Round(next.into())).await?
            else {
                return Err(Violation::Unfitting.into());
            };
            message = initiator.on_round(&answer)?;
        }
        Ok(initiator.end())
    }

    /// Asks for what is lacking here.
    async fn fetch(
        &mut self,
        lacking: Vec<NoteId>,
        came: &mut Reconciled,
    ) -> Result<(), CallError> {
        let board = Arc::clone(&self.board);
        let wanted = self.clerk.ask(move |ledger| ledger.lacks(&board, lacking));
        let wanted = wanted.await?;
        let (mut left, mut there) = (&wanted[..], 0);
        while !left.is_empty() {
            let some = &left[..left.len().min(MAX_LISTED_NOTES)];
            let want = BoardsRequest::Want(some.to_vec());
            let reply = self.ask(&want).await?;
            let BoardsReply::Entries { answered, entries } = reply else {
                return Err(Violation::Unfitting.into());
            };
            let rest = left.get(answered..).filter(|_| answered <= some.len());
            left = rest.ok_or(Violation::Unfitting)?;
            let took = take_all(self.clerk, &self.board, self.peer, entries).await?;
            came.news += took.new;
            there += took.looked_at;
            if took.is_forged {
                return Err(Violation::Forged.into());
            }
        }
        let is_phantom = wanted.len() >= MANY_WANTED && there < wanted.len() / 8;
        (!is_phantom).then_some(()).ok_or(Violation::Phantom.into())
    }

    /// Gives what is lacking there, as far as the peer takes it.
    async fn give(&mut self, surplus: &[NoteId], came: &mut Reconciled) -> Result<(), CallError> {
        for some in surplus.chunks(MAX_LISTED_NOTES) {
            let BoardsReply::Lacking(wanted) =
                self.ask(&BoardsRequest::Offer(some.to_vec())).await?
            else {
                return Err(Violation::Unfitting.into());
            };
            if !wanted.iter().all(|id| some.binary_search(id).is_ok()) {
                return Err(Violation::Unfitting.into());
            }
            let mut left = &wanted[..];
            while !left.is_empty() {
                let (answered, entries) = gather(self.clerk, &self.board, left).await?;
                left = &left[answered..];
                came.given += entries.len();
                if entries.is_empty() {
                    continue;
                }
                let given = self.ask(&BoardsRequest::Give(entries)).await?;
                if given != BoardsReply::Taken {
                    return Err(Violation::Unfitting.into());
                }
            }
        }
        Ok(())
    }
}

/// One request and its reply.
async fn ask<IO>(talk: &mut Talk<IO>, request: &BoardsRequest) -> Result<BoardsReply, CallError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    // Why it cannot be said, the next reply says.
    let _ = talk.say(&request.encode()).await;
    let reply = talk.hear().await?.ok_or(CallError::Cut)?;
    match BoardsReply::decode(&reply).map_err(Violation::Message)? {
        BoardsReply::Refused(code) => Err(CallError::Refused(code)),
        reply => Ok(reply),
    }
}
