//! A stranger's request for a lease, or reply to one: refused, or it means the same when it is said
//! again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::chain::{LeaseReply, LeaseRequest};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = LeaseRequest::decode(bytes) {
        assert_eq!(LeaseRequest::decode(&request.encode()), Ok(request));
    }
    if let Ok(reply) = LeaseReply::decode(bytes) {
        assert_eq!(LeaseReply::decode(&reply.encode()), Ok(reply));
    }
});
