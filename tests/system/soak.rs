//! 100 concurrent streams for a minute against a real node: each answer is right or refused
//! with 503 and `Retry-After`, none is mixed up with another, and the memory stays flat.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{
    api::{self, Outcome},
    process::{Node, fixture, shoal_binary},
    seed,
};
use tokio::task::JoinSet;

const STREAMS: u64 = 100;
const DURATION: Duration = Duration::from_secs(60);
/// Caches fill first; the memory is compared from here on.
const WARM_UP: Duration = Duration::from_secs(20);
/// What the allocator and the page cache may move without there being a leak.
const MEMORY_SLACK_BYTES: u64 = 48 << 20;
const MODEL: &str = "tiny-moe-q8_0";

/// A question whose only possible answer names it: the grammar forces the marker, so a token
/// that reaches another stream, or text that lands in another answer, shows at once.
fn marked(marker: u64) -> (Value, String) {
    let literal = format!("answer {marker:016x} of {}", marker.rotate_left(32));
    let body = json!({
        "model": MODEL,
        "messages": [{ "role": "user", "content": format!("Question {marker}: say your name.") }],
        "response_format": { "type": "json_schema", "json_schema": {
            "name": "marker", "schema": { "const": literal } } },
        "max_tokens": 200,
        "temperature": 1.0,
        "seed": marker as i64,
    });
    (body, format!("\"{literal}\""))
}

#[derive(Default)]
struct Counts {
    right: AtomicU64,
    refused: AtomicU64,
}

async fn ask_until(url: Arc<str>, counts: Arc<Counts>, first: u64, end: Instant) -> Result<()> {
    let client = api::client()?;
    let mut marker = first;
    while Instant::now() < end {
        let (body, expected) = marked(marker);
        marker = marker.wrapping_add(STREAMS);
        match api::stream(&client, &url, body).await? {
            Outcome::Answered(answer) => {
                ensure!(
                    answer.text == expected,
                    "mixed up: {} is not {expected}",
                    answer.text
                );
                counts.right.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Refused => {
                counts.refused.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_streams_for_a_minute() -> Result<()> {
    let first = seed();
    let data = tempfile::tempdir()?;
    let model = fixture(&format!("{MODEL}.gguf"));
    let model = model.to_string_lossy();
    let node = Node::start(
        &shoal_binary()?,
        data.path(),
        &["--offline", "--model", &model],
    )?;
    let url: Arc<str> = format!("{}/v1/chat/completions", node.url).into();
    let counts = Arc::new(Counts::default());
    let start = Instant::now();
    let mut streams = JoinSet::new();
    for offset in 0..STREAMS {
        let first = first.wrapping_add(offset);
        streams.spawn(ask_until(
            url.clone(),
            counts.clone(),
            first,
            start + DURATION,
        ));
    }
    tokio::time::sleep_until((start + WARM_UP).into()).await;
    let warm = node.memory_bytes();
    while let Some(stream) = streams.join_next().await {
        stream??;
    }
    let last = node.memory_bytes();
    let (right, refused) = (
        counts.right.load(Ordering::Relaxed),
        counts.refused.load(Ordering::Relaxed),
    );
    println!("{right} right, {refused} refused, memory {warm} -> {last} bytes");
    ensure!(right > STREAMS, "only {right} answers: {}", node.log_tail());
    ensure!(
        last < warm + MEMORY_SLACK_BYTES,
        "memory grew from {warm} to {last} bytes"
    );
    let ended = node.terminate(Duration::from_secs(40))?;
    ensure!(ended.success(), "the node ended with {ended}");
    Ok(())
}
