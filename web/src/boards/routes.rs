//! The blackboard's routes (`/api/boards…`). They turn calls into JSON and back; what a call does
//! is the node's business, behind [`Boards`](crate::Boards).

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::json;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    AuthorChange, AuthorView, BoardError, BoardSummary, Following, NewNote, NoteQuery, NoteView,
    Posting,
};
use crate::{
    body::Own,
    error::ApiError,
    sse::{self, Events, Flow, Transcript},
    state::App,
};

/// The routes.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/boards", get(list))
        .route("/api/boards/notes", get(search))
        .route("/api/boards/notes", post(create))
        .route("/api/boards/notes/{id}", get(read))
        .route("/api/boards/notes/{id}", delete(withdraw))
        .route(
            "/api/boards/notes/{id}/attachments/{index}",
            get(attachment),
        )
        .route("/api/boards/watch", get(watch))
        .route("/api/boards/follow", post(follow))
        .route("/api/boards/posting", get(posting))
        .route("/api/boards/posting", post(set_posting))
        .route("/api/boards/authors", get(authors))
        .route("/api/boards/authors", post(set_author))
}

impl From<BoardError> for ApiError {
    fn from(error: BoardError) -> Self {
        use StatusCode as S;
        let (status, code) = match &error {
            BoardError::Invalid(_) => (S::BAD_REQUEST, "invalid_request"),
            BoardError::NotFound(_) => (S::NOT_FOUND, "note_not_found"),
            BoardError::NotYours => (S::FORBIDDEN, "not_yours"),
            BoardError::PostingOff => (S::FORBIDDEN, "posting_off"),
            BoardError::Secret { .. } => (S::UNPROCESSABLE_ENTITY, "secret_found"),
            BoardError::RateLimited { .. } => (S::TOO_MANY_REQUESTS, "rate_limited"),
            BoardError::Full(_) => (S::CONFLICT, "board_full"),
            BoardError::Unavailable(_) => (S::SERVICE_UNAVAILABLE, "unavailable"),
            BoardError::TooSlow => (S::SERVICE_UNAVAILABLE, "too_slow"),
            BoardError::Internal => (S::INTERNAL_SERVER_ERROR, "internal_error"),
        };
        let refusal = Self::new(status, error.to_string()).with_code(code);
        match error {
            BoardError::RateLimited { retry_after } => {
                let seconds = u32::try_from(retry_after.as_secs()).unwrap_or(u32::MAX);
                refusal.with_retry_after(seconds.max(1))
            }
            _ => refusal,
        }
    }
}

/// A query of ours: what does not fit is named.
fn asked<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    let query = query.map_err(|rejection| {
        ApiError::invalid(format!("The query is not what it must be: {rejection}."))
    })?;
    Ok(query.0)
}

async fn list(State(app): State<Arc<App>>) -> Result<Json<Vec<BoardSummary>>, ApiError> {
    Ok(Json(app.boards.list().await?))
}

async fn search(
    State(app): State<Arc<App>>,
    query: Result<Query<NoteQuery>, QueryRejection>,
) -> Result<Json<Vec<NoteView>>, ApiError> {
    Ok(Json(app.boards.search(asked(query)?).await?))
}

async fn create(
    State(app): State<Arc<App>>,
    Own(note): Own<NewNote>,
) -> Result<Json<NoteView>, ApiError> {
    Ok(Json(app.boards.post(note).await?))
}

async fn read(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<NoteView>, ApiError> {
    Ok(Json(app.boards.read(&id).await?))
}

async fn withdraw(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    app.boards.withdraw(&id).await?;
    Ok(Json(json!({})).into_response())
}

/// A stranger's bytes: no browser may take them for a page or a script of this node.
async fn attachment(
    State(app): State<Arc<App>>,
    Path((id, index)): Path<(String, String)>,
) -> Result<Response, ApiError> {
    let index = index.parse().map_err(|_| {
        ApiError::field("index", "`index` must be the attachment's number, from 0.")
    })?;
    let mut response = app.boards.attachment(&id, index).await?.into_response();
    let fixed = [
        (header::CONTENT_TYPE, "application/octet-stream"),
        (header::CONTENT_DISPOSITION, "attachment"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in fixed {
        let value = HeaderValue::from_static(value);
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

/// The query of `GET /api/boards/watch`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WatchQuery {
    board: Option<String>,
}

async fn watch(
    State(app): State<Arc<App>>,
    query: Result<Query<WatchQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let board = asked(query)?.board;
    let notes = app.boards.watch(board.as_deref()).await?;
    // It would hold up the drain to its deadline: nobody waits for the end of a watch.
    let draining = app.draining.clone().cancelled_owned();
    let notes = ReceiverStream::new(notes).take_until(Box::pin(draining));
    Ok(sse::respond(notes, WatchTranscript, app.config.keep_alive))
}

/// Writes notes as they come.
struct WatchTranscript;

impl Transcript for WatchTranscript {
    type Item = NoteView;

    fn write(&mut self, note: Option<NoteView>, out: &mut Events) -> Flow {
        let Some(note) = note else {
            let message = "The watch has ended: the node stops, or this reader was too slow. Watch \
                           again, and read what came meanwhile with a search.";
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let ended = ApiError::new(status, message).with_code("watch_ended");
            out.data(&ended.body());
            return Flow::End;
        };
        out.data(&note);
        Flow::Continue
    }
}

async fn follow(
    State(app): State<Arc<App>>,
    Own(wanted): Own<Following>,
) -> Result<Response, ApiError> {
    app.boards.follow(&wanted.board, wanted.followed).await?;
    Ok(Json(json!({})).into_response())
}

async fn posting(State(app): State<Arc<App>>) -> Result<Json<Posting>, ApiError> {
    let allowed = app.boards.posting().await?;
    Ok(Json(Posting { allowed }))
}

async fn set_posting(
    State(app): State<Arc<App>>,
    Own(posting): Own<Posting>,
) -> Result<Response, ApiError> {
    app.boards.set_posting(posting.allowed).await?;
    Ok(Json(json!({})).into_response())
}

async fn authors(State(app): State<Arc<App>>) -> Result<Json<Vec<AuthorView>>, ApiError> {
    Ok(Json(app.boards.authors().await?))
}

async fn set_author(
    State(app): State<Arc<App>>,
    Own(change): Own<AuthorChange>,
) -> Result<Response, ApiError> {
    let AuthorChange { author, standing } = change;
    app.boards.set_author(&author, standing).await?;
    Ok(Json(json!({})).into_response())
}
