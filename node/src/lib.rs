//! The `shoal` node: command line, configuration, state, models, sessions.
//!
//! It composes the other crates into one binary. It knows neither `libp2p` nor `axum` nor
//! llama.cpp: those live behind `dht`, `web` and `llama-sys`.

pub mod api_client;
pub mod board;
pub mod chain;
pub mod cli;
pub mod config;
pub mod core;
pub mod data_dir;
pub mod devices;
pub mod drafts;
pub mod engines;
#[cfg(feature = "llama")]
pub mod experts;
pub mod head;
pub use dht::identity;
pub mod lifecycle;
pub mod logging;
pub mod management;
pub mod models;
pub mod peers;
pub mod placement;
pub mod planning;
pub mod profile;
pub mod residency;
pub mod router;
pub mod serving;
pub mod shelf;
pub mod speeds;
pub mod store;
pub mod swarm;
pub mod up;
pub mod weights;
