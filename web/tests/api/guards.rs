//! Keys, hosts, origins, sizes, panics.

use std::time::Duration;

use serde_json::json;
use web::{ApiKey, WebConfig};

use crate::scripted::{TestServer, hello};

fn keyed() -> WebConfig {
    WebConfig {
        api_key: ApiKey::new("secret"),
        ..WebConfig::default()
    }
}

#[tokio::test]
async fn a_key_is_asked_for_everywhere_but_for_health() {
    let server = TestServer::with(keyed(), hello).await;
    for path in [
        "/v1/models",
        "/readyz",
        "/metrics",
        "/nothing",
        "/api/status",
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.refused(401)["code"], "invalid_api_key");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    assert_eq!(server.get("/healthz").await.status, 200);
    let right = [
        ("authorization", "Bearer secret"),
        ("authorization", "bearer  secret "),
        ("x-api-key", "secret"),
    ];
    for header in right {
        let answer = server.call("GET /v1/models", &[header], b"").await;
        assert_eq!(answer.status, 200, "{header:?}");
    }
    let wrong = [
        ("authorization", "Bearer secre"),
        ("authorization", "Bearer secrets"),
        ("authorization", "Basic secret"),
        ("authorization", "secret"),
        ("x-api-key", ""),
    ];
    for header in wrong {
        let answer = server.call("GET /v1/models", &[header], b"").await;
        answer.refused(401);
    }
}

#[tokio::test]
async fn pages_of_the_web_are_kept_out_of_loopback() {
    let server = TestServer::start(hello).await;
    let forbidden = [
        [("host", "evil.example"), ("accept", "*/*")],
        [("host", "localhost.evil.example:9337"), ("accept", "*/*")],
        [("host", "localhost"), ("origin", "null")],
        [("host", "localhost"), ("origin", "https://evil.example")],
    ];
    for headers in forbidden {
        let answer = server.call("GET /v1/models", &headers, b"").await;
        assert_eq!(answer.refused(403)["type"], "permission_error");
    }
    let allowed = [
        [
            ("host", "127.0.0.1:9337"),
            ("origin", "http://localhost:3000"),
        ],
        [("host", "[::1]:9337"), ("origin", "http://127.0.0.1")],
    ];
    for headers in allowed {
        let answer = server.call("GET /v1/models", &headers, b"").await;
        assert_eq!(answer.status, 200, "{headers:?}");
        assert!(answer.header("access-control-allow-origin").is_none());
    }
    let line = "GET http://evil.example/v1/models";
    server.call(line, &[], b"").await.refused(403);
}

#[tokio::test]
async fn cors_answers_configured_origins_only() {
    let config = WebConfig {
        cors_origins: vec!["https://app.example".to_owned()],
        ..keyed()
    };
    let server = TestServer::with(config, hello).await;
    // A preflight carries no key.
    let preflight = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization,x-stainless-os",
        ),
    ];
    let line = "OPTIONS /v1/chat/completions";
    let answer = server.call(line, &preflight, b"").await;
    assert_eq!(answer.status, 200);
    let origin = answer.header("access-control-allow-origin");
    assert_eq!(origin, Some("https://app.example"));
    let headers = answer.header("access-control-allow-headers").unwrap();
    assert!(headers.contains("x-stainless-os"));
    let answer = server
        .call(line, &[("origin", "https://evil.example")], b"")
        .await;
    answer.refused(403);
}

#[tokio::test]
async fn bodies_over_the_limit_are_refused() {
    let config = WebConfig {
        max_body_bytes: 1000,
        ..WebConfig::default()
    };
    let server = TestServer::with(config, hello).await;
    let line = "POST /v1/chat/completions";
    let large = vec![b' '; 1001];
    let answer = server.call(line, &[], &large).await;
    assert_eq!(answer.refused(413)["code"], "request_too_large");
    let chunked = b"3e9\r\n".iter().chain(&large);
    let chunked: Vec<u8> = chunked.chain(b"\r\n0\r\n\r\n").copied().collect();
    let headers = [("transfer-encoding", "chunked")];
    server.call(line, &headers, &chunked).await.refused(413);
    // Announced, and more than anybody would send.
    let headers = [("content-length", "99999999999")];
    let bytes = crate::client::request(line, &headers, b"");
    let mut stream = crate::client::connect(server.address).await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes)
        .await
        .unwrap();
    tokio::io::AsyncWriteExt::shutdown(&mut stream)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let config = WebConfig {
        body_timeout: Duration::from_millis(100),
        ..WebConfig::default()
    };
    let server = TestServer::with(config, hello).await;
    let headers = [("content-length", "10")];
    let line = "POST /v1/chat/completions";
    server.call(line, &headers, b"{").await.refused(408);
}

#[tokio::test]
async fn a_head_that_does_not_come_is_given_up() {
    let config = WebConfig {
        header_timeout: Duration::from_millis(100),
        ..WebConfig::default()
    };
    let server = TestServer::with(config, hello).await;
    let mut stream = crate::client::connect(server.address).await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET / HTTP/1.1\r\nx: ")
        .await
        .unwrap();
    // Ends, with or without a word.
    crate::client::read_all(&mut stream).await;
}

#[tokio::test]
async fn heads_over_the_limit_are_refused() {
    let server = TestServer::start(hello).await;
    let large = "x".repeat(40_000);
    let headers = [("x-large", large.as_str())];
    let answer = server.call("GET /v1/models", &headers, b"").await;
    answer.refused(431);
    let huge = "x".repeat(200_000);
    let headers = [("x-huge", huge.as_str())];
    let answer = server.call("GET /v1/models", &headers, b"").await;
    assert_eq!(answer.status, 431);
    let many: Vec<(String, &str)> = (0..150).map(|i| (format!("x-{i}"), "y")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (n.as_str(), *v)).collect();
    let answer = server.call("GET /v1/models", &many, b"").await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn other_content_types_are_refused() {
    let server = TestServer::start(hello).await;
    let body = json!({ "model": "org/one", "prompt": "a" }).to_string();
    let line = "POST /v1/completions";
    let wrong = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "\u{e9}",
    ];
    for kind in wrong {
        let headers = [("content-type", kind)];
        server
            .call(line, &headers, body.as_bytes())
            .await
            .refused(415);
    }
    for kind in [
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/x+json",
    ] {
        let headers = [("content-type", kind)];
        let answer = server.call(line, &headers, body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{kind}");
    }
    assert_eq!(server.call(line, &[], body.as_bytes()).await.status, 200);
}

#[tokio::test]
async fn a_panic_is_an_error_without_detail() {
    let server = TestServer::start(hello).await;
    let answer = server.post("/api/load", &json!({ "name": "m" })).await;
    let error = answer.refused(500);
    assert!(!error["message"].as_str().unwrap().contains("nobody"));
    assert_eq!(server.get("/healthz").await.status, 200);
}
