//! Where batches are computed: by the whole model in this thread, or by a chain of stages, each
//! somewhere else. The runner plans batches and takes outcomes, and knows which of the two it is
//! only by how long an outcome takes.

use super::chain::Chain;
use super::stage::Stage;

/// What computes.
pub(super) enum Ring {
    /// Nothing: the model embeds texts only.
    None,
    /// The whole model, here.
    Whole(Box<Stage>),
    /// Stages elsewhere.
    Chain(Box<Chain>),
}

impl Ring {
    /// Whether another batch may be begun.
    pub(super) fn has_room(&self) -> bool {
        match self {
            Self::None => false,
            Self::Whole(_) => true,
            Self::Chain(chain) => chain.has_room(),
        }
    }
}
