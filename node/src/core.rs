//! Decisions: plain structs with time and randomness handed in. No I/O, no tasks, no clock.

pub mod fairness;
pub mod guests;
pub mod hedging;
pub mod pace;
pub mod profile;
pub mod ranking;
pub mod relay;
pub mod residency;
pub mod sizing;
pub mod speed;
