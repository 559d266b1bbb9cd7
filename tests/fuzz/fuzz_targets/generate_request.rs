//! A request of a stranger: decoded and validated; what is accepted keeps its meaning.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use protocol::generate::{Bounded, GenerateRequest};

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = GenerateRequest::decode_bounded(bytes) else {
        return;
    };
    if request.validate().is_ok() {
        let again = GenerateRequest::decode_bounded(&request.encode_to_vec());
        assert_eq!(again.as_ref(), Ok(&request));
    }
});
