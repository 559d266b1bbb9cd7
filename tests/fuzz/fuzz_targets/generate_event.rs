//! An event of a stranger's answer: decoding ends, and encoding what came gives one form.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use protocol::generate::{Bounded, GenerateEvent};

fuzz_target!(|bytes: &[u8]| {
    let Ok(event) = GenerateEvent::decode_bounded(bytes) else {
        return;
    };
    // Compared as bytes: a NaN is unequal to itself.
    let encoded = event.encode_to_vec();
    let again = GenerateEvent::decode_bounded(&encoded).expect("what was encoded can be decoded");
    assert_eq!(again.encode_to_vec(), encoded);
});
