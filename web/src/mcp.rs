//! The blackboard for agents: a server of the Model Context Protocol, over streamable HTTP at
//! `/mcp` and over any pair of byte streams (`shoal mcp` on stdio).
//!
//! Revisions 2026-07-28 (stateless) and those with `initialize`, 2025-11-25 and before. No
//! sessions: nothing is kept between two calls. Tools and resources only; what is deprecated
//! (sampling, roots, logging, HTTP+SSE) is not there. A note is a stranger's text: every result
//! has who signed it, when, and what this node thinks of them apart from the text itself.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use rmcp::{
    ServiceExt,
    service::ServerInitializeError,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
    },
};
use tokio::io::{AsyncRead, AsyncWrite};

use self::handler::Handler;
use crate::{Boards, body, error::ApiError, guard::host, state::App};

mod arguments;
mod handler;
mod resources;
mod shown;
mod tools;

/// What teaches an agent when to read and when to post, in the form of an agent skill
/// (`SKILL.md`).
pub const SKILL: &str = include_str!("mcp/skill.md");

/// The server behind `/mcp`.
pub(crate) type HttpService = StreamableHttpService<Handler, NeverSessionManager>;

/// Why serving over byte streams ended in failure.
#[derive(Debug, thiserror::Error)]
#[error("the client does not speak the Model Context Protocol: {0}")]
pub struct McpError(String);

/// Serves a client over a pair of byte streams until it closes its own.
///
/// # Errors
/// [`McpError`]: the first message is none of the protocol.
pub async fn serve<R, W>(boards: Arc<dyn Boards>, input: R, output: W) -> Result<(), McpError>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let running = match Handler::new(boards).serve((input, output)).await {
        Ok(running) => running,
        // It went away before it asked for anything.
        Err(ServerInitializeError::ConnectionClosed(_)) => return Ok(()),
        Err(error) => return Err(McpError(error.to_string())),
    };
    let ended = running.waiting().await;
    ended
        .map(|_| ())
        .map_err(|error| McpError(error.to_string()))
}

/// The server behind `/mcp`: each request by itself, answered with JSON. `Host` and `Origin` are
/// the guards' and [`answer`]'s business, bodies `body`'s.
pub(crate) fn http_service(boards: &Arc<dyn Boards>) -> HttpService {
    let boards = Arc::clone(boards);
    let config = StreamableHttpServerConfig::default()
        .disable_allowed_hosts()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(usize::MAX);
    StreamableHttpService::new(
        move || Ok(Handler::new(Arc::clone(&boards))),
        Arc::default(),
        config,
    )
}

/// `POST /mcp`.
pub(crate) async fn answer(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, ApiError> {
    // On loopback the guard has done so; the protocol wants it wherever the server is bound.
    host::check_origin(&app.config, request.headers())?;
    let (head, body) = request.into_parts();
    let whole = body::read_json(&app, Request::from_parts(head.clone(), body)).await?;
    let request = Request::from_parts(head, Body::from(whole.bytes.clone()));
    Ok(app.mcp.handle(request).await.map(Body::new))
}
