//! What shards hold, and of which models there are none.

use super::*;
use crate::gguf::slice::Mixture;
use crate::gguf::{ExpertSets, TensorType};

fn mixtures() -> impl Iterator<Item = Kind> {
    KINDS.into_iter().filter(|kind| kind.mixture)
}

fn sets(kept: u32) -> ExpertSets {
    let layer = |layer: u32| (0..kept).map(|n| (n * 3 + layer) % 8).collect();
    ExpertSets::new(8, (0..8).map(layer).collect()).unwrap()
}

fn shard(source: &Source, sets: &ExpertSets) -> Slice {
    Slice::read(source.build(&source.sliceable().shard(sets).unwrap()))
}

/// The experts' bytes out of a tensor of all eight.
fn only(all: &[u8], kept: &[u32]) -> Vec<u8> {
    let one = all.len() / 8;
    let of = |expert: &u32| &all[*expert as usize * one..][..one];
    kept.iter().flat_map(of).copied().collect()
}

#[test]
fn a_shard_has_the_trunk_and_its_experts() {
    for kind in mixtures() {
        let source = Source::of(kind);
        let sets = sets(5);
        let shard = shard(&source, &sets);
        let count = format!("{}.expert_count", kind.architecture);
        assert_eq!(shard.header.unsigned(&count), Some(5));
        let used = format!("{}.expert_used_count", kind.architecture);
        assert_eq!(shard.header.unsigned(&used), Some(2));
        let (ours, theirs) = (shard.header.entries(), source.headers[0].entries());
        assert_eq!(ours.count(), theirs.count());
        let mut of_experts = 0;
        for tensor in source.headers[0].tensors() {
            let all = source.data(&tensor.name);
            let layer = tensors::layer_of(&tensor.name);
            let is_experts = |rest: &str| rest.contains("_exps") || rest.contains("gate_inp");
            let layer = layer.filter(|(_, rest)| is_experts(rest));
            let expected = match layer {
                Some((layer, _)) => only(all, &sets.layers()[layer as usize]),
                None => all.to_vec(),
            };
            let name = &tensor.name;
            assert_eq!(shard.data(name), Some(expected.as_slice()), "{name}");
            of_experts += u32::from(layer.is_some());
        }
        assert!(of_experts >= 4 * 8);
        let (ours, theirs) = (shard.header.tensors(), source.headers[0].tensors());
        assert_eq!(ours.len(), theirs.len());
    }
}

#[test]
fn a_shard_takes_no_more_bytes_than_its_experts_and_the_trunk() {
    for kind in mixtures() {
        let source = Source::of(kind);
        let model = source.sliceable();
        let mixture = model.mixture().unwrap();
        assert_eq!((mixture.experts, mixture.used), (8, 2));
        for kept in [2, 5, 8] {
            let plan = model.shard(&sets(kept)).unwrap();
            let tensors = Slice::read(source.build(&plan));
            let tensors = tensors.header.tensors().iter().map(|tensor| tensor.bytes);
            assert_eq!(tensors.sum::<u64>(), mixture.shard_bytes(kept));
            let needed = plan.needed(0).into_iter();
            let needed: u64 = needed.map(|range| range.end - range.start).sum();
            // Beside the tensors the source's metadata, and no gap between kept neighbours.
            let header = source.headers[0].data_offset();
            assert!(needed < mixture.shard_bytes(kept) + header, "{kept}");
            assert_eq!(mixture.most_within(mixture.shard_bytes(kept)), kept);
            assert_eq!(mixture.most_within(mixture.shard_bytes(kept) - 1), kept - 1);
        }
        assert_eq!(mixture.most_within(u64::MAX), 8);
        assert_eq!(mixture.most_within(0), 0);
    }
}

#[test]
fn experts_of_many_numbers_in_a_block_are_parted_at_whole_rows() {
    let name = "blk.0.ffn_gate_up_exps.weight";
    let bytes = (0..64 / 32 * 34 * 96 * 8_u32).map(|n| n.to_le_bytes()[0]);
    let quantized = of_kind(KINDS[2]).tensor(name, &[64, 96, 8], TensorType::Q8_0, bytes.collect());
    let source = Source::new(vec![quantized.bytes()]);
    let sets = sets(3);
    let expected = only(source.data(name), &sets.layers()[0]);
    assert_eq!(shard(&source, &sets).data(name), Some(expected.as_slice()));
}

#[test]
fn sets_of_another_model_are_refused() {
    let source = Source::of(KINDS[2]);
    let model = source.sliceable();
    let layers = |count: u32, experts: u32, kept: u32| {
        let sets = ExpertSets::new(experts, vec![(0..kept).collect(); count as usize]);
        model.shard(&sets.unwrap())
    };
    assert!(layers(8, 8, 2).is_ok());
    for (count, experts, kept) in [(7, 8, 2), (9, 8, 2), (8, 16, 2), (8, 8, 1)] {
        let refused = layers(count, experts, kept);
        assert!(matches!(refused, Err(SliceError::Experts { .. })));
    }
}

#[test]
fn models_without_plain_routing_have_no_shards() {
    let why = |builder: &Builder| {
        let source = Source::new(vec![builder.bytes()]);
        let (shard, mixture) = (
            source.sliceable().shard(&sets(4)),
            source.sliceable().mixture(),
        );
        match (shard, mixture) {
            (
                Err(SliceError::Unsupported { why, .. }),
                Err(SliceError::Unsupported { why: also, .. }),
            ) if why == also => why,
            other => panic!("{other:?}"),
        }
    };
    let sound = || of_kind(KINDS[2]);
    assert!(KINDS[2].mixture && KINDS[2].architecture == "llama");
    assert_eq!(why(&of_kind(KINDS[0])), Obstacle::NoExperts);
    let grouped = sound().unsigned("llama.expert_group_count", 4);
    assert_eq!(why(&grouped), Obstacle::Routing);
    assert!(
        Source::new(vec![
            sound().unsigned("llama.expert_group_count", 1).bytes()
        ])
        .sliceable()
        .mixture()
        .is_ok()
    );
    let by_layer = sound().signed_numbers("llama.expert_used_count", &[2; 8]);
    assert_eq!(why(&by_layer), Obstacle::Routing);
    let many = sound().unsigned("llama.expert_count", 2000);
    assert_eq!(why(&many), Obstacle::Routing);
    let unproved = of_kind(KINDS[3])
        .unsigned("qwen2.expert_count", 8)
        .unsigned("qwen2.expert_used_count", 2);
    assert_eq!(why(&unproved), Obstacle::Routing);
    let more = sound().tensor_f32("blk.0.ffn_up_chexps.weight", &[2, 8], &[0.0; 16]);
    let name = "blk.0.ffn_up_chexps.weight".to_owned();
    assert_eq!(why(&more), Obstacle::Tensor(name));
    let narrow = sound().tensor_f32("blk.0.exp_probs_b.bias", &[4], &[0.0; 4]);
    let name = "blk.0.exp_probs_b.bias".to_owned();
    assert_eq!(why(&narrow), Obstacle::Tensor(name));
}

#[test]
fn sizes_do_not_overflow() {
    let mixture = Mixture {
        experts: 8,
        used: 2,
        trunk_bytes: u64::MAX - 1,
        expert_bytes: vec![u64::MAX; 3],
    };
    assert_eq!(mixture.shard_bytes(8), u64::MAX);
    assert_eq!(mixture.most_within(u64::MAX), 0);
    let free = Mixture {
        expert_bytes: vec![0; 3],
        ..mixture
    };
    assert_eq!(free.most_within(u64::MAX), 1);
}
