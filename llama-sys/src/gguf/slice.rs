//! Slices of a model: files that llama.cpp loads like a model, made of parts of another. It owns
//! which architectures may be cut and where, what of the metadata is written anew, and which bytes
//! of the source go where. A *stage* has some of the layers, takes hidden states in the place of
//! tokens and leaves hidden states, only the last has the vocabulary and the output head. The
//! *head's file* has all metadata and the table of embeddings. A *shard* has all layers and some of
//! each layer's experts: a model by itself, which answers as the whole one whose router may choose
//! no others.
//!
//! It does not know who computes which layers, nor how bytes come from elsewhere: a plan says
//! what is needed, [`SliceFile`] takes it in any order.
//!
//! Cuts that llama.cpp would compute silently wrong are the danger here, so architectures are let
//! in one by one, each with a test that compares logits.

mod file;
mod metadata;
mod plan;
mod rules;
mod shard;
mod source;
mod tensors;

use std::ops::Range;

pub use file::{MaterialiseError, Materialising, SliceFile, materialise};
pub use plan::{Origin, Piece, Placement, SlicePlan};
pub use shard::Mixture;
pub use source::Sliceable;

/// What hidden states are multiplied with on their way, because a model's graph does it to
/// embeddings of tokens only, or to all that comes in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scales {
    /// Each embedding that was looked up, before the first stage gets it.
    pub lookup: f32,
    /// What a stage leaves, before the next stage gets it.
    pub between: f32,
}

/// Why a model cannot be cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Obstacle {
    /// No test compares a cut model of this architecture with the whole one.
    #[error("cutting models of this kind is not proved to be exact")]
    NotProved,
    /// Layers use what layers before others left.
    #[error("its layers share more than the hidden state")]
    SharedState,
    /// Recurrent layers, alone or among others.
    #[error("it has recurrent layers")]
    Recurrent,
    /// Positions have several parts (pictures).
    #[error("its positions have several parts")]
    Positions,
    /// It does not continue text token after token.
    #[error("it does not continue text")]
    NotGenerating,
    /// llama.cpp concludes from the number of layers how the model computes.
    #[error("llama.cpp tells how it computes by its {0} layers")]
    CountedLayers(u32),
    /// Layers beyond the last that predict several tokens.
    #[error("it predicts several tokens at once")]
    SeveralTokens,
    /// Widths that llama.cpp takes from the first layer differ between layers.
    #[error("its layers differ in their number of heads")]
    Heads,
    /// It is no mixture of experts.
    #[error("it has no experts")]
    NoExperts,
    /// Experts are chosen by groups, or in a way that no test compares.
    #[error("how it chooses experts is not proved to bear the lack of some")]
    Routing,
    /// A key that no rule covers, and that may speak of single layers.
    #[error("it has the unexpected value `{0}`")]
    Key(String),
    /// A tensor that no rule covers.
    #[error("it has the unexpected tensor `{0}`")]
    Tensor(String),
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SliceError {
    /// The model cannot be cut.
    #[error("a model of the architecture `{architecture}` cannot be cut: {why}")]
    Unsupported {
        /// `general.architecture`, shortened.
        architecture: String,
        /// Why.
        why: Obstacle,
    },
    /// The files are no model.
    #[error(transparent)]
    Facts(#[from] super::FactsError),
    /// A tensor that all models have is missing or has another shape.
    #[error("the tensor `{0}` is missing or has an impossible shape")]
    Tensor(&'static str),
    /// Two tensors have one name.
    #[error("the tensor `{0}` is there twice")]
    DuplicateTensor(String),
    /// The layers do not exist, or are cut where the rule of the architecture does not allow it.
    #[error("layers {}..{} of {layers} are no stage of this model", range.start, range.end)]
    Range {
        /// The layers asked for.
        range: Range<u32>,
        /// Layers of the model.
        layers: u32,
    },
    /// The experts that a shard would keep are not those of this model, or fewer than a token uses.
    #[error("{kept} of {of} experts of {layers} layers are no shard of this model")]
    Experts {
        /// Experts that each layer would keep.
        kept: u32,
        /// Experts that each layer would have.
        of: u32,
        /// Layers.
        layers: usize,
    },
    /// Sizes add up to more than a file can have.
    #[error("the slice would be impossibly large")]
    TooLarge,
}

#[cfg(test)]
mod tests;
