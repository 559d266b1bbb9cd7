//! What travels between the head of a chain and its stages: batches on their way forward, tokens
//! on their way back, and how they lie in bytes. A chain of one has the same types without the
//! bytes. It knows neither llama.cpp nor who carries the bytes.
//!
//! ```text
//! head ── Forward ──→ first stage ── Forward ──→ … ──→ last stage ── Back ──→ head
//! ```
//! Every stage takes hidden states and gives hidden states; the last one chooses tokens instead.
//! A part that a stage cannot compute leaves the batch there and becomes a [`Failure`], which
//! travels on with the rest: so the head hears of every batch exactly once, and one session's
//! trouble is no other's.

mod codec;
mod payload;
mod ports;
mod precision;
mod wire;

pub use codec::{MAX_PAYLOAD_BYTES, PayloadError, rows_that_fit};
pub use payload::{
    Back, Cause, Failure, Forward, Given, Opening, Part, RawLogprob, TokenRows, Voice, Wanted,
};
pub use ports::{FromHead, FromStage, HeadConfig, MAX_IN_FLIGHT, SliceConfig, SliceInfo, ToHead};
pub use precision::Precision;

#[cfg(test)]
mod tests;
