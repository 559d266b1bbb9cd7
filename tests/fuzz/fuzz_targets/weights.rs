//! A stranger's message about weights: refused, or one that its own encoding gives back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use protocol::{
    limits::{MAX_HELD_RUNS, MAX_MODEL_CHUNKS},
    weights::{ChunkSet, WeightsReply, WeightsRequest},
};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = WeightsRequest::decode(bytes) {
        assert_eq!(WeightsRequest::decode(&request.encode()), Ok(request));
    }
    if let Ok(reply) = WeightsReply::decode(bytes) {
        assert_eq!(WeightsReply::decode(&reply.encode()).as_ref(), Ok(&reply));
        if let WeightsReply::Have(runs) = reply {
            assert!(runs.len() <= MAX_HELD_RUNS);
            let set = ChunkSet::of_runs(MAX_MODEL_CHUNKS, runs.iter().cloned());
            assert_eq!(set.longest_runs(), runs, "runs have one form");
        }
    }
});
