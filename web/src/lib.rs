//! HTTP: the OpenAI API, the management API, metrics.
//!
//! It parses requests, asks its [`Backend`] and [`Management`], and writes answers. It knows
//! neither a model nor a peer.

pub mod backend;
pub mod manage;

pub use backend::{Backend, GenerateStream, ModelCard};
pub use manage::Management;
