//! Reading a request's body within the limits of size, memory and time. What it says is
//! `fields`' business.

use std::sync::Arc;

use axum::{
    body::{Body, BodyDataStream, Bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use tokio::{sync::SemaphorePermit, time::timeout};

use crate::{
    error::ApiError,
    state::{App, BODY_PERMIT_BYTES},
};

/// Bodies up to this size need no share of the memory for large bodies, so that a few slow
/// uploads cannot hold up everybody.
const SMALL_BODY_BYTES: usize = 64 * 1024;
/// What is still read and thrown away of a body that is too large, bytes: many clients read the
/// refusal only once they have sent everything.
const MAX_DISCARDED_BYTES: usize = 64 << 20;

/// A body in memory, and its share of the memory for large bodies while it is there.
pub(crate) struct WholeBody<'a> {
    pub(crate) bytes: Bytes,
    _memory: Option<SemaphorePermit<'a>>,
}

/// Reads the whole body of a request that must be JSON.
///
/// # Errors
/// 415 for another content type, 413 over the limit, 408 when it took too long, 400 when it
/// was cut.
pub(crate) async fn read_json(app: &App, request: Request) -> Result<WholeBody<'_>, ApiError> {
    check_content_type(request.headers())?;
    let announced = announced_length(request.headers());
    let body = request.into_body();
    let limits = &app.config;
    let reading = async {
        let memory = reserve(app, announced).await?;
        let bytes = collect(body, announced, limits.max_body_bytes).await?;
        Ok(WholeBody {
            bytes,
            _memory: memory,
        })
    };
    let late = || {
        ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "The body took too long to arrive.",
        )
    };
    timeout(limits.body_timeout, reading)
        .await
        .map_err(|_| late())?
}

/// A body of ours: unlike OpenAI's, its unknown fields are errors.
pub(crate) struct Own<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Own<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let body = read_json(app, request).await?;
        let value = serde_json::from_slice(&body.bytes);
        value.map(Self).map_err(|error| {
            ApiError::invalid(format!("The body is not what it must be: {error}."))
        })
    }
}

/// JSON, or no content type at all: `curl` users forget it, browsers cannot (their requests
/// without one are still under the `Origin` check).
fn check_content_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let mime = value.to_str().unwrap_or_default();
    let essence = mime.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    let is_json = essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"));
    if is_json {
        return Ok(());
    }
    let message = "The body must be JSON: send `Content-Type: application/json`.";
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
}

fn announced_length(headers: &HeaderMap) -> Option<usize> {
    let value = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    value.parse().ok()
}

/// Memory for a body that is large, or of unknown size.
async fn reserve(
    app: &App,
    announced: Option<usize>,
) -> Result<Option<SemaphorePermit<'_>>, ApiError> {
    let bytes = announced
        .unwrap_or(usize::MAX)
        .min(app.config.max_body_bytes);
    if bytes <= SMALL_BODY_BYTES {
        return Ok(None);
    }
    let pages = u32::try_from(bytes / BODY_PERMIT_BYTES).unwrap_or(u32::MAX);
    let permit = app.body_memory.acquire_many(pages).await;
    permit.map(Some).map_err(|_| ApiError::internal())
}

async fn collect(body: Body, announced: Option<usize>, limit: usize) -> Result<Bytes, ApiError> {
    let mut chunks = body.into_data_stream();
    if announced.is_some_and(|bytes| bytes > limit) {
        discard(chunks).await;
        return Err(too_large(limit));
    }
    let mut whole = Vec::with_capacity(announced.unwrap_or(0));
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ApiError::invalid("The body was cut off."))?;
        if whole.len() + chunk.len() > limit {
            drop(whole);
            discard(chunks).await;
            return Err(too_large(limit));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.into())
}

async fn discard(mut chunks: BodyDataStream) {
    let mut left = MAX_DISCARDED_BYTES;
    while let Some(Ok(chunk)) = chunks.next().await {
        left = left.saturating_sub(chunk.len());
        if left == 0 {
            return;
        }
    }
}

fn too_large(limit: usize) -> ApiError {
    let message = format!("The body is larger than {limit} bytes.");
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message).with_code("request_too_large")
}
