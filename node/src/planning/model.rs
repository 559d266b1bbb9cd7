//! A model's file as the planner's [`Shape`]. It only translates.

use std::ops::Range;

use llama_sys::gguf::{LayerBytes, Model, ModelFacts, TensorSum, TensorType};
use protocol::chain::Precision;

use crate::chain::to_engine;
use crate::core::planner::{Layer, Shape, Weights};
use crate::core::sizing::Size;

/// Process, tokenizer and scheduler of a head. Its embeddings are read from the disk, row by row.
pub(crate) const HEAD_BYTES: u64 = 64 << 20;

/// Memory that a stage of these layers takes, bytes; `None`: the model has not that many.
pub(crate) fn stage_bytes(model: &Model, layers: Range<u32>, cells: u32) -> Option<u64> {
    let size = Size {
        context: cells,
        parallel: 1,
        cells,
        need_bytes: 0,
    };
    let shape = shape(
        &model.facts,
        &LayerBytes::of(model),
        size,
        0,
        Precision::F32,
    );
    let exist = layers.start < layers.end && layers.end <= shape.count();
    exist.then(|| shape.slice_bytes(layers))
}

/// The shape of a model that is loaded with room for this; `whole_bytes` is what it takes on one
/// machine, `precision` how hidden states would travel.
pub(super) fn shape(
    facts: &ModelFacts,
    parts: &LayerBytes,
    size: Size,
    whole_bytes: u64,
    precision: Precision,
) -> Shape {
    let width = usize::try_from(facts.embedding_length).unwrap_or(usize::MAX);
    let cells = u64::from(size.cells);
    let compute = facts.memory_estimate(cells, size.parallel.into()).compute;
    let logits = facts.logits_buffer_bytes();
    let layer = |(number, sum): (usize, &TensorSum)| Layer {
        weights: weights(*sum),
        cache_bytes: cache_bytes(facts, number, cells),
    };
    Shape {
        layers: parts.layers.iter().enumerate().map(layer).collect(),
        output: weights(parts.output),
        output_buffer_bytes: logits,
        stage_bytes: (compute.saturating_sub(logits)).saturating_add(parts.shared.bytes),
        head_bytes: HEAD_BYTES,
        whole_bytes,
        hidden_bytes: to_engine(precision).row_bytes(width) as u64,
    }
}

fn weights(sum: TensorSum) -> Weights {
    Weights {
        bytes: sum.bytes,
        read_bytes: sum.read_bytes,
        parameters: sum.parameters,
    }
}

fn cache_bytes(facts: &ModelFacts, layer: usize, cells: u64) -> u64 {
    let number = TensorType::F16;
    let attention = &facts.attention;
    let token = attention.layer_kv_bytes_per_token(layer, number, number);
    token.saturating_mul(cells)
}

#[cfg(test)]
mod tests {
    use llama_sys::gguf::specimen;

    use super::*;
    use crate::core::sizing::{Wish, size};

    #[test]
    fn a_stage_with_all_layers_takes_about_what_the_whole_model_does() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tiny.gguf");
        std::fs::write(&file, specimen::tiny_llama().bytes()).unwrap();
        let model = Model::open(&file).unwrap();
        let size = size(&model.facts, Wish::default(), u64::MAX);
        let parts = LayerBytes::of(&model);
        let of = |precision| shape(&model.facts, &parts, size, size.need_bytes, precision);
        let shape = of(Precision::F32);
        assert_eq!(shape.count(), 2);
        let whole = model
            .facts
            .memory_estimate(size.cells.into(), size.parallel.into());
        // The embedding is the output head here, so the stage holds every tensor.
        let stage = shape.slice_bytes(0..2);
        assert_eq!(stage, whole.total() - whole.parked);
        assert_eq!(shape.hidden_bytes, 64 * 4);
        assert_eq!(of(Precision::Bf16).hidden_bytes, 64 * 2);
        assert_eq!(shape.head_bytes, HEAD_BYTES);
    }
}
