//! Decisions about the swarm as plain structs: time and randomness come in, nothing is sent.

pub mod adverts;
pub mod coordinates;
pub mod membership;
pub mod rtt;
