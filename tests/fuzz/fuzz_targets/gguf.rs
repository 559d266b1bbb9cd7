//! A model file of a stranger: its header is read or refused, and so are the facts in it.

#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use llama_sys::gguf::{Header, ModelFacts};

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = Header::read(&mut Cursor::new(bytes)) else {
        return;
    };
    assert!(header.data_offset() <= header.file_bytes());
    let Ok(facts) = ModelFacts::from_header(&header) else {
        return;
    };
    let _ = facts.memory_estimate(u64::MAX, u64::MAX);
    let _ = facts.memory_estimate(4096, 4);
});
