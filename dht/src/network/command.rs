//! What the handle asks of the task. Plain data.

use bytes::Bytes;
use protocol::{
    ModelName, NodeId,
    board::BoardName,
    membership::{Chain, wire},
    names::Protocol,
};
use tokio::sync::oneshot;

use super::{boards::FollowError, opening::OpenError};
use crate::{
    core::membership::{Credential, ListError},
    demand::Asked,
    streams::Stream,
};

/// One wish.
pub(super) enum Command {
    /// Look the providers of a model up; answer with how many there are.
    Find {
        /// The model.
        model: ModelName,
        /// Where to answer.
        found: oneshot::Sender<usize>,
    },
    /// Open a stream to a peer.
    Open {
        /// To whom.
        peer: NodeId,
        /// To speak what.
        protocol: Protocol,
        /// Where to answer.
        opened: oneshot::Sender<Result<Stream, OpenError>>,
    },
    /// Follow a board.
    Follow {
        /// Which.
        board: BoardName,
        /// Where to answer.
        done: oneshot::Sender<Result<(), FollowError>>,
    },
    /// Follow a board no longer.
    Unfollow(BoardName),
    /// Tell an entry to those who follow its board.
    Publish {
        /// Which board.
        board: BoardName,
        /// The entry.
        bytes: Bytes,
    },
    /// Say who is connected and follows a board.
    Followers {
        /// Which.
        board: BoardName,
        /// Where to answer.
        answer: oneshot::Sender<Vec<NodeId>>,
    },
    /// One of this node's users asked for a model.
    Asked {
        /// Which.
        model: ModelName,
        /// What became of it.
        asked: Asked,
    },
    /// A peer broke the protocol of a stream.
    Blame(NodeId),
    /// Show this to members from now on.
    Show(Credential),
    /// Take a list of revocations.
    Revoke {
        /// The list; the roster checks it.
        list: Box<Chain<wire::Revocations>>,
        /// Where to answer.
        done: oneshot::Sender<Result<bool, ListError>>,
    },
}
