//! A model as the planner sees it: what each layer takes and how much of it is read for a token.
//! It knows no file and no architecture.

use std::ops::Range;

/// A model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Its layers in order; at least one.
    pub layers: Vec<Layer>,
    /// Output head and final norm, as the last stage holds and reads them.
    pub output: Weights,
    /// Buffers of whoever computes the output, bytes.
    pub output_buffer_bytes: u64,
    /// What every stage takes beside its layers: tensors that all need, buffers, the process.
    pub stage_bytes: u64,
    /// What the head takes beside its stage, if it holds one: the embedding table, the process.
    pub head_bytes: u64,
    /// What the whole model takes on the head's own machine, where nothing is held twice.
    pub whole_bytes: u64,
    /// A token's hidden state on the wire.
    pub hidden_bytes: u64,
}

/// One layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layer {
    /// Its tensors.
    pub weights: Weights,
    /// Its part of the cache, for all tokens that the plan is for.
    pub cache_bytes: u64,
}

/// Some tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Weights {
    /// All of them, as they are stored and held.
    pub bytes: u64,
    /// What of them is read for a token: all, without the experts that it does not use.
    pub read_bytes: u64,
    /// Numbers that take part in a token's computation.
    pub parameters: u64,
}

impl Shape {
    /// How many layers.
    pub fn count(&self) -> u32 {
        u32::try_from(self.layers.len()).unwrap_or(u32::MAX)
    }

    /// Memory of a stage with these layers; the last holds the output, too.
    pub fn slice_bytes(&self, layers: Range<u32>) -> u64 {
        let output = match layers.end == self.count() {
            true => self.output_bytes(),
            false => 0,
        };
        let held = self.slice(layers).iter().map(Layer::bytes);
        held.fold(self.stage_bytes.saturating_add(output), u64::saturating_add)
    }

    /// The layers of a slice.
    pub(super) fn slice(&self, layers: Range<u32>) -> &[Layer] {
        let range = layers.start as usize..layers.end as usize;
        self.layers.get(range).unwrap_or_default()
    }

    /// What all layers and the output take, however they are spread, without each stage's own.
    pub(super) fn split_bytes(&self) -> u64 {
        let held = self.layers.iter().map(Layer::bytes);
        held.fold(self.output_bytes(), u64::saturating_add)
    }

    pub(super) fn output_bytes(&self) -> u64 {
        self.output.bytes.saturating_add(self.output_buffer_bytes)
    }
}

impl Layer {
    /// Weights and cache.
    pub(super) fn bytes(&self) -> u64 {
        self.weights.bytes.saturating_add(self.cache_bytes)
    }
}
