//! What the handle says of boards.

use bytes::Bytes;
use protocol::{
    NodeId,
    board::{BoardName, Entry},
    names::Protocol,
};
use rand::seq::SliceRandom;
use tokio::sync::oneshot;

use super::{Left, Network, command::Command};
use crate::board::{CallError, ask_attachment};

/// Peers that are asked for one attachment, one after another: whoever follows a board has it as a
/// rule, if anybody has.
const MOST_ASKED: usize = 8;

/// Why a board is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FollowError {
    /// As many as one node follows are.
    #[error("as many boards are followed as one node follows: unfollow one")]
    TooMany,
    /// The node was set up without a ledger.
    #[error("this node keeps no boards")]
    Unkept,
    /// This node has left the swarm.
    #[error("this node has left the swarm")]
    Left,
}

/// Why an attachment did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// None of those who are connected and follow the board has it, or all were cut.
    #[error("nobody who is connected and follows the board has the attachment now")]
    NotHeld,
    /// This node has left the swarm.
    #[error("this node has left the swarm")]
    Left,
}

impl Network {
    /// Follows a board: notes of others come to the ledger as they are written, and those that
    /// were written before by reconciling. Following it twice is following it.
    ///
    /// # Errors
    /// See [`FollowError`].
    pub async fn follow(&self, board: BoardName) -> Result<(), FollowError> {
        let (done, answer) = oneshot::channel();
        let command = Command::Follow { board, done };
        let sent = self.commands.send(command).await;
        sent.map_err(|_| FollowError::Left)?;
        answer.await.map_err(|_| FollowError::Left)?
    }

    /// No longer follows a board. What the ledger has stays its own.
    ///
    /// # Errors
    /// [`Left`].
    pub async fn unfollow(&self, board: BoardName) -> Result<(), Left> {
        let command = Command::Unfollow(board);
        self.commands.send(command).await.map_err(|_| Left)
    }

    /// Tells an entry to those who follow its board. The ledger has it already: whoever is not
    /// connected now gets it by reconciling.
    ///
    /// # Errors
    /// [`Left`].
    pub async fn publish(&self, entry: &Entry) -> Result<(), Left> {
        let command = Command::Publish {
            board: entry.saying.board().clone(),
            bytes: entry.bytes.clone(),
        };
        self.commands.send(command).await.map_err(|_| Left)
    }

    /// Fetches an attachment of so many bytes from those who follow a board, and compares it with
    /// its BLAKE3 digest.
    ///
    /// # Errors
    /// See [`FetchError`].
    pub async fn fetch_attachment(
        &self,
        board: &BoardName,
        digest: [u8; 32],
        bytes: u32,
    ) -> Result<Bytes, FetchError> {
        let (answer, followers) = oneshot::channel();
        let board = board.clone();
        let command = Command::Followers { board, answer };
        let sent = self.commands.send(command).await;
        sent.map_err(|_| FetchError::Left)?;
        let mut followers = followers.await.map_err(|_| FetchError::Left)?;
        followers.shuffle(&mut rand::rng());
        for peer in followers.into_iter().take(MOST_ASKED) {
            if let Some(attachment) = self.ask_attachment(peer, digest, bytes).await {
                return Ok(attachment);
            }
        }
        Err(FetchError::NotHeld)
    }

    /// An attachment from one peer, who is blamed for another one.
    async fn ask_attachment(&self, peer: NodeId, digest: [u8; 32], bytes: u32) -> Option<Bytes> {
        let stream = self.open(peer, Protocol::Boards).await.ok()?;
        let attachment = ask_attachment(stream, digest, bytes).await;
        if attachment.as_ref().is_err_and(CallError::is_violation) {
            self.blame(peer);
        }
        attachment.ok()
    }
}
