//! Shards of a mixture: the whole trunk, and of each layer's experts some. Experts lie one after the
//! other in their tensors, whatever the number format, so each is a range of bytes that is kept or
//! left out.
//!
//! A shard must answer as the whole model does whose router may not choose the missing experts; each
//! architecture that is allowed has a test that compares the two by their logits.

use std::ops::Range;

use super::plan::{PlannedTensor, SlicePlan, TensorData};
use super::source::Sliceable;
use super::{Obstacle, SliceError, metadata, tensors};
use crate::gguf::error::excerpt;
use crate::gguf::{ExpertSets, Experts, Header, MAX_EXPERTS, Tensor};

/// Beginnings of the names, behind a layer's, of tensors whose outermost direction is the experts.
const OF_EXPERTS: [&str; 6] = [
    "ffn_gate_inp.",
    "ffn_gate_exps.",
    "ffn_up_exps.",
    "ffn_down_exps.",
    "ffn_gate_up_exps.",
    "exp_probs_b",
];

/// What names of other tensors of experts would have in them.
const EXPERTS_MARK: &str = "exps";

/// Ranges of bytes that a shard is made of, at most: a model of 94 layers with every other of 1,024
/// experts in three tensors has 150,000.
const MAX_RANGES: usize = 1 << 20;

/// What a mixture is made of, for whoever decides which experts go where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mixture {
    /// Experts of a layer.
    pub experts: u32,
    /// Experts that a token uses in a layer.
    pub used: u32,
    /// Bytes of all tensors that every shard has.
    pub trunk_bytes: u64,
    /// Bytes of one expert, layer by layer.
    pub expert_bytes: Vec<u64>,
}

impl Mixture {
    /// Bytes of a shard's tensors.
    #[must_use]
    pub fn shard_bytes(&self, kept: u32) -> u64 {
        let of_experts = self.one_of_each_layer().saturating_mul(kept.into());
        self.trunk_bytes.saturating_add(of_experts)
    }

    /// The most experts of each layer for which there is room; 0 if there is none for the trunk.
    #[must_use]
    pub fn most_within(&self, room_bytes: u64) -> u32 {
        let room = room_bytes.saturating_sub(self.trunk_bytes);
        let most = room / self.one_of_each_layer().max(1);
        u32::try_from(most).map_or(self.experts, |most| most.min(self.experts))
    }

    fn one_of_each_layer(&self) -> u64 {
        let sum = |all: u64, more: &u64| all.saturating_add(*more);
        self.expert_bytes.iter().fold(0, sum)
    }
}

impl Sliceable<'_> {
    /// What the model's experts weigh.
    ///
    /// # Errors
    /// [`SliceError::Unsupported`] if it has none, or they cannot be parted.
    pub fn mixture(&self) -> Result<Mixture, SliceError> {
        let experts = self.parted()?;
        let mut mixture = Mixture {
            experts: experts.count,
            used: experts.used,
            trunk_bytes: 0,
            expert_bytes: vec![0; self.facts.layers as usize],
        };
        for tensor in self.headers.iter().flat_map(Header::tensors) {
            let (sum, bytes) = match self.layer_of_experts(tensor, experts.count)? {
                Some(layer) => (
                    &mut mixture.expert_bytes[layer],
                    tensor.bytes / u64::from(experts.count),
                ),
                None => (&mut mixture.trunk_bytes, tensor.bytes),
            };
            *sum = sum.checked_add(bytes).ok_or(SliceError::TooLarge)?;
        }
        Ok(mixture)
    }

    /// The file of a shard that has these experts.
    ///
    /// # Errors
    /// [`SliceError`] if the model's experts cannot be parted, these are not its, or they are fewer
    /// than a token uses.
    pub fn shard(&self, sets: &ExpertSets) -> Result<SlicePlan, SliceError> {
        let experts = self.parted()?;
        let fits = sets.experts() == experts.count
            && sets.layers().len() == self.facts.layers as usize
            && sets.kept() >= experts.used;
        if !fits {
            return Err(SliceError::Experts {
                kept: sets.kept(),
                of: sets.experts(),
                layers: sets.layers().len(),
            });
        }
        let mut planned = Vec::new();
        let mut ranges = 0;
        for (file, header) in self.headers.iter().enumerate() {
            for tensor in header.tensors() {
                let whole = tensors::from_file(tensor.name.clone(), file, tensor);
                let kept = match self.layer_of_experts(tensor, experts.count)? {
                    Some(layer) => only(whole, tensor, file, &sets.layers()[layer]),
                    None => whole,
                };
                if let TensorData::File { parts, .. } = &kept.data {
                    ranges += parts.len();
                }
                if ranges > MAX_RANGES {
                    return Err(SliceError::TooLarge);
                }
                planned.push(kept);
            }
        }
        SlicePlan::assemble(self.headers, metadata::of_shard(self, sets.kept()), planned)
    }

    /// The model's experts, if some of them may be left out.
    fn parted(&self) -> Result<Experts, SliceError> {
        let experts = self.facts.experts;
        let experts = experts.filter(|experts| experts.used > 0);
        let experts = experts.ok_or_else(|| self.refuse(Obstacle::NoExperts))?;
        // llama.cpp reads groups for any architecture.
        let groups = self.first().unsigned(&self.key("expert_group_count"));
        let used = self.first().unsigned(&self.key("expert_used_count"));
        let is_plain = self.rule.plain_routing
            && groups.unwrap_or(0) <= 1
            // One number for all layers.
            && used == Some(experts.used.into())
            && experts.used <= experts.count
            && experts.count <= MAX_EXPERTS;
        is_plain
            .then_some(experts)
            .ok_or_else(|| self.refuse(Obstacle::Routing))
    }

    /// The layer of which a tensor has the experts; `None` if it has no experts'.
    fn layer_of_experts(&self, tensor: &Tensor, count: u32) -> Result<Option<usize>, SliceError> {
        let Some((layer, rest)) = tensors::layer_of(&tensor.name) else {
            return Ok(None);
        };
        if !OF_EXPERTS.iter().any(|start| rest.starts_with(start)) {
            return match rest.contains(EXPERTS_MARK) && !rest.contains("shexp") {
                true => Err(self.refuse(Obstacle::Tensor(excerpt(&tensor.name)))),
                false => Ok(None),
            };
        }
        let outermost = tensor.shape.last().copied();
        // One number for each expert must not be part of a block.
        let parted = tensor.shape.len() > 1 || tensor.ty.block_elements() == 1;
        if outermost != Some(count.into()) || !parted {
            return Err(self.refuse(Obstacle::Tensor(excerpt(&tensor.name))));
        }
        Ok(Some(layer as usize))
    }
}

/// The tensor with some of its experts.
fn only(whole: PlannedTensor, tensor: &Tensor, file: usize, kept: &[u32]) -> PlannedTensor {
    let mut shape = whole.shape;
    let count = shape.last_mut().expect("a tensor has a direction");
    let one = tensor.bytes / *count;
    *count = kept.len() as u64;
    let mut parts: Vec<Range<u64>> = Vec::new();
    for expert in kept {
        // Within the tensor: experts are numbered below their count.
        let start = tensor.offset + u64::from(*expert) * one;
        match parts.last_mut() {
            Some(last) if last.end == start => last.end += one,
            _ => parts.push(start..start + one),
        }
    }
    PlannedTensor {
        shape,
        bytes: one * kept.len() as u64,
        data: TensorData::File { file, parts },
        ..whole
    }
}
