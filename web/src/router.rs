//! Which handler answers which route, and the order of the guards. It holds no logic.

use std::sync::Arc;

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{get, post},
};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    boards, chat, completions, embeddings, guard, health, management, mcp, metrics, models,
    openapi, responses, state::App,
};

/// Every route behind every guard.
///
/// A request passes from the last layer to the first: counted, panics caught, its head
/// measured, `Host` and `Origin` checked, CORS answered, the key checked. Only then its body
/// is read, by the handler that knows it.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = routes()
        .fallback(guard::no_route)
        .method_not_allowed_fallback(guard::no_method)
        .layer(from_fn_with_state(Arc::clone(app), guard::check_key));
    if let Some(cors) = guard::cors(&app.config) {
        router = router.layer(cors);
    }
    router
        .layer(from_fn_with_state(Arc::clone(app), guard::check_host))
        .layer(from_fn_with_state(Arc::clone(app), guard::limit_head))
        .layer(CatchPanicLayer::custom(guard::react_to_panic))
        .layer(from_fn_with_state(Arc::clone(app), guard::observe))
        .with_state(Arc::clone(app))
}

fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::show))
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/completions", post(completions::create))
        .route("/v1/embeddings", post(embeddings::create))
        .route("/v1/responses", post(responses::create))
        .route("/metrics", get(metrics::expose))
        .route("/openapi.json", get(openapi::show))
        .route("/mcp", post(mcp::answer))
        .merge(management::routes())
        .merge(boards::routes())
}
