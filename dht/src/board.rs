//! `/shoal/<swarm>/boards/1`: what two peers that follow a board lack of each other's notes, and
//! attachments, over any stream of bytes; and the trait by which notes are kept elsewhere.
//!
//! Requests and replies alternate, each in a frame. To reconcile, the client opens a board; messages
//! of set reconciliation tell it what either lacks; it asks for what it lacks, offers what the peer
//! lacks, gives what of that is wanted, and says END. An attachment is one request on a stream of its
//! own, and is compared with its digest.
//!
//! It does not know whom it speaks with, nor when: see [`crate::core::board::meetings`].

mod call;
mod clerk;
mod error;
mod serve;
mod talk;

use std::sync::Arc;

use bytes::Bytes;
use protocol::{
    NodeId, UnixMillis,
    board::{BoardName, NoteId},
};

pub use self::{
    call::{Reconciled, ask_attachment, reconcile},
    clerk::{Clerk, ClerkGone},
    error::{CallError, ServeError, Violation},
    serve::{Served, serve_boards},
};
pub use crate::core::board::{Item, Verdict, Way};

/// What this node keeps of boards. Calls may wait for the disk: they come from one thread that
/// waits for nothing else, one after another, out of a bounded queue.
pub trait Ledger: Send + Sync + 'static {
    /// Takes an entry that came from a peer, or says why not. It trusts nothing of the bytes.
    fn take(&self, board: &BoardName, from: NodeId, bytes: Bytes, way: Way) -> Verdict;

    /// What is older than this is not kept here, and not asked for.
    fn floor(&self, board: &BoardName) -> UnixMillis;

    /// What was written at this time or later, sorted: notes, withdrawals, and what is left of
    /// withdrawn notes.
    fn items(&self, board: &BoardName, since: UnixMillis) -> Vec<Item>;

    /// The entries of this board among these that are here, in any order. A few at a time are
    /// asked for.
    fn entries(&self, board: &BoardName, ids: &[NoteId]) -> Vec<Bytes>;

    /// Those of these worth fetching: neither known nor lately refused.
    fn lacks(&self, board: &BoardName, ids: Vec<NoteId>) -> Vec<NoteId>;

    /// An attachment by its BLAKE3 digest.
    fn attachment(&self, digest: &[u8; 32]) -> Option<Bytes>;
}

/// Entries that are taken, or read, in one call of the ledger: others that wait for it, as gossip
/// does, wait for no more than these.
const AT_ONCE: usize = 16;

/// What came of entries that a peer gave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Took {
    looked_at: usize,
    new: usize,
    is_forged: bool,
}

/// Hands entries to the ledger, a few at a time, until one is forged.
async fn take_all(
    clerk: &Clerk,
    board: &Arc<BoardName>,
    from: NodeId,
    entries: Vec<Bytes>,
) -> Result<Took, ClerkGone> {
    let mut took = Took::default();
    for some in entries.chunks(AT_ONCE) {
        let (some, board) = (some.to_vec(), Arc::clone(board));
        let verdicts = clerk.ask(move |ledger| {
            let take = |bytes| ledger.take(&board, from, bytes, Way::Reconciled);
            some.into_iter().map(take).collect::<Vec<Verdict>>()
        });
        for verdict in verdicts.await? {
            took.looked_at += 1;
            took.new += usize::from(verdict == Verdict::New);
            took.is_forged |= verdict == Verdict::Invalid;
        }
        if took.is_forged {
            break;
        }
    }
    Ok(took)
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
