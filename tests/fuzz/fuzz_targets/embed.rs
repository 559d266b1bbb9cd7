//! A stranger's request for embeddings, and a stranger's answer to one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use protocol::generate::{Bounded, EmbedReply, EmbedRequest, EmbedResponse};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = EmbedRequest::decode_bounded(bytes)
        && request.validate().is_ok()
    {
        let again = EmbedRequest::decode_bounded(&request.encode_to_vec());
        assert_eq!(again.as_ref(), Ok(&request));
    }
    if let Ok(response) = EmbedResponse::decode_bounded(bytes) {
        let encoded = response.encode_to_vec();
        let again = EmbedResponse::decode_bounded(&encoded).expect("what was encoded is decoded");
        assert_eq!(again.encode_to_vec(), encoded);
    }
    if let Ok(reply) = EmbedReply::decode_bounded(bytes) {
        let encoded = reply.encode_to_vec();
        let again = EmbedReply::decode_bounded(&encoded).expect("what was encoded is decoded");
        assert_eq!(again.encode_to_vec(), encoded);
    }
});
