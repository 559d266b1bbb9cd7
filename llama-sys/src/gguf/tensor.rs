//! The tensor table: names, shapes, types and places, each checked. It does not read weights.

use std::io::{Read, Seek};

use super::cursor::Cursor;
use super::error::{GgufError, excerpt};
use super::limits;
use super::tensor_type::TensorType;
use super::value::Budget;

/// A tensor's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// Elements in each direction, the contiguous one first; one to four, none of them zero.
    pub shape: Vec<u64>,
    /// Its number format.
    pub ty: TensorType,
    /// Place within the tensor data, a multiple of the alignment.
    pub offset: u64,
    /// Bytes of its data, without padding.
    pub bytes: u64,
}

impl Tensor {
    /// Elements in all.
    #[must_use]
    pub fn elements(&self) -> u64 {
        self.shape.iter().product()
    }
}

/// Reads `count` descriptions and checks each by itself.
pub(super) fn read_table<R: Read + Seek>(
    cursor: &mut Cursor<'_, R>,
    budget: &mut Budget,
    count: u64,
) -> Result<Vec<Tensor>, GgufError> {
    let mut tensors = Vec::new();
    for _ in 0..count {
        let tensor = read_tensor(cursor)?;
        let heap = tensor.name.len() + tensor.shape.len() * size_of::<u64>();
        budget.retain((size_of::<Tensor>() + heap) as u64)?;
        tensors.push(tensor);
    }
    Ok(tensors)
}

fn read_tensor<R: Read + Seek>(cursor: &mut Cursor<'_, R>) -> Result<Tensor, GgufError> {
    let name = cursor.name("a tensor's name", limits::MAX_TENSOR_NAME_BYTES)?;
    let dimensions = cursor.u32()?;
    if dimensions == 0 || dimensions > limits::MAX_DIMENSIONS {
        return Err(GgufError::BadShape(excerpt(&name)));
    }
    let shape = (0..dimensions)
        .map(|_| cursor.u64())
        .collect::<Result<Vec<_>, _>>()?;
    let id = cursor.u32()?;
    let Some(ty) = TensorType::from_id(id) else {
        return Err(GgufError::UnknownTensorType {
            tensor: excerpt(&name),
            id,
        });
    };
    let bytes = tensor_bytes(&name, &shape, ty)?;
    let offset = cursor.u64()?;
    Ok(Tensor {
        name,
        shape,
        ty,
        offset,
        bytes,
    })
}

/// Bytes of a tensor. ggml counts elements and strides in signed 64-bit numbers, so both counts
/// must fit there.
fn tensor_bytes(name: &str, shape: &[u64], ty: TensorType) -> Result<u64, GgufError> {
    if shape.contains(&0) {
        return Err(GgufError::BadShape(excerpt(name)));
    }
    if !shape[0].is_multiple_of(ty.block_elements()) {
        return Err(GgufError::BrokenBlock {
            tensor: excerpt(name),
            ty,
        });
    }
    let fits = |total: &u64| i64::try_from(*total).is_ok();
    shape
        .iter()
        .try_fold(1_u64, |total, side| total.checked_mul(*side))
        .filter(fits)
        .and_then(|elements| ty.row_bytes(elements))
        .filter(fits)
        .ok_or_else(|| GgufError::TensorTooLarge(excerpt(name)))
}

/// Where the tensor data lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// First byte of the data in the file.
    pub(super) start: u64,
    /// Distance that tensors keep.
    pub(super) alignment: u64,
    /// Length of the file.
    pub(super) file_bytes: u64,
}

/// Checks that tensors follow one another in file order, padded to the alignment and nothing
/// more, and that each ends within the file.
pub(super) fn check_layout(tensors: &[Tensor], place: Place) -> Result<(), GgufError> {
    let mut expected = 0_u64;
    for tensor in tensors {
        let name = || excerpt(&tensor.name);
        if !tensor.offset.is_multiple_of(place.alignment) {
            return Err(GgufError::TensorMisaligned {
                tensor: name(),
                offset: tensor.offset,
            });
        }
        if tensor.offset < expected {
            return Err(GgufError::TensorOverlap(name()));
        }
        if tensor.offset > expected {
            return Err(GgufError::TensorGap(name()));
        }
        let end = expected
            .checked_add(tensor.bytes)
            .ok_or_else(|| GgufError::TensorTooLarge(name()))?;
        let in_file = end
            .checked_add(place.start)
            .ok_or_else(|| GgufError::TensorTooLarge(name()))?;
        if in_file > place.file_bytes {
            let (tensor, file_bytes) = (name(), place.file_bytes);
            return Err(GgufError::TensorOutsideFile {
                tensor,
                end: in_file,
                file_bytes,
            });
        }
        expected = end
            .checked_next_multiple_of(place.alignment)
            .ok_or_else(|| GgufError::TensorTooLarge(name()))?;
    }
    Ok(())
}
