//! Models, health, and what is no route.

use serde_json::json;

use crate::scripted::{TestServer, hello};

#[tokio::test]
async fn the_list_and_each_of_it() {
    let server = TestServer::start(hello).await;
    let one = json!({
        "id": "org/one",
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "org",
    });
    let list = server.get("/v1/models").await.json();
    assert_eq!(list["object"], "list");
    assert_eq!(list["data"][0], one);
    assert_eq!(list["data"][1]["id"], "two");
    assert_eq!(server.get("/v1/models/org/one").await.json(), one);
    assert_eq!(server.get("/v1/models/org%2Fone").await.json(), one);
    let error = server.get("/v1/models/org/three").await.refused(404);
    assert_eq!(error["code"], "model_not_found");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("org/one, two"), "{message}");
}

#[tokio::test]
async fn alive_and_ready() {
    let server = TestServer::start(hello).await;
    assert_eq!(server.get("/healthz").await.status, 200);
    assert_eq!(server.get("/readyz").await.status, 200);
    server.backend.ready.send_replace(false);
    assert_eq!(server.get("/healthz").await.status, 200);
    let answer = server.get("/readyz").await;
    assert_eq!(answer.refused(503)["message"], "no model yet");
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn no_route_and_no_method() {
    let server = TestServer::start(hello).await;
    for path in ["/", "/v1", "/v1/nothing", "/v1/chat", "/%ff"] {
        server.get(path).await.refused(404);
    }
    let answer = server.get("/v1/chat/completions").await;
    answer.refused(405);
    assert_eq!(answer.header("allow"), Some("POST"));
    let answer = server.call("DELETE /v1/models", &[], b"").await;
    answer.refused(405);
    assert_eq!(answer.header("allow"), Some("GET,HEAD"));
}

#[tokio::test]
async fn a_plan_is_asked_for_by_name() {
    let server = TestServer::start(hello).await;
    let plan = server.get("/api/plan?model=org/one:Q4_K_M").await.json();
    assert_eq!(plan["model"], "org/one:Q4_K_M");
    assert_eq!(plan["kind"], "none");
    assert_eq!(plan["missing_bytes"], 7);
    assert_eq!(plan["prediction"], serde_json::Value::Null);
    let escaped = server.get("/api/plan?model=org%2Fone%3AQ4_K_M").await;
    assert_eq!(escaped.json(), plan);
    let error = server.get("/api/plan?model=other").await.refused(404);
    assert_eq!(error["code"], "model_not_found");
    for query in ["", "?", "?name=org/one", "?model=a&model=b", "?model=a&x=1"] {
        let error = server.get(&format!("/api/plan{query}")).await.refused(400);
        assert_eq!(error["param"], "model", "{query}");
    }
}

#[tokio::test]
async fn what_the_swarm_asks_for() {
    let server = TestServer::start(hello).await;
    let demand = server.get("/api/demand").await.json();
    assert_eq!(demand["half_life_seconds"], 120);
    let model = json!({
        "model": "org/one",
        "arrivals_per_second": 0.5,
        "arrivals_error": 0.0,
        "unmet_per_second": 0.25,
        "unmet_error": 0.0,
        "waiting_ms": 1500.0,
        "authors": 2,
        "heads": 0,
    });
    assert_eq!(demand["models"], json!([model]));
}
