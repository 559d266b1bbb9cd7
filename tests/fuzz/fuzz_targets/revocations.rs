//! A member's bytes as a request for lists of revocations, and as the reply: what is accepted has
//! one form, and no list in it holds in a swarm whose root did not sign it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{
    NodeId, UnixMillis,
    membership::{RevocationsReply, RevocationsRequest, Swarm},
};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

/// The key of RFC 8032 section 7.1, test 2: it signed none of the seeds.
const ROOT: &str = "586Z7H2vpX9qNhN2T4e9Utugie3ogjbxzGaMtM3E6HR5";

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = RevocationsRequest::decode(bytes) {
        let again = RevocationsRequest::decode(&request.encode());
        assert_eq!(again, Ok(request), "what was encoded can be decoded");
    }
    if let Ok(reply) = RevocationsReply::decode(bytes) {
        let root: NodeId = ROOT.parse().expect("a usable key");
        let name = "lab".parse().expect("a usable name");
        let swarm = Swarm { name, root };
        for list in &reply.lists {
            assert!(list.verify(&swarm, NOW).is_err(), "nobody signed this");
        }
        let again = RevocationsReply::decode(&reply.encode());
        assert_eq!(again, Ok(reply), "what was encoded can be decoded");
    }
});
