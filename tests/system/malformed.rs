//! 10,000 malformed requests against a real node: every answer is a 4xx with the error object,
//! and the node still answers afterwards.

use anyhow::{Context, Result, ensure};
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tests::{
    api::{self, Outcome},
    process::{Node, fixture, shoal_binary},
    seed,
};

const REQUESTS: usize = 10_000;
const MODEL: &str = "tiny-draft-f16";
const ROUTES: [&str; 4] = ["chat/completions", "completions", "embeddings", "responses"];

/// The field without which a route has nothing to answer.
fn essential(route: &str) -> &'static str {
    match route {
        "chat/completions" => "messages",
        "completions" => "prompt",
        _ => "input",
    }
}

/// A body that no server may accept: the essential field has a wrong type or is missing, a
/// checked number is out of range, the model is unknown, or the bytes are no JSON at all.
fn malformed(rng: &mut StdRng, route: &str) -> Vec<u8> {
    let mut body = json!({ "model": MODEL, "max_tokens": 4, essential(route): "hello" });
    if route == "chat/completions" {
        body["messages"] = json!([{ "role": "user", "content": "hello" }]);
    }
    match rng.random_range(0..6) {
        0 => body[essential(route)] = junk(rng, 3),
        1 => drop(body.as_object_mut().map(|map| map.remove(essential(route)))),
        2 => body["model"] = junk(rng, 2),
        3 if route != "embeddings" => body["temperature"] = json!(rng.random_range(2.5..1e30)),
        3 => body["dimensions"] = json!(-1),
        4 => {
            let mut bytes = body.to_string().into_bytes();
            bytes.truncate(rng.random_range(0..bytes.len()));
            return bytes;
        }
        _ => {
            let mut bytes = vec![0; rng.random_range(0..300)];
            rng.fill_bytes(&mut bytes);
            // A leading byte that begins no JSON value.
            bytes.insert(0, b'}');
            return bytes;
        }
    }
    body.to_string().into_bytes()
}

/// A value that is neither text, nor a list of texts, messages or token ids.
fn junk(rng: &mut StdRng, depth: u32) -> Value {
    match rng.random_range(0..if depth == 0 { 4 } else { 6 }) {
        0 => json!(rng.random::<f64>() - 0.5),
        1 => json!(rng.random::<bool>()),
        2 => json!(i64::MIN),
        3 => json!([]),
        4 => json!([junk(rng, depth - 1), { "role": 1 }]),
        _ => json!({ "a": junk(rng, depth - 1) }),
    }
}

#[tokio::test]
async fn ten_thousand_malformed_requests() -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed());
    let data = tempfile::tempdir()?;
    let model = fixture(&format!("{MODEL}.gguf"));
    let model = model.to_string_lossy();
    let node = Node::start(
        &shoal_binary()?,
        data.path(),
        &["--offline", "--model", &model],
    )?;
    let client = api::client()?;
    for _ in 0..REQUESTS {
        let route = ROUTES[rng.random_range(0..ROUTES.len())];
        let body = malformed(&mut rng, route);
        let shown = String::from_utf8_lossy(&body).into_owned();
        let response = client
            .post(format!("{}/v1/{route}", node.url))
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .with_context(|| format!("{route} {shown}"))?;
        let status = response.status();
        let answer = response.text().await?;
        ensure!(
            status.is_client_error(),
            "{route} {shown}: {status} {answer}"
        );
        let error: Value = serde_json::from_str(&answer)?;
        let error = &error["error"];
        ensure!(
            error["message"].is_string()
                && error["type"].is_string()
                && error.get("param").is_some()
                && !error["code"].is_number(),
            "{route} {shown}: {answer}"
        );
    }
    let body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "hello" }], "max_tokens": 4 });
    let url = format!("{}/v1/chat/completions", node.url);
    ensure!(matches!(
        api::stream(&client, &url, body).await?,
        Outcome::Answered(_)
    ));
    ensure!(!node.log_tail().contains("panicked"), "{}", node.log_tail());
    Ok(())
}
