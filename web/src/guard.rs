//! What stands before every route: request ids, counting, the host and origin check, the key.
//! It knows no route but `/healthz`, which is open.

use std::{any::Any, sync::Arc};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::Instrument;

use crate::{
    caller::{REQUEST_ID, RequestId, SERVED_BY},
    config::WebConfig,
    error::ApiError,
    state::App,
};

pub(crate) mod host;

/// The one route that needs no key.
const OPEN_ROUTE: &str = "/healthz";

/// Gives the request its id and span, and counts the response.
pub(crate) async fn observe(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = RequestId::of(request.headers());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let span = tracing::info_span!(
        "request",
        id = id.as_str(),
        method = %request.method(),
        path = request.uri().path(),
    );
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.in_scope(|| tracing::debug!(status = status.as_u16(), "answered"));
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    app.metrics.record_response(route, status.as_u16());
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// 500 without detail for a handler that panicked; the log has it.
#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
pub(crate) fn react_to_panic(panic: Box<dyn Any + Send>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("?"), "a handler panicked");
    ApiError::internal().into_response()
}

/// 431 for a head that is too large.
pub(crate) async fn limit_head(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let bytes: usize = request
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    let limit = app.config.max_header_bytes;
    if bytes + request.uri().path().len() > limit {
        let message = format!("The request's head is larger than {limit} bytes.");
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(ApiError::new(status, message));
    }
    Ok(next.run(request).await)
}

/// 403 for a page of the web that reaches a loopback server through the user's browser.
pub(crate) async fn check_host(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if app.config.is_loopback() {
        let authority = request.uri().authority().map(|a| a.as_str());
        host::check(&app.config, authority, request.headers())?;
    }
    Ok(next.run(request).await)
}

/// 401 without the key, if there is one.
pub(crate) async fn check_key(
    State(app): State<Arc<App>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if let Some(key) = &app.config.api_key
        && request.uri().path() != OPEN_ROUTE
        && !presented(request.headers()).any(|k| key.matches(k))
    {
        let message = "A valid API key is needed: send `Authorization: Bearer KEY`.";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, message).with_code("invalid_api_key"));
    }
    Ok(next.run(request).await)
}

/// Every key that the client shows.
fn presented(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let bearer = headers.get_all(header::AUTHORIZATION).iter();
    let bearer = bearer.filter_map(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
    });
    let plain = headers.get_all("x-api-key").iter();
    bearer
        .chain(plain.map(HeaderValue::as_bytes))
        .map(<[u8]>::trim_ascii)
}

/// CORS for the configured origins; `None`: off.
pub(crate) fn cors(config: &WebConfig) -> Option<CorsLayer> {
    if config.cors_origins.is_empty() {
        return None;
    }
    let origins = config.cors_origins.iter();
    let origins: Vec<HeaderValue> = origins.filter_map(|o| o.parse().ok()).collect();
    Some(
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods([Method::GET, Method::POST, Method::DELETE])
            .allow_headers(tower_http::cors::AllowHeaders::mirror_request())
            .expose_headers([REQUEST_ID, SERVED_BY, header::RETRY_AFTER]),
    )
}

/// 404 for a path that is no route.
pub(crate) async fn no_route(request: Request) -> ApiError {
    let message = format!("There is no {}.", shown(&request));
    ApiError::new(StatusCode::NOT_FOUND, message).with_code("unknown_route")
}

/// 405 for a route under another method; the router adds `Allow`.
pub(crate) async fn no_method(request: Request) -> Response {
    let message = format!("There is no {}; see `Allow`.", shown(&request));
    let mut response = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message).into_response();
    if request.method() == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    response
}

/// Method and path, cut to a line.
fn shown(request: &Request) -> String {
    /// More of a wrong path helps nobody.
    const MAX_SHOWN_BYTES: usize = 100;
    let path = request.uri().path();
    let cut = path.floor_char_boundary(MAX_SHOWN_BYTES);
    format!("`{} {}`", request.method(), &path[..cut])
}
