//! Models in several files, whole and broken.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::super::specimen;
use super::super::writer::Builder;
use super::*;

/// A part of a model with one tensor of its own.
fn part(no: u32, count: u32, tensors: u32) -> Builder {
    let start = if no == 0 {
        specimen::tiny_llama()
    } else {
        Builder::default()
    };
    start
        .unsigned("split.no", no)
        .unsigned("split.count", count)
        .value("split.tensors.count", 5, &tensors.to_le_bytes())
        .tensor_f32(&format!("extra.{no}"), &[4], &[0.0; 4])
}

/// The specimen's tensors and one of each part.
fn tensors(parts: u32) -> u32 {
    2 + 2 * 9 + parts
}

fn save(folder: &tempfile::TempDir, parts: &[Builder]) -> PathBuf {
    let count = parts.len();
    for (index, part) in parts.iter().enumerate() {
        let name = format!("tiny-{:05}-of-{count:05}.gguf", index + 1);
        part.save(folder.path().join(name)).unwrap();
    }
    folder.path().join(format!("tiny-00001-of-{count:05}.gguf"))
}

#[test]
fn names_are_read_and_made() {
    let name = SplitName::parse("a-b-of-c-00002-of-00003.gguf").unwrap();
    assert_eq!(
        (name.stem.as_str(), name.number, name.count),
        ("a-b-of-c", 2, 3)
    );
    assert_eq!(name.sibling(1), "a-b-of-c-00001-of-00003.gguf");
    assert_eq!(name.siblings().count(), 3);
    for other in [
        "a.gguf",
        "a-00000-of-00003.gguf",
        "a-00004-of-00003.gguf",
        "a-00001-of-00513.gguf",
        "a-00001-of-99999.gguf",
        "a-1-of-3.gguf",
        "a-0000١-of-00003.gguf",
        "-00001-of-00003.gguf",
        "a-00001-of-00003.gguf.part",
    ] {
        assert_eq!(SplitName::parse(other), None, "{other}");
    }
}

#[test]
fn a_model_opens_by_any_of_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let parts: Vec<Builder> = (0..3).map(|no| part(no, 3, tensors(3))).collect();
    let first = save(&folder, &parts);
    let model = Model::open(&first).unwrap();
    assert_eq!(model.files.len(), 3);
    assert_eq!(model.files[0], first);
    let whole = Model::open(&model.files[2]).unwrap();
    assert_eq!(whole.files, model.files);
    let alone = folder.path().join("alone.gguf");
    specimen::tiny_llama().save(&alone).unwrap();
    let alone = Model::open(alone).unwrap();
    assert_eq!(model.facts.tensor_bytes, alone.facts.tensor_bytes + 3 * 16);
}

#[test]
fn headers_that_were_read_elsewhere_are_checked_likewise() {
    let folder = tempfile::tempdir().unwrap();
    let parts: Vec<Builder> = (0..3).map(|no| part(no, 3, tensors(3))).collect();
    let model = Model::open(save(&folder, &parts)).unwrap();
    let names: Vec<PathBuf> = ["0", "1", "2"].map(PathBuf::from).into();
    let same = Model::of(names.clone(), model.headers.clone()).unwrap();
    assert_eq!((&same.files, same.facts), (&names, model.facts));
    let of = |count: usize, headers: &[Header]| {
        let refused = Model::of(names[..count].to_vec(), headers.to_vec());
        refused.map(|_| ()).unwrap_err()
    };
    assert!(matches!(of(0, &[]), ModelError::NoFiles));
    let fewer = of(2, &model.headers[..2]);
    assert!(matches!(
        fewer,
        ModelError::SplitCount { found: 2, count: 3 }
    ));
    let mut turned = model.headers.clone();
    turned.swap(1, 2);
    assert!(matches!(
        of(3, &turned),
        ModelError::SplitMismatch { number: 2, .. }
    ));
}

#[test]
fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let parts: Vec<Builder> = (0..2).map(|no| part(no, 2, tensors(2))).collect();
    let first = save(&folder, &parts);
    let second = folder.path().join("tiny-00002-of-00002.gguf");
    std::fs::remove_file(&second).unwrap();
    match Model::open(first) {
        Err(ModelError::File {
            file,
            source: GgufError::Io(_),
        }) => assert_eq!(file, second),
        other => panic!("{other:?}"),
    }
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let twice = [part(0, 2, tensors(2)), part(0, 2, tensors(2))];
    let refused = Model::open(save(&folder, &twice));
    assert!(
        matches!(refused, Err(ModelError::SplitMismatch { number: 2, .. })),
        "{refused:?}"
    );

    let counted = [part(0, 2, tensors(2)), part(1, 3, tensors(2))];
    let refused = Model::open(save(&folder, &counted));
    assert!(
        matches!(refused, Err(ModelError::SplitMismatch { number: 2, .. })),
        "{refused:?}"
    );

    let fewer = [part(0, 2, tensors(3)), part(1, 2, tensors(3))];
    let refused = Model::open(save(&folder, &fewer));
    assert!(
        matches!(refused, Err(ModelError::SplitTensors { .. })),
        "{refused:?}"
    );

    let doubled = [
        part(0, 2, tensors(3)),
        part(1, 2, tensors(3)).tensor_f32("extra.0", &[4], &[0.0; 4]),
    ];
    let refused = Model::open(save(&folder, &doubled));
    assert!(
        matches!(refused, Err(ModelError::DuplicateTensor(_))),
        "{refused:?}"
    );
}

#[test]
fn a_part_under_another_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    part(0, 2, tensors(2)).save(&path).unwrap();
    let refused = Model::open(path);
    assert!(
        matches!(refused, Err(ModelError::SplitName { count: 2 })),
        "{refused:?}"
    );
}

#[test]
fn neither_folders_nor_broken_files_are_models() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Model::open(folder.path());
    assert!(matches!(
        refused,
        Err(ModelError::File {
            source: GgufError::NotAFile,
            ..
        })
    ));
    let path = folder.path().join("text.gguf");
    std::fs::write(&path, "hello, hello, hello, hello").unwrap();
    let refused = Model::open(path);
    assert!(matches!(
        refused,
        Err(ModelError::File {
            source: GgufError::NotGguf,
            ..
        })
    ));
}
