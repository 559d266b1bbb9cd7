//! `/healthz` (alive) and `/readyz` (can serve).

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::{backend::Readiness, error::ApiError, state::App};

/// Proposed wait of who finds the node not ready, seconds.
const RETRY_AFTER_SECONDS: u32 = 2;

/// 200 as long as the process answers.
pub(crate) async fn alive() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// 200 when requests can be served, else 503 with the reason.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    match app.backend.readiness() {
        Readiness::Ready => Json(json!({ "status": "ready" })).into_response(),
        Readiness::NotReady(reason) => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, reason)
            .with_code("not_ready")
            .with_retry_after(RETRY_AFTER_SECONDS)
            .into_response(),
    }
}
