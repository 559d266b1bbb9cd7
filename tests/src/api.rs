//! A plain client of the OpenAI API: one question, whole or streamed, with the times of arrival.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

/// One streamed answer.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// All text deltas together.
    pub text: String,
    /// Between sending the request and the first text.
    pub first_token: Duration,
    /// Between sending the request and the end.
    pub total: Duration,
    /// `usage.completion_tokens`.
    pub completion_tokens: u64,
    /// `usage.prompt_tokens`.
    pub prompt_tokens: u64,
    /// `usage.prompt_tokens_details.cached_tokens`.
    pub cached_tokens: u64,
    /// The last choice's `finish_reason`.
    pub finish_reason: String,
}

/// What came of a question.
#[derive(Debug)]
pub enum Outcome {
    /// A complete answer.
    Answered(Answer),
    /// 503 with a `Retry-After`.
    Refused,
}

/// A client without proxies; each request has a connection of its own.
///
/// # Errors
/// When the system gives no client.
pub fn client() -> Result<Client> {
    // Installed once in a process; a second call finds it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // An idle connection may be closed by the server in the very moment of the next request.
    let builder = Client::builder().no_proxy().pool_max_idle_per_host(0);
    Ok(builder.build()?)
}

/// Posts `body` with `stream` and `include_usage` set, and reads the stream to its end.
///
/// # Errors
/// When the answer is neither a complete stream nor a 503 with `Retry-After`.
pub async fn stream(client: &Client, url: &str, mut body: Value) -> Result<Outcome> {
    body["stream"] = true.into();
    body["stream_options"] = serde_json::json!({ "include_usage": true });
    let sent = Instant::now();
    let response = client.post(url).json(&body).send().await?;
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        ensure!(
            response.headers().contains_key("retry-after"),
            "503 without Retry-After"
        );
        return Ok(Outcome::Refused);
    }
    ensure!(
        response.status().is_success(),
        "{}: {}",
        response.status(),
        response.text().await?
    );
    read_events(response, sent).await.map(Outcome::Answered)
}

async fn read_events(response: Response, sent: Instant) -> Result<Answer> {
    let mut answer = Answer::default();
    let mut bytes = response.bytes_stream();
    let mut buffer = Vec::new();
    let mut done = false;
    while let Some(part) = bytes.next().await {
        buffer.extend_from_slice(&part?);
        let mut start = 0;
        while let Some(end) = buffer[start..].windows(2).position(|two| two == b"\n\n") {
            let event = std::str::from_utf8(&buffer[start..start + end])?;
            start += end + 2;
            match event.strip_prefix("data: ") {
                Some("[DONE]") => done = true,
                Some(json) => take_chunk(&mut answer, &serde_json::from_str(json)?, sent)?,
                None => ensure!(event.starts_with(':'), "not an event: {event}"),
            }
        }
        buffer.drain(..start);
    }
    ensure!(done, "the stream ended without [DONE]");
    answer.total = sent.elapsed();
    Ok(answer)
}

fn take_chunk(answer: &mut Answer, chunk: &Value, sent: Instant) -> Result<()> {
    ensure!(chunk.get("error").is_none(), "{}", chunk["error"]);
    if let Some(usage) = chunk["usage"].as_object() {
        let count = |name: &str| usage.get(name).and_then(Value::as_u64);
        answer.completion_tokens = count("completion_tokens").context("no completion_tokens")?;
        answer.prompt_tokens = count("prompt_tokens").context("no prompt_tokens")?;
        answer.cached_tokens = chunk["usage"]["prompt_tokens_details"]["cached_tokens"]
            .as_u64()
            .unwrap_or(0);
    }
    let choice = &chunk["choices"][0];
    let text = choice["delta"]["content"]
        .as_str()
        .or_else(|| choice["text"].as_str());
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        if answer.text.is_empty() {
            answer.first_token = sent.elapsed();
        }
        answer.text.push_str(text);
    }
    if let Some(reason) = choice["finish_reason"].as_str() {
        reason.clone_into(&mut answer.finish_reason);
    }
    Ok(())
}
