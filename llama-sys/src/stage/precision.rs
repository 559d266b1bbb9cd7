//! How hidden states are written on the wire: exactly, rounded to bf16, or in blocks of eight
//! bits. Never f16: the outliers of some models' hidden states are beyond its range.

use bytes::{BufMut, BytesMut};

/// Numbers that share a scale in [`Precision::Q8`]: ggml's own block.
const BLOCK: usize = 32;

/// Bytes of a block: the scale and one byte a number.
const BLOCK_BYTES: usize = 4 + BLOCK;

/// A format of hidden states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Precision {
    /// As they are: a chain gives the bits that one machine gives.
    #[default]
    F32,
    /// The upper half of each number, rounded to even: at the noise between two runs.
    Bf16,
    /// A scale for 32 numbers and eight bits each: for slow uplinks, by explicit choice.
    Q8,
}

impl Precision {
    /// Its number on the wire.
    #[must_use]
    pub fn id(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::Bf16 => 1,
            Self::Q8 => 2,
        }
    }

    /// The format with a number on the wire.
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        match id {
            0 => Some(Self::F32),
            1 => Some(Self::Bf16),
            2 => Some(Self::Q8),
            _ => None,
        }
    }

    /// Bytes of a row of so many numbers.
    #[must_use]
    pub fn row_bytes(self, width: usize) -> usize {
        match self {
            Self::F32 => width * 4,
            Self::Bf16 => width * 2,
            Self::Q8 => width.div_ceil(BLOCK) * BLOCK_BYTES,
        }
    }

    /// Appends a row.
    pub fn put(self, row: &[f32], out: &mut BytesMut) {
        out.reserve(self.row_bytes(row.len()));
        match self {
            Self::F32 => row.iter().for_each(|x| out.put_f32_le(*x)),
            Self::Bf16 => row.iter().for_each(|x| out.put_u16_le(to_bf16(*x))),
            Self::Q8 => row.chunks(BLOCK).for_each(|block| put_block(block, out)),
        }
    }

    /// Appends the numbers of a row of `width` to `out`. Bytes beyond the row are not looked at;
    /// of a row that is too short nothing is read.
    pub fn take(self, row: &[u8], width: usize, out: &mut Vec<f32>) {
        let Some(row) = row.get(..self.row_bytes(width)) else {
            return;
        };
        match self {
            Self::F32 => {
                let (numbers, _) = row.as_chunks::<4>();
                out.extend(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)));
            }
            Self::Bf16 => {
                let (numbers, _) = row.as_chunks::<2>();
                let halves = numbers.iter().map(|bytes| u16::from_le_bytes(*bytes));
                out.extend(halves.map(|half| f32::from_bits(u32::from(half) << 16)));
            }
            Self::Q8 => {
                let end = out.len() + width;
                let (blocks, _) = row.as_chunks::<BLOCK_BYTES>();
                blocks.iter().for_each(|block| take_block(block, out));
                out.truncate(end);
            }
        }
    }
}

/// Rounds to nearest, ties to even. What is no number stays none.
fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = if x.is_nan() {
        bits | 0x0040_0000
    } else {
        bits.wrapping_add(0x7fff + ((bits >> 16) & 1))
    };
    let [_, _, low, high] = rounded.to_le_bytes();
    u16::from_le_bytes([low, high])
}

fn put_block(block: &[f32], out: &mut BytesMut) {
    // What is no number makes the scale none, so that the receiver sees it.
    let largest = block.iter().fold(0.0_f32, |largest, x| {
        if x.is_nan() {
            f32::NAN
        } else {
            largest.max(x.abs())
        }
    });
    let scale = if block.iter().any(|x| x.is_nan()) {
        f32::NAN
    } else {
        largest / 127.0
    };
    out.put_f32_le(scale);
    for at in 0..BLOCK {
        let x = block.get(at).copied().unwrap_or(0.0);
        let step = if scale > 0.0 {
            (x / scale).round()
        } else {
            0.0
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "clamped; no number becomes 0"
        )]
        out.put_i8(step.clamp(-127.0, 127.0) as i8);
    }
}

fn take_block(block: &[u8; BLOCK_BYTES], out: &mut Vec<f32>) {
    let [a, b, c, d, steps @ ..] = block;
    let scale = f32::from_le_bytes([*a, *b, *c, *d]);
    out.extend(
        steps
            .iter()
            .map(|step| f32::from(step.cast_signed()) * scale),
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(precision: Precision, row: &[f32]) -> Vec<f32> {
        let mut bytes = BytesMut::new();
        precision.put(row, &mut bytes);
        assert_eq!(bytes.len(), precision.row_bytes(row.len()));
        let mut out = Vec::new();
        precision.take(&bytes, row.len(), &mut out);
        out
    }

    proptest! {
        #[test]
        fn f32_is_exact_and_the_others_are_near(
            row in prop::collection::vec(-1e6_f32..1e6, 0..100)
        ) {
            prop_assert_eq!(&round_trip(Precision::F32, &row), &row);
            let near = |x: f32, y: f32, by: f32| (x - y).abs() <= by;
            for (x, y) in row.iter().zip(round_trip(Precision::Bf16, &row)) {
                prop_assert!(near(*x, y, x.abs() / 256.0));
            }
            let coded = round_trip(Precision::Q8, &row);
            prop_assert_eq!(coded.len(), row.len());
            for (block, coded) in row.chunks(32).zip(coded.chunks(32)) {
                let largest = block.iter().fold(0.0_f32, |m, x| m.max(x.abs()));
                for (x, y) in block.iter().zip(coded) {
                    prop_assert!(near(*x, *y, largest / 250.0));
                }
            }
        }
    }

    #[test]
    fn what_is_no_number_arrives_as_none() {
        for precision in [Precision::F32, Precision::Bf16, Precision::Q8] {
            for bad in [f32::NAN, f32::INFINITY] {
                let row = round_trip(precision, &[1.0, bad, 2.0]);
                assert!(row.iter().any(|x| !x.is_finite()), "{precision:?} {bad}");
            }
        }
        let mut out = Vec::new();
        Precision::F32.take(&[0; 7], 2, &mut out);
        assert!(out.is_empty(), "a row that is cut short");
    }
}
