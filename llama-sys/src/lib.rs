//! GGUF reading, engines, batching, sampling, and the worker process: everything that knows
//! llama.cpp. It knows nothing of the swarm, of HTTP or of the project's other crates.

pub mod core;
pub mod devices;
pub mod engine;
pub mod fake;
#[cfg(feature = "llama")]
mod ffi;
pub mod gguf;
pub mod hardware;
#[cfg(feature = "llama")]
pub mod local;
pub mod stage;
pub mod supervisor;
mod wire;
pub mod worker;
