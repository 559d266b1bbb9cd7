//! What slices hold.

use super::*;

#[test]
fn a_stage_has_its_layers_from_zero_and_what_all_layers_use() {
    for kind in KINDS {
        let source = Source::of(kind);
        let model = source.sliceable();
        let total = model.facts().layers;
        for layers in stages(&model) {
            let stage = source.stage(layers.clone());
            let count = stage
                .header
                .unsigned(&format!("{}.block_count", kind.architecture));
            assert_eq!(count, Some(u64::from(layers.end - layers.start)));
            let mut expected = 0;
            for tensor in source.headers[0].tensors() {
                let name = match tensors::layer_of(&tensor.name) {
                    Some((layer, rest)) if layers.contains(&layer) => {
                        format!("blk.{}.{rest}", layer - layers.start)
                    }
                    None if !["token_embd.weight", "output.weight"]
                        .contains(&tensor.name.as_str()) =>
                    {
                        tensor.name.clone()
                    }
                    _ => continue,
                };
                assert_eq!(stage.data(&name), Some(source.data(&tensor.name)), "{name}");
                assert_eq!(stage.header.tensor(&name).unwrap().shape, tensor.shape);
                expected += 1;
            }
            let ends = 1 + usize::from(stage.header.tensor("output.weight").is_some());
            assert_eq!(stage.header.tensors().len(), expected + ends);
            assert_eq!(
                stage.header.array("tokenizer.ggml.tokens").is_some(),
                layers.end == total
            );
        }
    }
}

#[test]
fn only_the_last_stage_has_a_vocabulary_and_a_head() {
    let source = Source::of(KINDS[1]);
    assert!(KINDS[1].untied);
    let first = source.stage(0..3);
    assert_eq!(first.header.text("tokenizer.ggml.model"), Some("no_vocab"));
    assert_eq!(first.header.unsigned("llama.vocab_size"), Some(1));
    for name in ["token_embd.weight", "output.weight"] {
        assert_eq!(first.data(name), Some([0; 256].as_slice()));
    }
    let last = source.stage(3..8);
    assert_eq!(last.header.text("tokenizer.ggml.model"), Some("llama"));
    assert_eq!(
        last.data("token_embd.weight"),
        Some(source.data("output.weight"))
    );
    assert_eq!(last.data("output.weight"), None);
}

#[test]
fn a_tied_model_keeps_its_embeddings_as_head() {
    let source = Source::of_architecture("gemma3");
    let last = source.stage(6..8);
    assert_eq!(
        last.data("token_embd.weight"),
        Some(source.data("token_embd.weight"))
    );
    assert_eq!(source.stage(0..6).data("output.weight"), None);
}

#[test]
fn where_both_are_wanted_the_embeddings_are_zeros() {
    let source = Source::of_architecture("olmo2");
    let last = source.stage(5..8);
    assert_eq!(
        last.data("output.weight"),
        Some(source.data("output.weight"))
    );
    let embeddings = last.data("token_embd.weight").unwrap();
    assert_eq!(embeddings.len(), source.data("token_embd.weight").len());
    assert!(embeddings.iter().all(|byte| *byte == 0));
    let plan = source.sliceable().stage(5..8).unwrap();
    assert!(plan.bytes() - plan.stored_bytes() >= embeddings.len() as u64);
}

#[test]
fn the_heads_file_has_all_metadata_and_the_embeddings() {
    for kind in KINDS {
        let source = Source::of(kind);
        let head = Slice::read(source.build(&source.sliceable().head().unwrap()));
        assert_eq!(head.header.tensors().len(), 1);
        assert_eq!(
            head.data("token_embd.weight"),
            Some(source.data("token_embd.weight"))
        );
        let values = |header: &Header, file: &[u8]| -> Vec<(String, Vec<u8>)> {
            let value = |entry: &crate::gguf::Entry| {
                let start = usize::try_from(entry.offset).unwrap();
                file[start..][..usize::try_from(entry.bytes).unwrap()].to_vec()
            };
            let entries = header.entries();
            entries
                .map(|(key, entry)| (key.to_owned(), value(entry)))
                .collect()
        };
        assert_eq!(
            values(&head.header, &head.file),
            values(&source.headers[0], &source.files[0])
        );
        assert_eq!(
            Sliceable::of(std::slice::from_ref(&source.headers[0]))
                .unwrap()
                .scales(),
            source.sliceable().scales()
        );
    }
}

#[test]
fn windows_are_written_layer_by_layer() {
    let pattern = |stage: &Slice, architecture: &str| {
        let key = format!("{architecture}.attention.sliding_window_pattern");
        match stage.header.array(&key).map(|array| array.items.clone()) {
            Some(Items::Bools(flags)) => flags,
            None => Vec::new(),
            other => panic!("{other:?}"),
        }
    };
    let kinds = KINDS.iter().filter(|kind| kind.windowed);
    let of = |architecture: &str| {
        *kinds
            .clone()
            .find(|k| k.architecture == architecture)
            .unwrap()
    };
    let gemma = Source::of(of("gemma3"));
    assert_eq!(
        pattern(&gemma.stage(4..8), "gemma3"),
        [true, false, true, true]
    );
    // No such layer: the window goes as well.
    let single = gemma.stage(5..6);
    assert_eq!(pattern(&single, "gemma3"), [false; 0]);
    assert_eq!(
        single.header.unsigned("gemma3.attention.sliding_window"),
        None
    );
    // Where the window cannot go, cuts leave each stage such a layer.
    for architecture in ["gemma2", "gpt-oss"] {
        let source = Source::of(of(architecture));
        assert_eq!(source.sliceable().cuts(), [2, 4, 6]);
        assert_eq!(pattern(&source.stage(2..4), architecture), [true, false]);
    }
}

#[test]
fn layers_without_a_mark_are_cut_at_their_period_only() {
    let source = Source::of_architecture("smollm3");
    let model = source.sliceable();
    assert_eq!(model.cuts(), [4]);
    for range in [0..3, 3..8, 4..7] {
        assert!(matches!(model.stage(range), Err(SliceError::Range { .. })));
    }
    assert!(model.stage(0..4).is_ok() && model.stage(4..8).is_ok());
    assert!(model.stage(0..8).is_ok());
}

#[test]
fn layers_that_do_not_exist_are_refused() {
    let source = Source::of_architecture("llama");
    #[expect(clippy::reversed_empty_ranges, reason = "refused, too")]
    for range in [0..0, 8..8, 7..9, 5..4, 0..u32::MAX] {
        let planned = source.sliceable().stage(range);
        assert!(matches!(planned, Err(SliceError::Range { layers: 8, .. })));
    }
}

#[test]
fn values_of_single_layers_follow_their_layers() {
    let heads = [2_i32; 8];
    let builder = of_kind(KINDS[0])
        .signed_numbers("llama.attention.head_count_kv", &heads)
        .array(
            "llama.feed_forward_length",
            crate::gguf::ValueType::U16.id(),
            8,
            &(96..104_u16).flat_map(u16::to_le_bytes).collect::<Vec<_>>(),
        )
        .floats("llama.some_scale", &[1.5; 8]);
    let source = Source::new(vec![builder.bytes()]);
    let stage = source.stage(3..5);
    let items = |key: &str| stage.header.array(key).unwrap().items.clone();
    assert_eq!(
        items("llama.attention.head_count_kv"),
        Items::Signed(vec![2; 2])
    );
    assert_eq!(
        items("llama.feed_forward_length"),
        Items::Unsigned(vec![99, 100])
    );
    assert_eq!(items("llama.some_scale"), Items::Floats(vec![1.5; 2]));
}

#[test]
fn scales_are_told() {
    let scales = |architecture: &str| {
        let source = Source::of_architecture(architecture);
        let scales = source.sliceable().scales();
        (scales.lookup, scales.between)
    };
    assert_eq!(scales("llama"), (1.0, 1.0));
    assert_eq!(scales("gemma"), (1.0, 0.125));
    assert_eq!(scales("gemma2"), (1.0, 0.125));
    assert_eq!(scales("gemma3"), (8.0, 1.0));
    assert_eq!(scales("granite"), (12.0, 1.0));
    let granite = Source::of_architecture("granite");
    for range in [0..4, 4..8] {
        let stage = granite.stage(range);
        assert_eq!(stage.header.float("granite.embedding_scale"), Some(1.0));
    }
}

#[test]
fn a_model_in_several_files_gives_the_same_slices() {
    let whole = Source::of(KINDS[2]);
    let parts = Source::new(in_two_files(KINDS[2]));
    for range in [0..4, 4..8] {
        let (one, two) = (whole.stage(range.clone()), parts.stage(range));
        let names = |slice: &Slice| {
            let tensors = slice.header.tensors().iter();
            tensors
                .map(|tensor| tensor.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&one), names(&two));
        for name in names(&one) {
            assert_eq!(one.data(&name), two.data(&name), "{name}");
        }
        assert_eq!(two.header.value("split.count"), None);
        let keys = |slice: &Slice| -> Vec<(String, Value)> {
            let entries = slice.header.entries();
            entries
                .map(|(key, entry)| (key.to_owned(), entry.value.clone()))
                .collect()
        };
        assert_eq!(keys(&one), keys(&two));
    }
}

/// The same model, its tensors in turn in one of two files.
fn in_two_files(kind: Kind) -> Vec<Vec<u8>> {
    let whole = Source::of(kind);
    let metadata = |builder: Builder, number| {
        let header = &whole.headers[0];
        let with_values = header.entries().fold(builder, |builder, (key, entry)| {
            let start = usize::try_from(entry.offset).unwrap();
            let value = &whole.files[0][start..][..usize::try_from(entry.bytes).unwrap()];
            let id = u32::from_le_bytes(value[..4].try_into().unwrap());
            builder.value(key, id, &value[4..])
        });
        with_values
            .value("split.no", 2, &u16::to_le_bytes(number))
            .value("split.count", 2, &u16::to_le_bytes(2))
    };
    let half = whole.headers[0].tensors().len() / 2;
    let tensors = whole.headers[0].tensors();
    let with = |builder: Builder, tensors: &[crate::gguf::Tensor]| {
        tensors.iter().fold(builder, |builder, tensor| {
            let data = whole.data(&tensor.name).chunks(4);
            let floats: Vec<f32> = data
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect();
            builder.tensor_f32(&tensor.name, &tensor.shape, &floats)
        })
    };
    vec![
        with(metadata(Builder::default(), 0), &tensors[..half]).bytes(),
        with(metadata(Builder::default(), 1), &tensors[half..]).bytes(),
    ]
}
