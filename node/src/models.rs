//! The model store.

pub mod core;
