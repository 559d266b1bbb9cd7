//! Plans of whatever a stranger writes.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

/// Plans all stages and the head of what bytes say about a file of some length; each plan must be
/// in order and within the source.
fn plan_all(bytes: &[u8], file_bytes: u64) {
    let Ok(header) = Header::read_prefix(&mut Cursor::new(bytes), file_bytes) else {
        return;
    };
    let headers = [header];
    let Ok(model) = Sliceable::of(&headers) else {
        return;
    };
    let plans = stages(&model)
        .into_iter()
        .take(40)
        .map(|range| model.stage(range));
    for plan in plans.chain([model.head()]).flatten().chain(shard(&model)) {
        let mut end = 0;
        for piece in plan.pieces() {
            assert_eq!(piece.offset, end);
            end += piece.bytes;
            if let Origin::File { offset, .. } = piece.origin {
                assert!(offset + piece.bytes <= file_bytes);
            }
        }
        assert_eq!(end, plan.bytes());
        let needed: u64 = plan
            .needed(0)
            .iter()
            .map(|range| range.end - range.start)
            .sum();
        let placed: u64 = plan
            .placements(0, 0..u64::MAX)
            .map(|place| place.bytes)
            .sum();
        assert_eq!(needed, placed);
    }
}

/// A shard with every other expert, if the model may have one.
fn shard(model: &Sliceable<'_>) -> Option<SlicePlan> {
    let mixture = model.mixture().ok()?;
    assert!(mixture.shard_bytes(mixture.used) >= mixture.trunk_bytes);
    let layer: Vec<u32> = (0..mixture.experts).step_by(2).collect();
    let layers = vec![layer; model.facts().layers as usize];
    let sets = crate::gguf::ExpertSets::new(mixture.experts, layers).unwrap();
    model.shard(&sets).ok()
}

/// Making random weights takes longer than planning does.
static HEADERS: LazyLock<Vec<Builder>> = LazyLock::new(|| {
    let kinds = KINDS.into_iter();
    kinds.map(|kind| without_weights(&of_kind(kind))).collect()
});

/// A model's header; its file has no data.
fn without_weights(model: &Builder) -> Builder {
    let bytes = model.bytes();
    let header = Header::read(&mut Cursor::new(&bytes)).unwrap();
    let keys = header
        .entries()
        .fold(Builder::default(), |builder, (key, entry)| {
            let start = usize::try_from(entry.offset).unwrap();
            let value = &bytes[start..][..usize::try_from(entry.bytes).unwrap()];
            let id = u32::from_le_bytes(value[..4].try_into().unwrap());
            builder.value(key, id, &value[4..])
        });
    header.tensors().iter().fold(keys, |builder, tensor| {
        builder.tensor_zeros(&tensor.name, &tensor.shape, tensor.ty.id(), tensor.bytes)
    })
}

fn header_of() -> impl Strategy<Value = Builder> {
    (0..KINDS.len()).prop_map(|index| HEADERS[index].clone())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn changed_bytes_never_panic(
        builder in header_of(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        file_bytes in prop_oneof![Just(16 << 20), Just(u64::MAX), any::<u64>()],
    ) {
        let mut bytes = builder.header();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        plan_all(&bytes, file_bytes);
    }

    #[test]
    fn changed_numbers_never_panic(
        index in 0..KINDS.len(),
        key in proptest::sample::select(vec![
            "block_count", "embedding_length", "vocab_size", "attention.sliding_window",
            "attention.sliding_window_pattern", "attention.head_count", "nextn_predict_layers",
            "expert_count", "expert_used_count", "expert_group_count",
        ]),
        value in prop_oneof![0..10_u32, any::<u32>()],
        flags in proptest::collection::vec(any::<bool>(), 0..10),
    ) {
        let key = format!("{}.{key}", KINDS[index].architecture);
        plan_all(&HEADERS[index].clone().unsigned(&key, value).header(), 64 << 20);
        plan_all(&HEADERS[index].clone().flags(&key, &flags).header(), 64 << 20);
    }
}

#[test]
fn tensors_as_large_as_numbers_go_are_no_plan() {
    let huge = 1_u64 << 60;
    let builder = HEADERS[0]
        .clone()
        .tensor_zeros("rope_factors_long.weight", &[huge], 0, huge * 4);
    plan_all(&builder.header(), u64::MAX);
}
