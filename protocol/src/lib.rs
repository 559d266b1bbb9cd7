//! What peers, heads and clients say to one another: messages, signed envelopes, ids, limits.
//!
//! Pure: it knows no socket, no clock and no file.

pub mod generate;
