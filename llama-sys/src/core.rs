//! Decisions of this crate as plain structs: time and randomness come in, nothing waits, nothing
//! locks. What to compute next, for whom, which token it is; when a worker starts again. The
//! shells around them move bytes and decide nothing.

pub mod admission;
pub mod batcher;
pub mod governor;
pub mod heartbeat;
pub mod holdings;
pub mod logprob;
pub mod ngram;
pub mod restart;
pub mod rng;
pub mod scheduler;
pub mod schema;
pub mod select;
pub mod session;
pub mod slots;
pub mod speculation;
pub mod suspects;
pub mod tempo;
pub mod text;
