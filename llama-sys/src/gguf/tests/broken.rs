//! A corpus of broken files, each with the error that names what is wrong.

use super::*;

/// Asserts that a file is refused with a fitting error.
macro_rules! refused {
    ($bytes:expr, $pattern:pat $(if $guard:expr)?) => {
        match read($bytes) {
            Err($pattern) $(if $guard)? => {}
            other => panic!("{other:?}"),
        }
    };
}

/// A key whose string length is `claimed`, and nothing behind it.
fn claims_key_of(claimed: u64) -> Vec<u8> {
    let mut bytes = Builder::default().header();
    bytes[16..24].copy_from_slice(&1_u64.to_le_bytes());
    bytes.extend(claimed.to_le_bytes());
    bytes
}

fn with_tensor(shape: &[u64], type_id: u32) -> Vec<u8> {
    Builder::new("llama")
        .tensor_zeros("t", shape, type_id, 32)
        .bytes()
}

#[test]
fn no_gguf() {
    refused!(Vec::new(), GgufError::Truncated { at: 0 });
    refused!(b"GGU".to_vec(), GgufError::Truncated { at: 0 });
    refused!(b"GGML\x03\0\0\0".to_vec(), GgufError::NotGguf);
    refused!(b"PK\x03\x04 an archive".to_vec(), GgufError::NotGguf);
}

#[test]
fn versions() {
    refused!(Builder::default().version(0).bytes(), GgufError::Version(0));
    refused!(Builder::default().version(1).bytes(), GgufError::Version(1));
    refused!(Builder::default().version(4).bytes(), GgufError::Version(4));
    let swapped = Builder::default().version(3_u32.swap_bytes()).bytes();
    refused!(swapped, GgufError::BigEndian);
}

#[test]
fn every_truncation() {
    let whole = every_kind().bytes();
    let start = usize::try_from(read(whole.clone()).unwrap().data_offset()).unwrap();
    for length in 0..start {
        let error = read(whole[..length].to_vec()).unwrap_err();
        assert!(error.is_cut_short(), "{length}: {error}");
    }
    // The last tensor's padding may be missing, its data not.
    let end = whole.len() - 28;
    read(whole[..end].to_vec()).unwrap();
    let error = read(whole[..end - 1].to_vec()).unwrap_err();
    assert!(
        matches!(error, GgufError::TensorOutsideFile { .. }),
        "{error}"
    );
}

#[test]
fn counts() {
    for (at, what) in [(8, "tensors"), (16, "keys")] {
        for count in [1 << 20, 1 << 63, u64::MAX] {
            let mut bytes = every_kind().bytes();
            bytes[at..at + 8].copy_from_slice(&u64::to_le_bytes(count));
            refused!(bytes, GgufError::TooMany { what: w, found, .. } if w == what && found == count);
        }
    }
    let mut bytes = every_kind().bytes();
    let count = u64::from_le_bytes(bytes[16..24].try_into().unwrap());
    bytes[16..24].copy_from_slice(&(count - 1).to_le_bytes());
    assert!(
        read(bytes).is_err(),
        "a key too few: the rest is no tensor table"
    );
}

#[test]
fn keys() {
    refused!(
        claims_key_of(65_536),
        GgufError::TooLong { what: "a key", .. }
    );
    refused!(
        claims_key_of(u64::MAX),
        GgufError::TooLong { what: "a key", .. }
    );
    refused!(claims_key_of(65_535), GgufError::Truncated { .. });
    refused!(
        Builder::default().unsigned("", 1).bytes(),
        GgufError::BadName { what: "a key", .. }
    );
    let mut bytes = Builder::default().unsigned("k", 1).bytes();
    bytes[32] = 0xff;
    refused!(
        bytes,
        GgufError::BadName {
            what: "a key",
            at: 24
        }
    );
    let twice = Builder::new("llama")
        .duplicate("general.architecture")
        .bytes();
    refused!(twice, GgufError::DuplicateKey(key) if key == "general.architecture");
}

#[test]
fn values() {
    let id_13 = Builder::default().value("k", 13, &[0; 8]).bytes();
    refused!(id_13, GgufError::UnknownValueType { id: 13, .. });
    let id_max = Builder::default().value("k", u32::MAX, &[0; 8]).bytes();
    refused!(id_max, GgufError::UnknownValueType { id: u32::MAX, .. });
    let neither = Builder::default().value("k", 7, &[2]).bytes();
    refused!(neither, GgufError::BadBool { found: 2, .. });
    let in_array = Builder::default().array("k", 7, 2, &[1, 9]).bytes();
    refused!(in_array, GgufError::BadBool { found: 9, .. });
    let endless = Builder::default()
        .value("k", 8, &u64::MAX.to_le_bytes())
        .bytes();
    refused!(
        endless,
        GgufError::TooLong {
            what: "a string",
            ..
        }
    );
    let long = Builder::default()
        .value("k", 8, &1000_u64.to_le_bytes())
        .bytes();
    refused!(long, GgufError::Truncated { .. });
}

#[test]
fn arrays() {
    let nested = Builder::default().array("k", 9, 1, &[0; 20]).bytes();
    refused!(nested, GgufError::NestedArray(_));
    let unknown = Builder::default().array("k", 77, 1, &[0; 20]).bytes();
    refused!(unknown, GgufError::UnknownValueType { id: 77, .. });
    for element in [0, 7, 8, 12] {
        let endless = Builder::default()
            .array("k", element, u64::MAX, &[])
            .bytes();
        refused!(
            endless,
            GgufError::TooMany {
                what: "array elements",
                ..
            }
        );
        let long = Builder::default()
            .array("k", element, 1000, &[0; 16])
            .bytes();
        refused!(long, GgufError::Truncated { .. });
        let longer = Builder::default()
            .array("k", element, 1 << 22, &[0; 16])
            .bytes();
        refused!(longer, GgufError::Truncated { .. });
    }
    let strings = Builder::default()
        .array("k", 8, 2, &u64::MAX.to_le_bytes())
        .bytes();
    refused!(
        strings,
        GgufError::TooLong {
            what: "an array's string",
            ..
        }
    );
    // Each array is within the limit, all together are not.
    let half = vec![0; 5 << 20];
    let many = Builder::default()
        .array("a", 0, 5 << 20, &half)
        .array("b", 0, 5 << 20, &half);
    refused!(
        many.bytes(),
        GgufError::TooMany {
            what: "array elements",
            ..
        }
    );
}

#[test]
fn alignments() {
    for alignment in [0_u32, 1, 4, 24, 33, 1 << 21, u32::MAX] {
        let bytes = every_kind()
            .unsigned("general.alignment", alignment)
            .bytes();
        refused!(bytes, GgufError::BadAlignment(_));
    }
    let text = every_kind().text("general.alignment", "32").bytes();
    refused!(text, GgufError::BadAlignment(_));
    let wide = every_kind()
        .value("general.alignment", 10, &32_u64.to_le_bytes())
        .bytes();
    refused!(wide, GgufError::BadAlignment(_));
}

#[test]
fn shapes() {
    refused!(with_tensor(&[], 0), GgufError::BadShape(_));
    refused!(with_tensor(&[1, 1, 1, 1, 1], 0), GgufError::BadShape(_));
    refused!(with_tensor(&[0], 0), GgufError::BadShape(_));
    refused!(with_tensor(&[8, 0], 0), GgufError::BadShape(_));
    refused!(
        with_tensor(&[31], 2),
        GgufError::BrokenBlock {
            ty: TensorType::Q4_0,
            ..
        }
    );
    refused!(
        with_tensor(&[128], 12),
        GgufError::BrokenBlock {
            ty: TensorType::Q4_K,
            ..
        }
    );
    refused!(
        with_tensor(&[1 << 32, 1 << 32], 0),
        GgufError::TensorTooLarge(_)
    );
    refused!(with_tensor(&[1 << 16; 4], 0), GgufError::TensorTooLarge(_));
    refused!(with_tensor(&[1 << 63], 24), GgufError::TensorTooLarge(_));
    refused!(with_tensor(&[u64::MAX], 24), GgufError::TensorTooLarge(_));
    refused!(with_tensor(&[1 << 61], 0), GgufError::TensorTooLarge(_));
    refused!(
        with_tensor(&[1 << 60], 0),
        GgufError::TensorOutsideFile { .. }
    );
}

#[test]
fn tensor_types() {
    for id in [4, 5, 31, 36, 43, 255, u32::MAX] {
        refused!(with_tensor(&[8], id), GgufError::UnknownTensorType { id: found, .. } if found == id);
    }
}

#[test]
fn tensor_names() {
    let named = |name: &str| Builder::default().tensor_f32(name, &[1], &[0.0]).bytes();
    refused!(
        named(""),
        GgufError::BadName {
            what: "a tensor's name",
            ..
        }
    );
    refused!(
        named(&"n".repeat(64)),
        GgufError::TooLong {
            what: "a tensor's name",
            ..
        }
    );
    read(named(&"n".repeat(63))).unwrap();
    let twice = every_kind().tensor_f32("ones", &[3], &[1.0; 3]).bytes();
    refused!(twice, GgufError::DuplicateTensor(name) if name == "ones");
}

#[test]
fn tensor_places() {
    let second = |offset| {
        let two = Builder::default().tensor_f32("a", &[8], &[0.0; 8]);
        two.tensor_f32("b", &[8], &[0.0; 8])
            .claim_offset(offset)
            .bytes()
    };
    read(second(32)).unwrap();
    refused!(second(0), GgufError::TensorOverlap(name) if name == "b");
    refused!(second(33), GgufError::TensorMisaligned { offset: 33, .. });
    refused!(second(64), GgufError::TensorGap(_));
    refused!(second(u64::MAX - 31), GgufError::TensorGap(_));
    // Two tensors that each can be, but not one behind the other.
    let huge = Builder::default()
        .tensor_zeros("a", &[i64::MAX as u64], 24, 32)
        .tensor_zeros("b", &[i64::MAX as u64], 24, 32);
    let mut source = Cursor::new(huge.claim_offset(1 << 63).bytes());
    let refused = Header::read_prefix(&mut source, u64::MAX);
    assert!(
        matches!(refused, Err(GgufError::TensorTooLarge(_))),
        "{refused:?}"
    );
}

#[test]
fn memory() {
    let text = "x".repeat(1 << 20);
    let large = (0..40).fold(Builder::default(), |all, number| {
        all.text(&number.to_string(), &text)
    });
    refused!(large.bytes(), GgufError::TooMuchMemory { .. });
    let tensors = |count: u64| {
        let name = |number| format!("{number:063}");
        let zeros = |all: Builder, number| all.tensor_zeros(&name(number), &[1; 4], 24, 1);
        (0..count).fold(Builder::default(), zeros).bytes()
    };
    let header = read(tensors(1000)).unwrap();
    let all = header.retained_bytes() / 1000 * limits::MAX_TENSORS;
    assert!(
        all < limits::MAX_RETAINED_BYTES,
        "every allowed table fits: {all}"
    );
}

#[test]
fn not_a_file() {
    let refused = Header::open(env!("CARGO_MANIFEST_DIR"));
    assert!(matches!(refused, Err(GgufError::NotAFile)));
    let refused = Header::open("/nothing/here.gguf");
    assert!(matches!(refused, Err(GgufError::Io(_))));
}
