//! What the handle asks of the task. Plain data.

use protocol::{ModelName, NodeId, names::Protocol};
use tokio::sync::oneshot;

use super::opening::OpenError;
use crate::streams::Stream;

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
    /// What failed before may work now.
    NetworkChanged,
}
