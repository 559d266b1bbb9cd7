//! Golden bytes, round trips, what is refused, and that chunks cover files.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    ids::ManifestId,
    limits::{
        MAX_CHUNK_BYTES, MAX_HELD_RUNS, MAX_MANIFEST_BYTES, MAX_MODEL_BYTES, MAX_MODEL_CHUNKS,
        MAX_MODEL_FILES, MAX_RANGE_BYTES, MAX_WEIGHTS_REPLY_BYTES, MAX_WEIGHTS_REQUEST_BYTES,
        MIN_CHUNK_BYTES,
    },
};

const ID: ManifestId = ManifestId::new([7; 32]);

fn manifest(files: &[Vec<u8>]) -> Manifest {
    let lengths: Vec<u64> = files.iter().map(|file| file.len() as u64).collect();
    let layout = Layout::new(&lengths).unwrap();
    let size = usize::try_from(layout.chunk_bytes()).unwrap();
    let hashes = files.iter().flat_map(|file| file.chunks(size));
    let hashes = hashes.map(ChunkHash::of).collect();
    Manifest::new(layout, hashes).unwrap()
}

#[test]
fn a_manifests_bytes_and_id_are_golden() {
    let manifest = manifest(&[vec![1; 4096], vec![2; 5000]]);
    let bytes = manifest.encode();
    let hash = |bytes: &[u8]| blake3::hash(bytes).as_bytes().to_vec();
    let hashes = [&[1; 4096][..], &[2; 4096], &[2; 904]].map(hash).concat();
    let expected = [
        b"shoal/weights/1\0".as_slice(),
        &[0, 0, 0, 2],
        &4096_u64.to_be_bytes(),
        &5000_u64.to_be_bytes(),
        &hashes,
    ];
    assert_eq!(bytes, expected.concat());
    assert_eq!(
        manifest.id().to_string(),
        "a66360ba7bcea8e4785d1622a0fc1953c8b789e78d68959d6f64fcaf33e1e24e"
    );
    assert_eq!(Manifest::read(manifest.id(), &bytes), Ok(manifest.clone()));
    assert_eq!(Manifest::read(ID, &bytes), Err(ManifestError::Other));
    assert!(manifest.is_chunk(2, &[2; 904]) && !manifest.is_chunk(2, &[2; 905]));
    assert!(!manifest.is_chunk(2, &[1; 904]) && !manifest.is_chunk(3, &[2; 904]));
}

#[test]
fn manifests_that_cannot_be_are_refused() {
    let good = manifest(&[vec![1; 9000]]).encode();
    let decode = |bytes: &[u8]| Manifest::decode(bytes).unwrap_err();
    assert_eq!(decode(&[]), ManifestError::Mark);
    assert_eq!(decode(&good[1..]), ManifestError::Mark);
    for length in 16..good.len() {
        assert_eq!(decode(&good[..length]), ManifestError::Length, "{length}");
    }
    assert_eq!(decode(&[&good[..], &[0]].concat()), ManifestError::Length);
    assert_eq!(
        decode(&[&good[..], &[0; 32]].concat()),
        ManifestError::Length
    );
    let mut none = good.clone();
    none[16..20].fill(0);
    assert_eq!(decode(&none[..20]), LayoutError::Files(0).into());
    let mut many = good.clone();
    many[16..20].fill(0xff);
    assert!(matches!(
        decode(&many),
        ManifestError::Layout(LayoutError::Files(_))
    ));
    let mut huge = good;
    huge[20..28].fill(0xff);
    assert_eq!(decode(&huge), LayoutError::TooLarge.into());
    let long = vec![0; MAX_MANIFEST_BYTES + 1];
    assert!(matches!(decode(&long), ManifestError::TooLarge(_)));
    assert_eq!(Layout::new(&[1, 0]), Err(LayoutError::Empty));
    assert_eq!(
        Layout::new(&[1; MAX_MODEL_FILES + 1]),
        Err(LayoutError::Files(1025))
    );
    assert_eq!(Layout::new(&[u64::MAX, 2]), Err(LayoutError::TooLarge));
}

#[test]
fn chunks_grow_with_the_model_and_the_largest_fits() {
    let chunk = |bytes| Layout::new(&[bytes]).unwrap().chunk_bytes();
    assert_eq!(chunk(1), MIN_CHUNK_BYTES);
    assert_eq!(chunk(98 << 20), 32 << 10);
    assert_eq!(chunk(1 << 30), 256 << 10);
    assert_eq!(chunk(40 << 30), MAX_CHUNK_BYTES);
    let mut lengths = vec![1; MAX_MODEL_FILES];
    lengths[0] = MAX_MODEL_BYTES - lengths.len() as u64 + 1;
    let largest = Layout::new(&lengths).unwrap();
    assert_eq!(largest.bytes(), MAX_MODEL_BYTES);
    assert!(largest.chunk_count() <= MAX_MODEL_CHUNKS);
    let bytes = 20 + 8 * lengths.len() + 32 * usize::try_from(largest.chunk_count()).unwrap();
    assert!(bytes <= MAX_MANIFEST_BYTES);
}

#[test]
fn messages_are_golden() {
    let id = "07".repeat(32);
    let span = Span {
        file: 1,
        offset: 300,
        length: 5,
    };
    let requests = [
        (WeightsRequest::Manifest(ID), format!("0a220a20{id}")),
        (
            WeightsRequest::Range(ID, span),
            format!("12290a20{id}100118ac022005"),
        ),
        (WeightsRequest::Have(ID), format!("1a220a20{id}")),
    ];
    for (request, golden) in requests {
        assert_eq!(hex::encode(request.encode()), golden);
        assert_eq!(WeightsRequest::decode(&request.encode()), Ok(request));
    }
    let busy = Refusal {
        code: RefusalCode::Busy,
        retry_after: Some(Duration::from_secs(1)),
    };
    let replies = [
        (WeightsReply::Data(300), "0a0308ac02"),
        (WeightsReply::Have(vec![0..2, 5..6]), "12060a0400020501"),
        (WeightsReply::Refused(busy), "1a05080210e807"),
        (
            WeightsReply::Refused(RefusalCode::NotHeld.into()),
            "1a020801",
        ),
    ];
    for (reply, golden) in replies {
        assert_eq!(hex::encode(reply.encode()), golden);
        assert_eq!(WeightsReply::decode(&reply.encode()), Ok(reply));
    }
}

#[test]
fn messages_that_cannot_be_are_refused() {
    use WeightsMessageError as E;
    let range = |file, offset, length| {
        let span = Span {
            file,
            offset,
            length,
        };
        WeightsRequest::decode(&WeightsRequest::Range(ID, span).encode())
    };
    assert!(range(0, 0, MAX_RANGE_BYTES).is_ok());
    for (file, offset, length) in [
        (0, 0, 0),
        (0, 0, MAX_RANGE_BYTES + 1),
        (0, u64::MAX, 1),
        (0, MAX_MODEL_BYTES, 1),
        (1024, 0, 1),
    ] {
        assert_eq!(range(file, offset, length), Err(E::Range));
    }
    assert_eq!(WeightsRequest::decode(&[]), Err(E::Empty));
    assert!(matches!(WeightsRequest::decode(&[0x0a, 0]), Err(E::Id(_))));
    assert!(matches!(
        WeightsRequest::decode(&[0xff]),
        Err(E::Malformed(_))
    ));
    let long = vec![0; MAX_WEIGHTS_REPLY_BYTES + 1];
    assert!(matches!(
        WeightsReply::decode(&long),
        Err(E::TooLarge { .. })
    ));
    let long = &long[..MAX_WEIGHTS_REQUEST_BYTES + 1];
    assert!(matches!(
        WeightsRequest::decode(long),
        Err(E::TooLarge { .. })
    ));
    let bytes = WeightsReply::Data(MAX_RANGE_BYTES + 1).encode();
    assert!(matches!(WeightsReply::decode(&bytes), Err(E::Bytes(_))));
    for runs in [
        vec![3..5, 5..6],
        vec![3..5, 1..2],
        std::iter::once(MAX_MODEL_CHUNKS..MAX_MODEL_CHUNKS + 1).collect(),
    ] {
        let bytes = WeightsReply::Have(runs).encode();
        assert_eq!(WeightsReply::decode(&bytes), Err(E::Runs));
    }
    // An odd number of numbers, and an empty run.
    assert_eq!(WeightsReply::decode(&[0x12, 3, 0x0a, 1, 4]), Err(E::Runs));
    assert_eq!(
        WeightsReply::decode(&[0x12, 4, 0x0a, 2, 4, 0]),
        Err(E::Runs)
    );
}

#[test]
fn the_longest_reply_fits() {
    let most = u32::try_from(MAX_HELD_RUNS).unwrap();
    let every_other = (0..most + 9).map(|n| MAX_MODEL_CHUNKS - 2 * n - 1);
    let set = ChunkSet::of_runs(MAX_MODEL_CHUNKS, every_other.map(|at| at..at + 1));
    let runs = set.longest_runs();
    assert_eq!(runs.len(), MAX_HELD_RUNS);
    let bytes = WeightsReply::Have(runs.clone()).encode();
    assert!(bytes.len() <= MAX_WEIGHTS_REPLY_BYTES, "{}", bytes.len());
    assert_eq!(WeightsReply::decode(&bytes), Ok(WeightsReply::Have(runs)));
}

proptest! {
    #[test]
    fn chunks_cover_every_file_once(lengths in prop::collection::vec(1_u64..200_000, 1..5)) {
        let layout = Layout::new(&lengths).unwrap();
        let mut at: Vec<u64> = vec![0; lengths.len()];
        for chunk in 0..layout.chunk_count() {
            let span = layout.span(chunk).unwrap();
            let file = usize::try_from(span.file).unwrap();
            prop_assert_eq!(span.offset, at[file]);
            at[file] += span.length;
            prop_assert_eq!(layout.chunks_of(span), Some(chunk..chunk + 1));
            prop_assert!(layout.file_end(chunk) > chunk);
        }
        prop_assert_eq!(at, lengths);
        prop_assert_eq!(layout.span(layout.chunk_count()), None);
    }

    #[test]
    fn a_span_is_rounded_out_by_less_than_two_chunks(
        bytes in 1_u64..10_000_000, from in any::<u64>(), length in any::<u64>(),
    ) {
        let layout = Layout::new(&[7, bytes]).unwrap();
        let offset = from % bytes;
        let length = 1 + length % (bytes - offset);
        let chunks = layout.chunks_of(Span { file: 1, offset, length }).unwrap();
        let whole = layout.span_of(chunks).unwrap();
        prop_assert!(whole.offset <= offset);
        prop_assert!(whole.offset + whole.length >= offset + length);
        prop_assert!(whole.length < length + 2 * layout.chunk_bytes());
        let beyond = Span { file: 1, offset, length: bytes - offset + 1 };
        prop_assert_eq!(layout.chunks_of(beyond), None);
        prop_assert_eq!(layout.chunks_of(Span { file: 2, offset: 0, length: 1 }), None);
    }

    #[test]
    fn a_set_is_its_runs_and_its_bytes(len in 0_u32..300, picks in prop::collection::vec(any::<u32>(), 0..200)) {
        let mut set = ChunkSet::none(len);
        let mut model = std::collections::BTreeSet::new();
        for pick in picks {
            let chunk = pick % 310;
            if pick % 3 == 0 {
                prop_assert_eq!(set.remove(chunk), model.remove(&chunk));
            } else {
                prop_assert_eq!(set.insert(chunk), chunk < len && model.insert(chunk));
            }
        }
        prop_assert_eq!(usize::try_from(set.count()).unwrap(), model.len());
        let listed: Vec<u32> = set.runs().flatten().collect();
        prop_assert_eq!(listed, model.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(&ChunkSet::of_runs(len, set.runs()), &set);
        let read = ChunkSet::from_bytes(len, &set.to_bytes());
        prop_assert_eq!(read.as_ref(), Some(&set));
        prop_assert!(ChunkSet::all(len).contains_all(&set));
        let rest = ChunkSet::all(len).without(&set);
        prop_assert_eq!(rest.count() + set.count(), len);
        prop_assert_eq!(rest.with(&set), ChunkSet::all(len));
        prop_assert!(rest.within(&set).is_empty());
        prop_assert!(set.runs().all(|run| set.contains_run(run)));
        prop_assert!(!rest.runs().any(|run| set.contains_run(run)));
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(request) = WeightsRequest::decode(&bytes) {
            prop_assert_eq!(WeightsRequest::decode(&request.encode()), Ok(request));
        }
        if let Ok(reply) = WeightsReply::decode(&bytes) {
            prop_assert_eq!(WeightsReply::decode(&reply.encode()), Ok(reply));
        }
        let marked = [b"shoal/weights/1\0".as_slice(), &bytes].concat();
        if let Ok(manifest) = Manifest::decode(&marked) {
            prop_assert_eq!(manifest.encode(), marked);
        }
        let _ = ChunkSet::from_bytes(100, &bytes);
    }
}
