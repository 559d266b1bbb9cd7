//! Headers of real and broken files.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::path::PathBuf;

use super::*;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name)
}

#[test]
fn real_files_are_read() {
    let header = Header::open(fixture("tiny-moe-q8_0.gguf")).unwrap();
    assert_eq!(header.version(), 3);
    assert_eq!(header.text("general.architecture"), Some("qwen3moe"));
    assert_eq!(header.unsigned("qwen3moe.block_count"), Some(5));
    assert_eq!(header.named_token(0), Some("<|bos|>"));
    assert_eq!(header.named_token(1), Some("<|endoftext|>"));
    let embedding = header.tensor("token_embd.weight").unwrap();
    assert_eq!(embedding.shape, [192, 2048]);
    assert_eq!(embedding.ty, TensorType::Q8_0);
    let last = header.tensors().last().unwrap();
    assert!(header.data_offset() + last.offset + last.bytes <= header.file_bytes());
}
