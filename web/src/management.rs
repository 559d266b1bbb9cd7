//! The management routes (`/api/…`). They turn calls into JSON and back; what a call does is
//! the node's business, behind [`Management`](crate::Management).

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use serde::Deserialize;
use serde_json::json;
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    body::Own,
    error::ApiError,
    manage::{
        DemandReport, DeviceStatus, LoadedModel, ManageError, ModelName, NodeStatus,
        PlacementReport, PlanReport, PullEvent, PullRequest, StoredModel, SwarmStatus,
    },
    sse::{self, Events, Flow, Transcript},
    state::App,
};

/// The routes.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/status", get(status))
        .route("/api/models", get(stored))
        .route("/api/models/{*name}", delete(remove))
        .route("/api/pull", post(pull))
        .route("/api/loaded", get(loaded))
        .route("/api/load", post(load))
        .route("/api/unload", post(unload))
        .route("/api/peers", get(peers))
        .route("/api/swarm/reload", post(reload_swarm))
        .route("/api/plan", get(plan))
        .route("/api/placement", get(placement))
        .route("/api/demand", get(demand))
        .route("/api/bench", post(bench))
        .route("/api/config", get(config))
}

impl From<ManageError> for ApiError {
    fn from(error: ManageError) -> Self {
        let (status, code) = match &error {
            ManageError::NotFound(_) => (StatusCode::NOT_FOUND, "model_not_found"),
            ManageError::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            ManageError::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            ManageError::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
        };
        Self::new(status, error.to_string()).with_code(code)
    }
}

async fn status(State(app): State<Arc<App>>) -> Json<NodeStatus> {
    Json(app.management.status().await)
}

async fn peers(State(app): State<Arc<App>>) -> Json<SwarmStatus> {
    Json(app.management.peers().await)
}

async fn stored(State(app): State<Arc<App>>) -> Json<Vec<StoredModel>> {
    Json(app.management.stored().await)
}

async fn remove(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    let freed_bytes = app.management.remove(&name).await?;
    Ok(Json(json!({ "freed_bytes": freed_bytes })).into_response())
}

async fn pull(
    State(app): State<Arc<App>>,
    Own(request): Own<PullRequest>,
) -> Result<Response, ApiError> {
    let events = app.management.pull(request).await?;
    let keep_alive = app.config.keep_alive;
    Ok(sse::respond(
        ReceiverStream::new(events),
        PullTranscript,
        keep_alive,
    ))
}

/// Writes a pull's events, up to the last.
struct PullTranscript;

impl Transcript for PullTranscript {
    type Item = PullEvent;

    fn write(&mut self, event: Option<PullEvent>, out: &mut Events) -> Flow {
        let event = event.unwrap_or_else(|| PullEvent::Failed {
            message: "The node stopped in the middle; pull again to go on.".to_owned(),
        });
        out.data(&event);
        match event {
            PullEvent::Done { .. } | PullEvent::Failed { .. } => Flow::End,
            _ => Flow::Continue,
        }
    }
}

async fn loaded(State(app): State<Arc<App>>) -> Json<Vec<LoadedModel>> {
    Json(app.management.loaded().await)
}

async fn load(
    State(app): State<Arc<App>>,
    Own(model): Own<ModelName>,
) -> Result<Json<LoadedModel>, ApiError> {
    Ok(Json(app.management.load(&model.name).await?))
}

async fn unload(
    State(app): State<Arc<App>>,
    Own(model): Own<ModelName>,
) -> Result<Response, ApiError> {
    app.management.unload(&model.name).await?;
    Ok(Json(json!({})).into_response())
}

async fn reload_swarm(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    app.management.reload_swarm().await?;
    Ok(Json(json!({})).into_response())
}

/// The query of `GET /api/plan`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanQuery {
    model: String,
}

async fn plan(
    State(app): State<Arc<App>>,
    query: Result<Query<PlanQuery>, QueryRejection>,
) -> Result<Json<PlanReport>, ApiError> {
    let Query(query) = query.map_err(|_| {
        ApiError::field(
            "model",
            "Say which model, and nothing else: /api/plan?model=NAME.",
        )
    })?;
    Ok(Json(app.management.plan(&query.model).await?))
}

async fn placement(State(app): State<Arc<App>>) -> Json<PlacementReport> {
    Json(app.management.placement().await)
}

async fn demand(State(app): State<Arc<App>>) -> Json<DemandReport> {
    Json(app.management.demand().await)
}

async fn bench(State(app): State<Arc<App>>) -> Result<Json<Vec<DeviceStatus>>, ApiError> {
    Ok(Json(app.management.bench().await?))
}

async fn config(State(app): State<Arc<App>>) -> Response {
    let text = app.management.config().await;
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}
