//! A model file of a stranger is to be cut: its header is planned or refused, and plans keep to
//! the file that it speaks of.

#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use llama_sys::gguf::{ExpertSets, Header};
use llama_sys::gguf::slice::{Origin, SlicePlan, Sliceable};

/// Cuts that are tried of each model.
const MAX_CUTS: usize = 8;

fuzz_target!(|bytes: &[u8]| {
    let file_bytes = i64::MAX as u64;
    let Ok(header) = Header::read_prefix(&mut Cursor::new(bytes), file_bytes) else {
        return;
    };
    let headers = [header];
    let Ok(model) = Sliceable::of(&headers) else {
        return;
    };
    let scales = model.scales();
    assert!(scales.between.is_finite());
    for cut in model.cuts().into_iter().take(MAX_CUTS) {
        check(model.stage(0..cut).ok(), file_bytes);
        check(model.stage(cut..model.facts().layers).ok(), file_bytes);
    }
    check(model.head().ok(), file_bytes);
    check(shard(&model), file_bytes);
});

/// A shard with every other expert.
fn shard(model: &Sliceable<'_>) -> Option<SlicePlan> {
    let mixture = model.mixture().ok()?;
    let layer: Vec<u32> = (0..mixture.experts).step_by(2).collect();
    let layers = vec![layer; model.facts().layers as usize];
    model.shard(&ExpertSets::new(mixture.experts, layers).ok()?).ok()
}

fn check(plan: Option<SlicePlan>, file_bytes: u64) {
    let Some(plan) = plan else {
        return;
    };
    let mut end = 0;
    for piece in plan.pieces() {
        assert_eq!(piece.offset, end);
        end += piece.bytes;
        if let Origin::File { offset, .. } = piece.origin {
            assert!(offset + piece.bytes <= file_bytes);
        }
    }
    assert_eq!(end, plan.bytes());
}
