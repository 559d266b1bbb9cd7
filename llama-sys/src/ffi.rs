//! llama.cpp behind safe types: the only place in the project with `unsafe` code. Each type owns
//! one of llama.cpp's objects and frees it. What llama.cpp answers with an abort (too many
//! tokens, a token outside the vocabulary) is checked here before it is called.
//!
//! It decides nothing: batches, sequences and sampling are the callers' business.

pub(crate) mod backend;
pub(crate) mod batch;
mod capture;
pub(crate) mod context;
pub(crate) mod device;
pub(crate) mod model;
mod routing;
pub(crate) mod sampler;
pub(crate) mod schema;
pub(crate) mod table;
mod threads;
pub(crate) mod vocab;

#[cfg(test)]
mod tests;
