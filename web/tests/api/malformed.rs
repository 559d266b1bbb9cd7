//! Ten thousand malformed requests: no panic, never a 5xx, always the error object.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{
    client::{self, Answer},
    scripted::{TestServer, hello},
};

const REQUESTS: u64 = 10_000;

/// SplitMix64 (Steele, Lea, Flood): small, seeded, good enough to choose mutations.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

fn valid() -> [(&'static str, Value); 3] {
    let chat = json!({
        "model": "org/one",
        "messages": [
            { "role": "system", "content": "s" },
            { "role": "user", "content": [{ "type": "text", "text": "u" }] },
        ],
        "temperature": 0.5, "top_p": 0.5, "max_tokens": 5, "n": 1, "seed": 1,
        "stop": ["x"], "stream": true, "logprobs": true, "top_logprobs": 2,
        "logit_bias": { "5": 1 }, "response_format": { "type": "json_object" },
        "tools": [{ "type": "function", "function": { "name": "f" } }],
        "tool_choice": "auto",
    });
    let completion = json!({
        "model": "org/one", "prompt": "a", "max_tokens": 3, "logprobs": 1, "echo": true,
        "temperature": 1, "stop": "x", "seed": -1, "n": 1, "best_of": 1,
    });
    let embedding = json!({
        "model": "org/one", "input": ["a"], "encoding_format": "float", "dimensions": 2,
    });
    [
        ("/v1/chat/completions", chat),
        ("/v1/completions", completion),
        ("/v1/embeddings", embedding),
    ]
}

/// Values that fit no known field.
fn nonsense(random: &mut Random) -> String {
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    let choices = [
        "{\"$\":{}}",
        "[[[{}]]]",
        "1e999",
        "-1e308",
        "99999999999999999999999",
        "\"\\ud800\"",
        "[1,\"a\",null]",
        &deep,
        "NaN",
        "+1",
        "'x'",
    ];
    choices[random.below(choices.len())].to_owned()
}

/// Bytes that are wrong in one place at least: every field of ours has a type, so a value out
/// of [`nonsense`] fits none; and what is cut or sprinkled is no JSON any more.
fn mutated(body: &Value, random: &mut Random) -> Vec<u8> {
    let text = body.to_string();
    match random.below(6) {
        0 => text.as_bytes()[..random.below(text.len())].to_vec(),
        1 => {
            let mut bytes = text.into_bytes();
            // Inside a string or not: 0xff is never UTF-8.
            bytes.insert(random.below(bytes.len()), 0xff);
            bytes
        }
        2 => {
            let mut bytes = text.into_bytes();
            bytes.insert(random.below(bytes.len()), 0x01);
            bytes
        }
        3 => format!("{text}{}", nonsense(random)).into_bytes(),
        4 => nonsense(random).into_bytes(),
        _ => swapped(body, random),
    }
}

/// One field gets a value that fits no field.
fn swapped(body: &Value, random: &mut Random) -> Vec<u8> {
    let object = body.as_object().unwrap();
    let chosen = random.below(object.len());
    let value = nonsense(random);
    let fields = object
        .iter()
        .enumerate()
        .map(|(i, (name, old))| match i == chosen {
            true => format!("{}:{value}", json!(name)),
            false => format!("{}:{old}", json!(name)),
        });
    let fields: Vec<String> = fields.collect();
    format!("{{{}}}", fields.join(",")).into_bytes()
}

/// Sends over a kept connection and reads one answer with a known length.
async fn exchange(stream: &mut tokio::net::TcpStream, bytes: &[u8]) -> Answer {
    stream.write_all(bytes).await.unwrap();
    let mut all = Vec::new();
    loop {
        let mut chunk = [0; 8192];
        let count = stream.read(&mut chunk).await.unwrap();
        assert_ne!(count, 0, "the server hung up");
        all.extend_from_slice(&chunk[..count]);
        let Some(head) = all.windows(4).position(|w| w == b"\r\n\r\n") else {
            continue;
        };
        let text = String::from_utf8_lossy(&all[..head]).to_ascii_lowercase();
        let length = text.split("content-length: ").nth(1);
        let length = length.unwrap_or_else(|| panic!("accepted: {text}"));
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        if all.len() >= head + 4 + length {
            return client::parse(&all);
        }
    }
}

#[tokio::test]
async fn ten_thousand_malformed_requests() {
    let server = TestServer::start(hello).await;
    let mut stream = client::connect(server.address).await;
    let valid = valid();
    for seed in 0..REQUESTS {
        let mut random = Random(seed);
        let (path, body) = &valid[random.below(valid.len())];
        let bytes = mutated(body, &mut random);
        let length = bytes.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n"
        );
        let answer = exchange(&mut stream, &[head.as_bytes(), &bytes].concat()).await;
        let shown = String::from_utf8_lossy(&bytes);
        assert!(
            (400..500).contains(&answer.status),
            "seed {seed}: {} for {shown}: {}",
            answer.status,
            answer.text()
        );
        answer.refused(answer.status);
    }
    assert!(server.backend.requests.lock().unwrap().is_empty());
    assert_eq!(server.get("/healthz").await.status, 200);
}

/// Heads that are no HTTP: the server answers 4xx or hangs up, and lives on.
#[tokio::test]
async fn malformed_heads() {
    let server = TestServer::start(hello).await;
    let whole = client::request("POST /v1/completions", &[("x-a", "b")], b"{}");
    for seed in 0..500 {
        let mut random = Random(seed);
        let mut bytes = whole.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] = random.next().to_le_bytes()[0];
        }
        let mut stream = client::connect(server.address).await;
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        if let Some(status) = answer.get(9..10) {
            assert_eq!(status, b"4", "seed {seed}");
        }
    }
    assert_eq!(server.get("/healthz").await.status, 200);
}
