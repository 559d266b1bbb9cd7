//! Decisions: plain structs with time and randomness handed in. No I/O, no tasks, no clock.

pub mod hedging;
pub mod ranking;
pub mod relay;
pub mod residency;
pub mod sizing;
