//! `GET /metrics`: the server's own figures and the backend's, in the Prometheus text format.
//! What is counted and when is `observe`'s business.

use std::sync::Arc;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use prometheus_client::{encoding::text, registry::Registry};

use crate::{error::ApiError, observe::HttpMetrics, state::App};

/// What a scraper must be told.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The end of an OpenMetrics exposition; nothing may follow it.
const END: &str = "# EOF\n";

/// A registry with the server's figures under `shoal_`.
pub(crate) fn registry(metrics: &HttpMetrics) -> Registry {
    let mut registry = Registry::with_prefix("shoal");
    metrics.register(&mut registry);
    registry
}

/// Every figure of this moment.
pub(crate) async fn expose(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    let mut text = String::new();
    let registry = registry(&app.metrics);
    text::encode_registry(&mut text, &registry).map_err(|_| ApiError::internal())?;
    app.backend.write_metrics(&mut text);
    text.push_str(END);
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}
