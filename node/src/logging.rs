//! Where logs go and how they look. `RUST_LOG` chooses what is written; without it: warnings of
//! everybody, and what our own crates find worth telling.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// What is written when `RUST_LOG` says nothing. The MCP library warns of every mistake of an
/// agent's, which is told of it anyway.
const DEFAULT_FILTER: &str =
    "warn,node=info,web=info,dht=info,llama_sys=info,shoal=info,rmcp=error";

/// Sends logs to stderr from now on: for people on a terminal, else one JSON object a line,
/// unless the format is given. Once in a process; later calls change nothing.
pub fn init(format: Option<LogFormat>) {
    let named = EnvFilter::try_from_default_env();
    let filter = named.unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let interactive = io::stderr().is_terminal();
    let format = format.unwrap_or(match interactive {
        true => LogFormat::Human,
        false => LogFormat::Json,
    });
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    // A second call finds the first one's logging in place.
    let _ = match format {
        LogFormat::Human => builder.with_ansi(interactive).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
