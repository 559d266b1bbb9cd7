//! Decisions: plain structs with time and randomness handed in. No I/O, no tasks, no clock.

pub mod abilities;
pub mod auto;
pub mod board;
pub mod deployment;
pub mod fairness;
pub mod fetch;
pub mod flow;
pub mod guests;
pub mod hedging;
pub mod leases;
pub mod pace;
pub mod placement;
pub mod planner;
pub mod profile;
pub mod ranking;
pub mod relay;
pub mod residency;
pub mod shards;
pub mod sizing;
pub mod speed;
