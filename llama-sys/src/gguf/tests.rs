//! Headers of real, made, broken and hostile files.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod broken;
mod hostile;

use std::io::Cursor;
use std::path::PathBuf;

use super::*;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name)
}

fn read(bytes: Vec<u8>) -> Result<Header, GgufError> {
    Header::read(&mut Cursor::new(bytes))
}

/// A file with a value of every kind and a few tensors, small enough to be broken byte by byte.
fn every_kind() -> Builder {
    Builder::new("llama")
        .value("u8", 0, &[200])
        .value("i8", 1, &[200])
        .value("u16", 2, &60_000_u16.to_le_bytes())
        .value("i16", 3, &(-2_i16).to_le_bytes())
        .unsigned("u32", 4_000_000_000)
        .value("i32", 5, &(-3_i32).to_le_bytes())
        .float("f32", 0.5)
        .flag("bool", true)
        .text("text", "grün")
        .value("u64", 10, &u64::MAX.to_le_bytes())
        .value("i64", 11, &i64::MIN.to_le_bytes())
        .value("f64", 12, &(-0.25_f64).to_le_bytes())
        .texts("texts", &["", "a", "bc"])
        .floats("floats", &[1.5, -2.5])
        .signed_numbers("numbers", &[-1, 7])
        .flags("flags", &[true, false])
        .texts("tokenizer.ggml.tokens", &["a", "b", "c"])
        .unsigned("tokenizer.ggml.bos_token_id", 2)
        .tensor_zeros("zeros", &[32, 2], 8, 68)
        .tensor_f32("ones", &[3], &[1.0; 3])
        .tensor_f32("scalar", &[1, 1, 1, 1], &[1.0])
}

#[test]
fn real_files_are_read() {
    let header = Header::open(fixture("tiny-moe-q8_0.gguf")).unwrap();
    assert_eq!(header.version(), 3);
    assert_eq!(header.text("general.architecture"), Some("qwen3moe"));
    assert_eq!(header.unsigned("qwen3moe.block_count"), Some(5));
    assert_eq!(header.named_token(0), Some("<|bos|>"));
    assert_eq!(header.named_token(1), Some("<|endoftext|>"));
    let embedding = header.tensor("token_embd.weight").unwrap();
    assert_eq!(embedding.shape, [192, 2048]);
    assert_eq!(embedding.ty, TensorType::Q8_0);
    let last = header.tensors().last().unwrap();
    assert!(header.data_offset() + last.offset + last.bytes <= header.file_bytes());
    assert!(
        header.retained_bytes() < 64 << 10,
        "{}",
        header.retained_bytes()
    );
}

#[test]
fn what_is_written_is_read() {
    for version in [2, 3] {
        let header = read(every_kind().version(version).bytes()).unwrap();
        assert_eq!(header.version(), version);
        assert_eq!(header.unsigned("u8"), Some(200));
        assert_eq!(header.value("i8"), Some(&Value::Signed(-56)));
        assert_eq!(header.unsigned("u16"), Some(60_000));
        assert_eq!(header.value("i16"), Some(&Value::Signed(-2)));
        assert_eq!(header.unsigned("u32"), Some(4_000_000_000));
        assert_eq!(header.unsigned("i32"), None, "negative");
        assert_eq!(header.float("f32"), Some(0.5));
        assert_eq!(header.flag("bool"), Some(true));
        assert_eq!(header.text("text"), Some("grün"));
        assert_eq!(header.unsigned("u64"), Some(u64::MAX));
        assert_eq!(header.value("i64"), Some(&Value::Signed(i64::MIN)));
        assert_eq!(header.float("f64"), Some(-0.25));
        let items = |key: &str| header.array(key).unwrap().items.clone();
        assert_eq!(
            items("texts"),
            Items::Texts(vec![String::new(), "a".into(), "bc".into()])
        );
        assert_eq!(items("floats"), Items::Floats(vec![1.5, -2.5]));
        assert_eq!(items("numbers"), Items::Signed(vec![-1, 7]));
        assert_eq!(items("flags"), Items::Bools(vec![true, false]));
        assert_eq!(header.named_token(2), Some("c"));
        let tensor = header.tensor("ones").unwrap();
        assert_eq!(
            (tensor.offset, tensor.bytes, tensor.elements()),
            (96, 12, 3)
        );
        assert_eq!(header.tensor("one"), None);
    }
}

#[test]
fn entries_can_be_copied_by_their_place() {
    let bytes = every_kind().bytes();
    let header = read(bytes.clone()).unwrap();
    let copy = header
        .entries()
        .fold(Builder::default(), |copy, (key, entry)| {
            let start = usize::try_from(entry.offset).unwrap() + 4;
            let end = start - 4 + usize::try_from(entry.bytes).unwrap();
            copy.value(key, entry.ty.id(), &bytes[start..end])
        });
    let copied = read(copy.bytes()).unwrap();
    let values = |header: &Header| -> Vec<_> {
        header
            .entries()
            .map(|(key, entry)| (key.to_owned(), entry.value.clone()))
            .collect()
    };
    assert_eq!(values(&copied), values(&header));
}

#[test]
fn other_alignments_are_kept() {
    for alignment in [8, 64, 4096] {
        let header = read(every_kind().alignment(alignment).bytes()).unwrap();
        assert_eq!(header.alignment(), u64::from(alignment));
        assert_eq!(header.data_offset() % u64::from(alignment), 0);
    }
}

#[test]
fn a_file_without_tensors_needs_no_padding() {
    let header = read(Builder::new("llama").bytes()).unwrap();
    assert_eq!(header.tensors(), []);
    assert_eq!(header.data_offset(), header.file_bytes());
}

#[test]
fn long_arrays_leave_only_their_place() {
    let tokens: Vec<String> = (0..5000).map(|number| format!("token {number}")).collect();
    let bytes = Builder::new("llama")
        .texts("tokenizer.ggml.tokens", &tokens)
        .floats("tokenizer.ggml.scores", &vec![0.0; 5000])
        .unsigned("tokenizer.ggml.eos_token_id", 4999)
        .bytes();
    let mut source = Cursor::new(bytes);
    let header = Header::read(&mut source).unwrap();
    assert_eq!(
        header.array("tokenizer.ggml.scores").unwrap().items,
        Items::Elsewhere(vec![])
    );
    assert_eq!(header.named_token(4999), Some("token 4999"));
    let mut element = |index| {
        header
            .text_element(&mut source, "tokenizer.ggml.tokens", index)
            .unwrap()
    };
    for index in [0, 1023, 1024, 4095, 4096, 4999] {
        assert_eq!(
            element(index).as_deref(),
            Some(format!("token {index}").as_str())
        );
    }
    assert_eq!(element(5000), None);
    assert_eq!(element(u64::MAX), None);
    assert_eq!(
        header
            .text_element(&mut source, "tokenizer.ggml.scores", 0)
            .unwrap(),
        None
    );
    assert_eq!(
        header.text_element(&mut source, "nothing", 0).unwrap(),
        None
    );
}

#[test]
fn long_texts_leave_only_their_place() {
    let long = "x".repeat(usize::try_from(limits::KEPT_STRING_BYTES).unwrap() + 1);
    let header = read(Builder::new("llama").text("long", &long).bytes()).unwrap();
    assert_eq!(header.value("long"), Some(&Value::LongText));
    assert_eq!(header.text("long"), None);
}

#[test]
fn text_that_is_not_utf8_is_replaced() {
    let invalid = [&3_u64.to_le_bytes()[..], &[b'a', 0xff, b'b']].concat();
    let header = read(Builder::new("llama").value("text", 8, &invalid).bytes()).unwrap();
    assert_eq!(header.text("text"), Some("a\u{fffd}b"));
}

#[test]
fn a_model_is_judged_by_its_beginning() {
    let whole = specimen::tiny_llama().bytes();
    let expected = read(whole.clone()).unwrap();
    let length = whole.len() as u64;
    let start = usize::try_from(expected.data_offset()).unwrap();
    let mut beginning = Cursor::new(whole[..start].to_vec());
    assert_eq!(
        Header::read_prefix(&mut beginning, length).unwrap(),
        expected
    );
    let mut less = Cursor::new(whole[..start / 2].to_vec());
    let refused = Header::read_prefix(&mut less, length).unwrap_err();
    assert!(refused.is_cut_short(), "{refused}");
}
