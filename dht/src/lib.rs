//! The swarm: who is there, how far away, and how to reach them.
//!
//! So far its pure decisions about distance. Transports, membership, records and gossip come with
//! the swarm's own issue; nothing here pretends to be them.

pub mod core;
