//! The HTTP API over real connections, with a scripted backend behind it.

#![allow(
    clippy::unwrap_used,
    clippy::needless_pass_by_value,
    reason = "tests: a failure is a panic, and values are written in place"
)]

#[path = "api/boards.rs"]
mod boards;
#[path = "api/chat.rs"]
mod chat;
#[path = "api/client.rs"]
mod client;
#[path = "api/completions.rs"]
mod completions;
#[path = "api/connections.rs"]
mod connections;
#[path = "api/embeddings.rs"]
mod embeddings;
#[path = "api/guards.rs"]
mod guards;
#[path = "api/malformed.rs"]
mod malformed;
#[path = "api/mcp.rs"]
mod mcp;
#[path = "api/models.rs"]
mod models;
#[path = "api/pinboard.rs"]
mod pinboard;
#[path = "api/scripted.rs"]
mod scripted;
