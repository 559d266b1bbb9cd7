//! HTTP: the OpenAI API, the management API, the blackboard's API and MCP server, metrics.
//!
//! It parses requests, asks its [`Backend`], [`Boards`] and [`Management`], and writes answers. It knows
//! neither a model nor a peer.

pub mod backend;
pub mod boards;
pub mod config;
pub mod manage;
pub mod mcp;
pub mod observe;
pub mod server;

mod admission;
mod answers;
mod body;
mod caller;
mod chat;
mod completions;
mod embeddings;
mod envelope;
mod error;
mod fields;
mod guard;
mod health;
mod management;
mod metrics;
mod models;
mod openapi;
mod params;
mod responses;
mod router;
mod sse;
mod stall;
mod state;
mod usage;

pub use backend::{Backend, GenerateStream, ModelCard, Readiness};
pub use boards::Boards;
pub use config::{ApiKey, BindError, WebConfig};
pub use manage::Management;
pub use server::{Drained, Server};
