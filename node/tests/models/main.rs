//! The model store against a hub that misbehaves.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![allow(missing_docs, reason = "a test's names say what it shows")]

mod hostile;
mod hub;
mod kills;
mod local;
mod pulls;
mod ranges;
mod room;
mod store;
