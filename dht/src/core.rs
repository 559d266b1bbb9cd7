//! Decisions about the swarm as plain structs: time and randomness come in, nothing is sent.

pub mod adverts;
pub mod board;
pub mod channels;
pub mod clock;
pub mod connections;
pub mod coordinates;
pub mod demand;
pub mod groups;
pub mod join;
pub mod membership;
pub mod nat;
pub mod places;
pub mod rate;
pub mod rendezvous;
pub mod reservations;
pub mod rtt;
pub mod score;
pub mod shards;
pub mod size;
