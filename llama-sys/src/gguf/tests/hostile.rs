//! Files that chance or a stranger has changed: whatever they hold, reading ends, does not panic
//! and keeps to the limits; what is accepted is sound.

use std::io::{Read, Result, Seek, SeekFrom};

use proptest::prelude::*;

use super::*;

/// Reads, and checks what an accepted header promises.
fn survives(bytes: Vec<u8>) {
    let length = bytes.len() as u64;
    let mut source = Cursor::new(bytes);
    let Ok(header) = Header::read(&mut source) else {
        return;
    };
    assert!(header.retained_bytes() <= limits::MAX_RETAINED_BYTES);
    assert!(header.alignment().is_power_of_two());
    let mut end = 0;
    for tensor in header.tensors() {
        assert!(tensor.offset >= end && tensor.offset.is_multiple_of(header.alignment()));
        assert_eq!(header.tensor(&tensor.name), Some(tensor));
        end = tensor.offset + tensor.bytes;
        assert!(header.data_offset() + end <= length);
    }
    for (key, entry) in header.entries() {
        assert!(entry.offset + entry.bytes <= length);
        header.text_element(&mut source, key, 1).unwrap();
    }
    if let Ok(facts) = ModelFacts::from_header(&header) {
        let estimate = facts.memory_estimate(u64::MAX, u64::MAX);
        assert!(estimate.total() >= facts.tensor_bytes);
    }
}

/// A small whole file: values of every kind, or the specimen's header and what makes facts.
fn whole(model: bool) -> Vec<u8> {
    if model {
        specimen::tiny_llama().bytes()
    } else {
        every_kind().bytes()
    }
}

/// Numbers that break careless arithmetic.
fn nasty() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX),
        Just(i64::MAX as u64),
        Just(1 << 63),
        Just(u64::from(u32::MAX)),
        Just(1 << 32),
        (0_u32..64).prop_map(|shift| 1 << shift),
        any::<u64>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        survives(bytes);
    }

    #[test]
    fn arbitrary_bytes_behind_a_sound_start(
        keys in 0_u64..4,
        tensors in 0_u64..4,
        rest in prop::collection::vec(prop_oneof![3 => 0_u8..16, 1 => any::<u8>()], 0..256),
    ) {
        let mut bytes = Builder::default().header();
        bytes[8..16].copy_from_slice(&tensors.to_le_bytes());
        bytes[16..24].copy_from_slice(&keys.to_le_bytes());
        bytes.extend(rest);
        survives(bytes);
    }

    #[test]
    fn flipped_bits(
        model in any::<bool>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..8),
    ) {
        let mut bytes = whole(model);
        let header = bytes.len().min(8192);
        for (place, bit) in flips {
            bytes[place.index(header)] ^= 1 << bit;
        }
        survives(bytes);
    }

    #[test]
    fn replaced_numbers(
        model in any::<bool>(),
        place in any::<prop::sample::Index>(),
        number in nasty(),
        wide in any::<bool>(),
    ) {
        let mut bytes = whole(model);
        let at = place.index(bytes.len().min(8192) - 8);
        let width = if wide { 8 } else { 4 };
        bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
        survives(bytes);
    }

    #[test]
    fn cut_and_spliced(
        model in any::<bool>(),
        cut in any::<prop::sample::Index>(),
        removed in 0_usize..64,
        inserted in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut bytes = whole(model);
        let start = cut.index(bytes.len());
        let end = (start + removed).min(bytes.len());
        bytes.splice(start..end, inserted);
        survives(bytes);
    }

    #[test]
    fn lying_about_the_length(length in nasty(), cut in any::<prop::sample::Index>()) {
        let mut bytes = whole(false);
        bytes.truncate(cut.index(bytes.len()));
        let refused = Header::read_prefix(&mut Cursor::new(bytes), length);
        if let Err(error) = refused {
            prop_assert!(error.is_cut_short() || length > 1 << 28, "{error}");
        }
    }

    #[test]
    fn split_names(name in "[a-c-]{0,8}(-[0-9]{5}-of-[0-9]{5}|.{0,12})\\.gguf") {
        if let Some(split) = SplitName::parse(&name) {
            prop_assert_eq!(split.sibling(split.number), name);
            prop_assert!(u64::from(split.count) <= limits::MAX_SPLITS);
        }
    }
}

/// A file of any length that holds zeros around its pieces, as a sparse file does.
struct Sparse {
    pieces: Vec<(u64, Vec<u8>)>,
    length: u64,
    position: u64,
}

impl Read for Sparse {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let left = self.length.saturating_sub(self.position);
        let count = out.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let window = self.position..self.position + count as u64;
        out[..count].fill(0);
        for (start, piece) in &self.pieces {
            for (at, byte) in (*start..).zip(piece).filter(|(at, _)| window.contains(at)) {
                out[usize::try_from(at - window.start).unwrap()] = *byte;
            }
        }
        self.position = window.end;
        Ok(count)
    }
}

impl Seek for Sparse {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        self.position = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::Current(by) => self.position.strict_add_signed(by),
            SeekFrom::End(by) => self.length.strict_add_signed(by),
        };
        Ok(self.position)
    }
}

fn sparse(pieces: Vec<(u64, Vec<u8>)>) -> std::result::Result<Header, GgufError> {
    Header::read(&mut Sparse {
        pieces,
        length: 1 << 40,
        position: 0,
    })
}

#[test]
fn a_sparse_file_does_not_lengthen_the_header() {
    let long = limits::MAX_STRING_BYTES;
    let beginning = Builder::default()
        .array("k", 8, 8, &long.to_le_bytes())
        .header();
    let first = beginning.len() as u64;
    let next = (1..8).map(|n| (first + n * (long + 8) - 8, long.to_le_bytes().to_vec()));
    let refused = sparse([(0, beginning)].into_iter().chain(next).collect());
    assert!(
        matches!(refused, Err(GgufError::HeaderTooLong { .. })),
        "{refused:?}"
    );
}

#[test]
fn the_largest_array_of_empty_texts_is_walked_and_not_kept() {
    let full = Builder::default()
        .array("k", 8, limits::MAX_ARRAY_ELEMENTS, &[])
        .header();
    let header = sparse(vec![(0, full)]).unwrap();
    assert!(
        header.retained_bytes() < 128 << 10,
        "{}",
        header.retained_bytes()
    );
}
