//! What happens to connections: disconnects, silence, queues, the drain.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use web::{Drained, WebConfig};

use crate::{
    client::{self, connect, read_all, read_until, request},
    scripted::{Script, Step, TestServer, endless, finished, hello, queued, started, text},
};

const LINE: &str = "POST /v1/chat/completions";

fn body(more: Value) -> Vec<u8> {
    let mut body = json!({
        "model": "org/one",
        "messages": [{ "role": "user", "content": "Hi" }],
    });
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    body.to_string().into_bytes()
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_cancels_it() {
    let server = TestServer::start(endless).await;
    let mut stream = connect(server.address).await;
    let bytes = request(LINE, &[], &body(json!({ "stream": true, "n": 2 })));
    stream.write_all(&bytes).await.unwrap();
    read_until(&mut stream, "Hel").await;
    drop(stream);
    server.backend.cancelled(2).await;
}

#[tokio::test]
async fn a_client_that_leaves_a_whole_answer_cancels_it() {
    let server = TestServer::start(endless).await;
    for count in 1..=3 {
        let mut stream = connect(server.address).await;
        let bytes = request(LINE, &[], &body(json!({})));
        stream.write_all(&bytes).await.unwrap();
        while server.backend.requests.lock().unwrap().len() < count {
            tokio::task::yield_now().await;
        }
        drop(stream);
        server.backend.cancelled(count).await;
    }
}

#[tokio::test]
async fn silence_is_filled_while_a_request_waits() {
    let waiting = |_: &_| -> Script {
        Ok(vec![
            queued(),
            Step::Wait,
            started(),
            text("late"),
            finished(protocol::generate::FinishReason::Stop, 1),
        ])
    };
    let config = WebConfig {
        keep_alive: Duration::from_millis(50),
        stream_grace: Duration::from_millis(50),
        ..WebConfig::default()
    };
    let server = TestServer::with(config, waiting).await;
    let mut stream = connect(server.address).await;
    let bytes = request(LINE, &[], &body(json!({ "stream": true })));
    stream.write_all(&bytes).await.unwrap();
    let head = read_until(&mut stream, ": keep-alive\n\n").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    server.backend.release();
    let rest = read_until(&mut stream, "[DONE]").await;
    assert!(rest.contains("late"), "{rest}");
}

#[tokio::test]
async fn over_the_queues_end_is_503_with_a_time_to_retry() {
    let config = WebConfig {
        max_running: 1,
        max_waiting: 0,
        ..WebConfig::default()
    };
    let server = TestServer::with(config, endless).await;
    let mut first = connect(server.address).await;
    let bytes = request(LINE, &[], &body(json!({ "stream": true })));
    first.write_all(&bytes).await.unwrap();
    read_until(&mut first, "Hel").await;
    for more in [json!({}), json!({ "stream": true })] {
        let answer = server.call(LINE, &[], &body(more)).await;
        assert_eq!(answer.refused(503)["code"], "overloaded");
        assert!(answer.header("retry-after").is_some());
    }
    // What needs no place is answered, and a place that is left is free again.
    assert_eq!(server.get("/v1/models").await.status, 200);
    drop(first);
    server.backend.cancelled(1).await;
    let mut next = connect(server.address).await;
    next.write_all(&bytes).await.unwrap();
    read_until(&mut next, "Hel").await;
}

#[tokio::test]
async fn connections_are_kept_for_the_next_request() {
    let server = TestServer::start(hello).await;
    let mut stream = connect(server.address).await;
    let text = String::from_utf8(request(LINE, &[], &body(json!({})))).unwrap();
    let kept = text.replace("connection: close\r\n", "");
    for _ in 0..3 {
        stream.write_all(kept.as_bytes()).await.unwrap();
        read_until(&mut stream, "reasoning_tokens\":0}}}").await;
    }
    stream.write_all(text.as_bytes()).await.unwrap();
    assert_eq!(client::parse(&read_all(&mut stream).await).status, 200);
}

fn patient(_: &protocol::generate::GenerateRequest) -> Script {
    Ok(vec![
        started(),
        text("Hel"),
        Step::Wait,
        text("lo"),
        finished(protocol::generate::FinishReason::Stop, 2),
    ])
}

#[tokio::test]
async fn a_drain_lets_running_streams_finish() {
    let server = TestServer::start(patient).await;
    let mut running = connect(server.address).await;
    let bytes = request(LINE, &[], &body(json!({ "stream": true })));
    running.write_all(&bytes).await.unwrap();
    read_until(&mut running, "Hel").await;
    let mut idle = connect(server.address).await;
    let alive = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    idle.write_all(alive).await.unwrap();
    read_until(&mut idle, "ok").await;
    server.shutdown.cancel();
    read_all(&mut idle).await;
    let refused = tokio::net::TcpStream::connect(server.address).await;
    assert!(refused.is_err(), "nobody listens any more");
    server.backend.release();
    let rest = String::from_utf8(read_all(&mut running).await).unwrap();
    assert!(rest.contains("\"lo\"") && rest.contains("[DONE]"), "{rest}");
    assert_eq!(server.serving.await.unwrap(), Drained { cut: 0 });
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let config = WebConfig {
        drain_timeout: Duration::from_millis(50),
        ..WebConfig::default()
    };
    let server = TestServer::with(config, endless).await;
    let mut running = connect(server.address).await;
    let bytes = request(LINE, &[], &body(json!({ "stream": true })));
    running.write_all(&bytes).await.unwrap();
    read_until(&mut running, "Hel").await;
    let mut whole = connect(server.address).await;
    let bytes = request(LINE, &[], &body(json!({})));
    whole.write_all(&bytes).await.unwrap();
    while server.backend.requests.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
    server.shutdown.cancel();
    assert_eq!(server.serving.await.unwrap(), Drained { cut: 2 });
    server.backend.cancelled(2).await;
    let rest = String::from_utf8(read_all(&mut running).await).unwrap();
    assert!(rest.contains("shutting_down"), "{rest}");
    client::parse(&read_all(&mut whole).await).refused(503);
}

#[tokio::test]
async fn many_streams_at_once_are_not_mixed_up() {
    let own = |request: &protocol::generate::GenerateRequest| -> Script {
        let seed = request.sampling.as_ref().unwrap().seed.unwrap();
        let mut steps = vec![started()];
        steps.extend((0..50).map(|i| text(&format!("<{seed}:{i}>"))));
        steps.push(finished(protocol::generate::FinishReason::Stop, 50));
        Ok(steps)
    };
    let server = TestServer::start(own).await;
    let one = |seed: u64| {
        let bytes = request(LINE, &[], &body(json!({ "stream": true, "seed": seed })));
        let address = server.address;
        async move {
            let chunks = client::send(address, &bytes).await.chunks();
            let texts = chunks.iter().map(|c| &c["choices"][0]["delta"]["content"]);
            let whole: String = texts.filter_map(Value::as_str).collect();
            let wanted: String = (0..50).map(|i| format!("<{seed}:{i}>")).collect();
            assert_eq!(whole, wanted);
        }
    };
    futures::future::join_all((0..100).map(one)).await;
}

/// A client that reads nothing fills every buffer on the way; then it must not hold its place.
#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off() {
    let flood = |_: &_| -> Script {
        let mut steps = vec![started()];
        steps.extend(std::iter::repeat_n(text(&"x".repeat(1 << 20)), 64));
        steps.push(Step::Hang);
        Ok(steps)
    };
    let config = WebConfig {
        write_timeout: Duration::from_millis(200),
        ..WebConfig::default()
    };
    let server = TestServer::with(config, flood).await;
    let mut stream = connect(server.address).await;
    let bytes = request(LINE, &[], &body(json!({ "stream": true })));
    stream.write_all(&bytes).await.unwrap();
    server.backend.cancelled(1).await;
}
