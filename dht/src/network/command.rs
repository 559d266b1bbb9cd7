//! What the handle asks of the task. Plain data.

use protocol::ModelName;
use tokio::sync::oneshot;

/// One wish.
pub(super) enum Command {
    /// Look the providers of a model up; answer with how many there are.
    Find {
        /// The model.
        model: ModelName,
        /// Where to answer.
        found: oneshot::Sender<usize>,
    },
    /// What failed before may work now.
    NetworkChanged,
}
