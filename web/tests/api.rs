//! The HTTP API over real connections, with a scripted backend behind it.

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
#[path = "api/models.rs"]
mod models;
#[path = "api/scripted.rs"]
mod scripted;
