//! What a slice's file is made of, byte for byte: a list of pieces in order, each from the plan
//! itself, from a file of the source, or zeros. It does no I/O and knows nothing of models.

use std::ops::Range;

use super::SliceError;
use super::metadata::{PlannedKey, string};
use crate::gguf::{Header, TensorType};

/// The format's version that slices are written in.
const VERSION: u32 = 3;

/// A piece of a slice's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins in the slice.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// Where its bytes come from.
    pub origin: Origin,
}

/// Where a piece's bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From [`SlicePlan::written`], from this place on.
    Plan {
        /// The place.
        offset: usize,
    },
    /// From a file of the source.
    File {
        /// Which one, counted from 0.
        file: usize,
        /// First byte in it.
        offset: u64,
    },
    /// They are zero.
    Zeros,
}

/// Where bytes of the source go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// First byte in the source's file.
    pub from: u64,
    /// First byte in the slice.
    pub to: u64,
    /// How many.
    pub bytes: u64,
}

/// What a slice's file is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePlan {
    pieces: Vec<Piece>,
    written: Vec<u8>,
    bytes: u64,
    header_bytes: u64,
    /// The pieces that come from files, in the order of files and of places in them.
    by_source: Vec<u32>,
}

/// A tensor of a slice.
#[derive(Debug)]
pub(super) struct PlannedTensor {
    pub(super) name: String,
    pub(super) shape: Vec<u64>,
    pub(super) ty: TensorType,
    /// Bytes without padding.
    pub(super) bytes: u64,
    pub(super) data: TensorData,
}

/// Where a tensor's data come from.
#[derive(Debug)]
pub(super) enum TensorData {
    /// They are zero.
    Zeros,
    /// From a file of the source.
    File {
        /// Which one.
        file: usize,
        /// Places within its tensor data, one after the other.
        parts: Vec<Range<u64>>,
    },
}

impl SlicePlan {
    /// Puts a file together. `headers` are the source's, the first of which holds the metadata.
    pub(super) fn assemble(
        headers: &[Header],
        keys: Vec<PlannedKey>,
        tensors: Vec<PlannedTensor>,
    ) -> Result<Self, SliceError> {
        let alignment = headers[0].alignment();
        let mut out = Pieces::default();
        out.write(b"GGUF")?;
        out.write(&VERSION.to_le_bytes())?;
        out.write(&(tensors.len() as u64).to_le_bytes())?;
        out.write(&(keys.len() as u64).to_le_bytes())?;
        for key in keys {
            match key {
                PlannedKey::Written(bytes) => out.write(&bytes)?,
                PlannedKey::Copied { offset, bytes } => {
                    out.add(bytes, Origin::File { file: 0, offset })?;
                }
            }
        }
        out.write(&table(&tensors, alignment)?)?;
        out.pad(alignment)?;
        let header_bytes = out.end;
        for tensor in tensors {
            match tensor.data {
                TensorData::Zeros => out.add(tensor.bytes, Origin::Zeros)?,
                TensorData::File { file, parts } => {
                    for part in parts {
                        // Within the file, as its reader has checked.
                        let offset = headers[file].data_offset() + part.start;
                        out.add(part.end - part.start, Origin::File { file, offset })?;
                    }
                }
            }
            out.pad(alignment)?;
        }
        Ok(out.into_plan(header_bytes))
    }

    /// Length of the slice's file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Length of the file's header with its padding: everything before the tensor data.
    #[must_use]
    pub fn header_bytes(&self) -> u64 {
        self.header_bytes
    }

    /// What the file takes on disk: zeros are left out.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        let stored = self.pieces.iter().filter(|p| p.origin != Origin::Zeros);
        stored.map(|piece| piece.bytes).sum()
    }

    /// The pieces, in order and without gaps from the start to the end of the file.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The bytes that are neither the source's nor zeros.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        &self.written
    }

    /// The parts of the source's file `file` that are needed, in order, apart from one another.
    #[must_use]
    pub fn needed(&self, file: usize) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (_, from, piece) in self.sourced().filter(|(of, ..)| *of == file) {
            let end = from + piece.bytes;
            match ranges.last_mut() {
                Some(last) if last.end == from => last.end = end,
                _ => ranges.push(from..end),
            }
        }
        ranges
    }

    /// Where bytes of the source's file `file` go; those that are not needed go nowhere.
    pub fn placements(
        &self,
        file: usize,
        range: Range<u64>,
    ) -> impl Iterator<Item = Placement> + '_ {
        let first = self.by_source.partition_point(|index| {
            let (of, from, piece) = self.source_of(*index);
            (of, from.saturating_add(piece.bytes)) <= (file, range.start)
        });
        let rest = self.by_source[first..].iter();
        rest.map(|index| self.source_of(*index))
            .take_while(move |(of, from, _)| *of == file && *from < range.end)
            .filter_map(move |(_, from, piece)| {
                let start = from.max(range.start);
                let end = (from + piece.bytes).min(range.end);
                (start < end).then(|| Placement {
                    from: start,
                    to: piece.offset + (start - from),
                    bytes: end - start,
                })
            })
    }

    fn sourced(&self) -> impl Iterator<Item = (usize, u64, Piece)> + '_ {
        self.by_source.iter().map(|index| self.source_of(*index))
    }

    fn source_of(&self, index: u32) -> (usize, u64, Piece) {
        let piece = self.pieces[index as usize];
        match piece.origin {
            Origin::File { file, offset } => (file, offset, piece),
            // Not in `by_source`.
            Origin::Plan { .. } | Origin::Zeros => (usize::MAX, u64::MAX, piece),
        }
    }
}

/// The tensor table.
fn table(tensors: &[PlannedTensor], alignment: u64) -> Result<Vec<u8>, SliceError> {
    let mut out = Vec::new();
    let mut offset = 0_u64;
    for tensor in tensors {
        let dimensions = u32::try_from(tensor.shape.len()).map_err(|_| SliceError::TooLarge)?;
        out.extend(string(&tensor.name));
        out.extend(dimensions.to_le_bytes());
        out.extend(tensor.shape.iter().flat_map(|side| side.to_le_bytes()));
        out.extend(tensor.ty.id().to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset = offset
            .checked_add(tensor.bytes)
            .and_then(|end| end.checked_next_multiple_of(alignment))
            .ok_or(SliceError::TooLarge)?;
    }
    Ok(out)
}

/// Pieces on their way; neighbours that are neighbours in their source, too, become one.
#[derive(Debug, Default)]
struct Pieces {
    pieces: Vec<Piece>,
    written: Vec<u8>,
    end: u64,
}

impl Pieces {
    fn write(&mut self, bytes: &[u8]) -> Result<(), SliceError> {
        let offset = self.written.len();
        self.written.extend_from_slice(bytes);
        self.add(bytes.len() as u64, Origin::Plan { offset })
    }

    fn pad(&mut self, alignment: u64) -> Result<(), SliceError> {
        let to = self.end.checked_next_multiple_of(alignment);
        self.add(to.ok_or(SliceError::TooLarge)? - self.end, Origin::Zeros)
    }

    fn add(&mut self, bytes: u64, origin: Origin) -> Result<(), SliceError> {
        if bytes == 0 {
            return Ok(());
        }
        let offset = self.end;
        let end = offset.checked_add(bytes).ok_or(SliceError::TooLarge)?;
        // Files are measured in signed numbers.
        self.end = i64::try_from(end)
            .map(|_| end)
            .map_err(|_| SliceError::TooLarge)?;
        match self.pieces.last_mut() {
            Some(last) if continues(last, origin) => last.bytes += bytes,
            _ => self.pieces.push(Piece {
                offset,
                bytes,
                origin,
            }),
        }
        Ok(())
    }

    fn into_plan(self, header_bytes: u64) -> SlicePlan {
        let from = |index: &u32| match self.pieces[*index as usize].origin {
            Origin::File { file, offset } => Some((file, offset)),
            Origin::Plan { .. } | Origin::Zeros => None,
        };
        let count = u32::try_from(self.pieces.len()).expect("a few for each tensor and key");
        let mut by_source: Vec<u32> = (0..count).filter(|index| from(index).is_some()).collect();
        by_source.sort_by_key(from);
        SlicePlan {
            by_source,
            bytes: self.end,
            header_bytes,
            pieces: self.pieces,
            written: self.written,
        }
    }
}

fn continues(last: &Piece, next: Origin) -> bool {
    match (last.origin, next) {
        (Origin::Plan { offset }, Origin::Plan { offset: next }) => {
            offset as u64 + last.bytes == next as u64
        }
        (
            Origin::File { file, offset },
            Origin::File {
                file: of,
                offset: next,
            },
        ) => file == of && offset + last.bytes == next,
        (Origin::Zeros, Origin::Zeros) => true,
        _ => false,
    }
}
