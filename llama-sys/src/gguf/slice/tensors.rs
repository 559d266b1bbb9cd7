//! Which tensors a slice has, under which names, and where their data comes from.

use std::ops::Range;

use super::SliceError;
use super::plan::{PlannedTensor, TensorData};
use super::source::Sliceable;
use crate::gguf::{Tensor, TensorType};

/// The embeddings.
const EMBEDDINGS: &str = "token_embd.weight";
/// The output head, where it is not the embeddings.
const OUTPUT: &str = "output.weight";
/// The norm before the output head.
const OUTPUT_NORM: &str = "output_norm.weight";
/// What all layers use.
const OF_ALL_LAYERS: [&str; 4] = [
    OUTPUT_NORM,
    "rope_freqs.weight",
    "rope_factors_long.weight",
    "rope_factors_short.weight",
];

/// The layer of a tensor's name, and the rest behind it. `None` if it is no layer's.
pub(super) fn layer_of(name: &str) -> Option<(u32, &str)> {
    let (number, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let layer: u32 = number.parse().ok()?;
    // One spelling only: two names must not become one.
    (layer.to_string() == number).then_some((layer, rest))
}

/// True for the tensors outside of layers that rules cover.
pub(super) fn is_shared(name: &str) -> bool {
    name == EMBEDDINGS || name == OUTPUT || OF_ALL_LAYERS.contains(&name)
}

/// Checks the tensors that are more than copied.
pub(super) fn check_shared(model: &Sliceable<'_>) -> Result<(), SliceError> {
    let width = u64::from(model.facts.embedding_length);
    let right = |tensor: &Tensor| tensor.shape.len() == 2 && tensor.shape[0] == width;
    let embeddings = model.tensor(EMBEDDINGS).map(|(_, tensor)| tensor);
    if !embeddings.is_some_and(right) {
        return Err(SliceError::Tensor(EMBEDDINGS));
    }
    let output = model.tensor(OUTPUT).map(|(_, tensor)| tensor);
    if !output.is_none_or(right) || (model.rule.names_output && output.is_none()) {
        return Err(SliceError::Tensor(OUTPUT));
    }
    Ok(())
}

/// The head's: the embeddings.
pub(super) fn of_head(model: &Sliceable<'_>) -> Result<Vec<PlannedTensor>, SliceError> {
    Ok(vec![copied(model, EMBEDDINGS, EMBEDDINGS)?])
}

/// A stage's, in the order of the source.
pub(super) fn of_stage(
    model: &Sliceable<'_>,
    layers: &Range<u32>,
) -> Result<Vec<PlannedTensor>, SliceError> {
    let mut planned = if layers.end == model.facts.layers {
        last_ends(model)?
    } else {
        inner_ends(model)
    };
    for (file, header) in model.headers.iter().enumerate() {
        for tensor in header.tensors() {
            let name = match layer_of(&tensor.name) {
                Some((layer, rest)) if layers.contains(&layer) => {
                    format!("blk.{}.{rest}", layer - layers.start)
                }
                None if OF_ALL_LAYERS.contains(&tensor.name.as_str()) => tensor.name.clone(),
                _ => continue,
            };
            planned.push(from_file(name, file, tensor));
        }
    }
    Ok(planned)
}

/// Nothing is looked up and no token is chosen: one row of zeros is the least that llama.cpp
/// takes for a vocabulary.
fn inner_ends(model: &Sliceable<'_>) -> Vec<PlannedTensor> {
    let row = |name: &str| PlannedTensor {
        name: name.to_owned(),
        shape: vec![model.facts.embedding_length.into(), 1],
        ty: TensorType::F32,
        bytes: u64::from(model.facts.embedding_length) * 4,
        data: TensorData::Zeros,
    };
    let output = model.tensor(OUTPUT).map(|_| row(OUTPUT));
    [row(EMBEDDINGS)].into_iter().chain(output).collect()
}

/// The output head. llama.cpp takes the embeddings for it where it finds none, so the head goes
/// under their name; where it insists on both, nothing is looked up in the embeddings, so they
/// are zeros, which need not be fetched and take no room on disk.
fn last_ends(model: &Sliceable<'_>) -> Result<Vec<PlannedTensor>, SliceError> {
    if model.rule.names_output {
        let mut embeddings = copied(model, EMBEDDINGS, EMBEDDINGS)?;
        embeddings.data = TensorData::Zeros;
        return Ok(vec![embeddings, copied(model, OUTPUT, OUTPUT)?]);
    }
    let from = model.tensor(OUTPUT).map_or(EMBEDDINGS, |_| OUTPUT);
    Ok(vec![copied(model, from, EMBEDDINGS)?])
}

fn copied(
    model: &Sliceable<'_>,
    from: &'static str,
    name: &str,
) -> Result<PlannedTensor, SliceError> {
    let (file, tensor) = model.tensor(from).ok_or(SliceError::Tensor(from))?;
    Ok(from_file(name.to_owned(), file, tensor))
}

pub(super) fn from_file(name: String, file: usize, tensor: &Tensor) -> PlannedTensor {
    PlannedTensor {
        name,
        shape: tensor.shape.clone(),
        ty: tensor.ty,
        bytes: tensor.bytes,
        data: TensorData::File {
            file,
            // Its end is within the file, as the reader has checked.
            parts: std::iter::once(tensor.offset..tensor.offset + tensor.bytes).collect(),
        },
    }
}
