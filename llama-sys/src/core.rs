//! Decisions of this crate as plain structs: time and randomness come in, nothing waits, nothing
//! locks. The shells around them move bytes and decide nothing.

pub mod restart;
pub mod suspects;
