//! The server's page for whoever runs it: is it alive, and how much does it carry. It names no
//! peer.

use std::{sync::Arc, time::Instant};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use dht::{core::join, network::Network};
use prometheus_client::{encoding::text::encode, metrics::gauge::Gauge, registry::Registry};
use protocol::names::SwarmName;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

struct Page {
    network: Network,
    swarm: SwarmName,
    started: Instant,
}

/// Answers `/healthz` and `/metrics` until `stop` is cancelled.
pub async fn serve(
    listener: TcpListener,
    network: Network,
    swarm: SwarmName,
    stop: CancellationToken,
) {
    let page = Arc::new(Page {
        network,
        swarm,
        started: Instant::now(),
    });
    let router = Router::new()
        .route("/healthz", get(health))
        .route("/metrics", get(metrics))
        .with_state(page);
    let serving = axum::serve(listener, router);
    // It fails only if accepting does for good; the swarm's part goes on without the page.
    let _ = serving.with_graceful_shutdown(stop.cancelled_owned()).await;
}

async fn health(State(page): State<Arc<Page>>) -> Json<Value> {
    let view = page.network.view();
    Json(json!({
        "status": "ok",
        "swarm": page.swarm.to_string(),
        "node": page.network.own().to_string(),
        "uptime_seconds": page.started.elapsed().as_secs(),
        "peers_connected": view.connected(),
        "peers_known": view.peers.len(),
        "has_joined_others": matches!(view.join.state, join::State::Joined(_)),
    }))
}

async fn metrics(State(page): State<Arc<Page>>) -> Response {
    let view = page.network.view();
    let mut registry = Registry::default();
    let mut gauge = |name: &str, help: &str, value: usize| {
        let gauge = Gauge::<i64>::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    };
    gauge(
        "shoal_bootstrap_peers_connected",
        "Peers that are connected",
        view.connected(),
    );
    gauge(
        "shoal_bootstrap_peers_known",
        "Peers that are connected or known by an advert",
        view.peers.len(),
    );
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
