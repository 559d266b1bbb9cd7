//! `GET /v1/models` and `GET /v1/models/{id}`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
};
use protocol::generate::{ErrorCode, Failure};
use serde::Serialize;

use crate::{backend::ModelCard, error::ApiError, state::App};

/// The list of models.
#[derive(Debug, Serialize)]
pub(crate) struct ModelList {
    object: &'static str,
    data: Vec<Model>,
}

/// One model.
#[derive(Debug, Serialize)]
pub(crate) struct Model {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: String,
}

impl From<ModelCard> for Model {
    fn from(card: ModelCard) -> Self {
        Self {
            id: card.id,
            object: "model",
            created: card.created,
            owned_by: card.owned_by,
        }
    }
}

/// Everything that can be served now.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Json<ModelList> {
    let models = app.backend.models().await;
    Json(ModelList {
        object: "list",
        data: models.into_iter().map(Model::from).collect(),
    })
}

/// One of them; ids contain slashes.
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<Json<Model>, ApiError> {
    let models = app.backend.models().await;
    match models.into_iter().find(|model| model.id == id) {
        Some(card) => Ok(Json(card.into())),
        None => {
            let message = format!("The model `{id}` is not known here.");
            let failure = Failure::new(ErrorCode::ModelNotFound, message);
            Err(app.refusal(failure).await)
        }
    }
}
