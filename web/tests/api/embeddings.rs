//! `POST /v1/embeddings`.

use serde_json::{Value, json};

use crate::scripted::{TestServer, hello};

const EMBEDDINGS: &str = "/v1/embeddings";

async fn embed(more: Value) -> (TestServer, crate::client::Answer) {
    let server = TestServer::start(hello).await;
    let mut body = json!({ "model": "org/one", "input": "a" });
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    let answer = server.post(EMBEDDINGS, &body).await;
    (server, answer)
}

#[tokio::test]
async fn floats() {
    let (server, answer) = embed(json!({ "input": ["a", "b"] })).await;
    let one = |index: u32| {
        format!("{{\"object\":\"embedding\",\"index\":{index},\"embedding\":[0.6,-0.8]}}")
    };
    assert_eq!(
        answer.text(),
        format!(
            "{{\"object\":\"list\",\"data\":[{},{}],\"model\":\"org/one:full\",\
             \"usage\":{{\"prompt_tokens\":9,\"total_tokens\":9}}}}",
            one(0),
            one(1)
        )
    );
    assert_eq!(server.backend.embeds.lock().unwrap()[0].inputs.len(), 2);
    assert_eq!(answer.header("x-shoal-served-by"), Some("peer-1"));
}

#[tokio::test]
async fn base64_is_little_endian() {
    let (_server, answer) = embed(json!({ "encoding_format": "base64" })).await;
    assert_eq!(answer.json()["data"][0]["embedding"], "mpkZP83MTL8=");
}

#[tokio::test]
async fn token_ids_and_dimensions_arrive() {
    let more = json!({ "input": [[1, 2], [3]], "dimensions": 2 });
    let (server, answer) = embed(more).await;
    assert_eq!(answer.status, 200);
    let request = server.backend.embeds.lock().unwrap()[0].clone();
    assert_eq!(request.inputs.len(), 2);
    assert_eq!(request.dimensions, Some(2));
}

#[tokio::test]
async fn wrong_fields_are_refused_by_name() {
    let cases = [
        (json!({ "input": null }), "input"),
        (json!({ "input": [] }), "input"),
        (json!({ "input": "" }), "input"),
        (json!({ "input": [""] }), "input"),
        (json!({ "input": [[]] }), "input"),
        (json!({ "input": [1.5] }), "input"),
        (json!({ "input": {} }), "input"),
        (json!({ "input": vec!["a"; 2049] }), "input"),
        (json!({ "encoding_format": "hex" }), "encoding_format"),
        (json!({ "dimensions": 0 }), "dimensions"),
        (json!({ "model": "two" }), "model"),
    ];
    for (more, param) in cases {
        let (_server, answer) = embed(more.clone()).await;
        assert_eq!(answer.refused(400)["param"], param, "{more}");
    }
}
