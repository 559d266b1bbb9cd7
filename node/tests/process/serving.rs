//! The real binary with a real model: it answers, and it finishes what it began.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::node::{Node, PATIENCE, fixture, run, text};

#[test]
fn a_model_file_is_served_and_an_answer_outlives_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture();
    // One thread does not spin for the others on a busy machine.
    let mut node = Node::start(dir.path(), &["--model", &model, "--threads", "1"]);
    let answer = run(
        dir.path(),
        &["run", "tiny-moe-q8_0", "hello", "--max-tokens", "4"],
    );
    assert_eq!(answer.status.code(), Some(0), "{}", text(&answer.stderr));
    assert!(!answer.stdout.is_empty());
    let loaded = text(&run(dir.path(), &["ps"]).stdout);
    assert!(loaded.contains("tiny-moe-q8_0  ready"), "{loaded}");

    // A long answer that runs when the node is told to stop is finished first.
    let mut stream = begin(&node, 24);
    node.signal("TERM");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("data: [DONE]"), "the answer was cut: {rest}");
    assert_eq!(node.exit_code(), Some(0));
}

#[test]
fn a_second_signal_does_not_wait() {
    let dir = tempfile::tempdir().unwrap();
    let model = fixture();
    let mut node = Node::start(dir.path(), &["--model", &model, "--threads", "1"]);
    let mut stream = begin(&node, 900);
    node.signal("INT");
    node.signal("TERM");
    assert_eq!(node.exit_code(), Some(6));
    let mut rest = String::new();
    // The connection may end with a reset; what matters is that it ends.
    let _ = stream.read_to_string(&mut rest);
    assert!(!rest.contains("data: [DONE]"), "nothing was running");
}

/// Begins a streamed answer and reads its first bytes.
fn begin(node: &Node, max_tokens: u32) -> TcpStream {
    let mut stream = TcpStream::connect(&node.api).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = format!(
        r#"{{"model":"tiny-moe-q8_0","prompt":"a","max_tokens":{max_tokens},"stream":true,"temperature":0}}"#
    );
    write!(
        stream,
        "POST /v1/completions HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        node.api,
        body.len()
    )
    .unwrap();
    let mut first = [0; 64];
    stream.read_exact(&mut first).unwrap();
    stream
}
