//! Parts of a model's files between peers: what a model's manifest is, which chunks there are, and
//! the messages that ask for them.
//!
//! A manifest says how long each file is and what each chunk of it hashes to; its own hash is the
//! model's id, so whoever knows the id needs to trust nobody. It holds no name and no path. Whose
//! chunks are fetched from whom, and where they lie, is not known here.

mod chunks;
mod layout;
mod manifest;
mod message;

pub use chunks::ChunkSet;
pub use layout::{Layout, LayoutError, Span};
pub use manifest::{ChunkHash, Manifest, ManifestError};
pub use message::{Refusal, RefusalCode, WeightsMessageError, WeightsReply, WeightsRequest};

mod wire {
    #![allow(missing_docs, reason = "generated; documented in proto/weights.proto")]
    #![allow(
        unreachable_pub,
        reason = "generated; the messages outside are checked ones"
    )]
    include!(concat!(env!("OUT_DIR"), "/shoal.weights.v1.rs"));
}

#[cfg(test)]
mod tests;
