//! Reading (and, for tests and slices, writing) of GGUF model files that a stranger may have made.
//!
//! It owns the format: every count, length, offset and product is checked against the file and
//! against the named [`limits`] before it is used, nothing is allocated ahead of the bytes that
//! back it, and no input panics. It deliberately does not know llama.cpp, devices, or where
//! files come from; it never opens a path that a file names.
//!
//! Source of the format: `docs/gguf.md` of the ggml project, and llama.cpp's `ggml/src/gguf.cpp`,
//! whose stricter rules (tensors in file order without gaps, no arrays of arrays, names shorter
//! than 64 bytes) are taken over, because what llama.cpp refuses is no model to us either.

mod cursor;
mod error;
mod experts;
mod facts;
mod header;
pub mod limits;
pub mod slice;
pub mod specimen;
mod split;
mod tensor;
mod tensor_type;
mod value;
mod weights;
mod writer;

pub use error::GgufError;
pub use experts::{ExpertSets, ExpertsError, MAX_EXPERTS, Usage};
pub use facts::{
    Attention, ChatTemplates, Experts, FactsError, FimTokens, MemoryEstimate, ModelFacts,
    PARKED_PART, Pooling, SamplingDefaults, Token, Tokenizer,
};
pub use header::Header;
pub use split::{Model, ModelError, SplitName};
pub use tensor::Tensor;
pub use tensor_type::TensorType;
pub use value::{Array, Entry, Items, Value, ValueType};
pub use weights::{LayerBytes, TensorSum};
pub use writer::Builder;

#[cfg(test)]
mod tests;
