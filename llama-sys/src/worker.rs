//! The worker process.

pub mod ipc;

use std::path::PathBuf;

/// How a model is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// The GGUF file, or the first of its parts.
    pub model: PathBuf,
    /// Tokens that one sequence may have; `None`: what the model was trained for.
    pub context_length: Option<u32>,
    /// Sequences that may run at once; at least 1.
    pub parallel: u32,
    /// Threads that compute; `None`: one a physical core.
    pub threads: Option<u32>,
    /// Layers on a graphics card; `None`: as many as there is memory for.
    pub gpu_layers: Option<u32>,
    /// Memory that the worker may take for itself, the mapped model file not counted.
    pub memory_limit_bytes: Option<u64>,
    /// Jobs that may wait.
    pub queue_limit: u32,
}
