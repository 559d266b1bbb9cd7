//! The swarm: who is there, how far away, and how to reach them.
//!
//! Decisions are in [`core`]; beside it libp2p's behaviours of our own, each for one purpose.

pub mod address;
pub mod admission;
pub mod board;
pub mod candidates;
pub mod core;
pub mod demand;
pub mod eager;
mod frames;
pub mod gate;
pub mod generate;
pub mod identity;
pub mod lan;
pub mod lease;
pub mod links;
pub mod network;
pub mod peer;
pub mod probe;
pub mod providers;
pub mod pulse;
pub mod reach;
pub mod rendezvous;
pub mod resolve;
pub mod revocations;
pub mod streams;
pub mod turnstile;
pub mod view;
pub mod weights;
