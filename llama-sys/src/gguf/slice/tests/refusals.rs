//! Models that are not cut.

use super::*;

fn why(builder: &Builder) -> Obstacle {
    let header = Header::read(&mut Cursor::new(builder.bytes())).unwrap();
    match Sliceable::of(&[header]) {
        Err(SliceError::Unsupported { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

fn header_of(architecture: &str) -> Builder {
    Builder::new(architecture)
        .unsigned(&format!("{architecture}.block_count"), 8)
        .unsigned(&format!("{architecture}.context_length"), 512)
        .unsigned(&format!("{architecture}.embedding_length"), 64)
        .unsigned(&format!("{architecture}.attention.head_count"), 4)
}

#[test]
fn architectures_without_a_proof_are_refused() {
    for architecture in [
        "afmoe",
        "baichuan",
        "cohere2",
        "dbrx",
        "deepseek2",
        "dots1",
        "ernie4_5-moe",
        "exaone4",
        "falcon",
        "glm4",
        "glm4moe",
        "gpt2",
        "granitemoe",
        "grok",
        "internlm2",
        "llama4",
        "mistral3",
        "minicpm",
        "mpt",
        "olmo",
        "phi2",
        "phimoe",
        "qwen",
        "qwen2moe",
        "seed_oss",
        "stablelm",
        "starcoder2",
        "Llama",
        "llama2",
        "a\u{7}b",
    ] {
        assert_eq!(
            why(&header_of(architecture)),
            Obstacle::NotProved,
            "{architecture}"
        );
    }
}

#[test]
fn reasons_are_told_where_they_are_known() {
    for (architecture, expected) in [
        ("gemma3n", Obstacle::SharedState),
        ("gemma4", Obstacle::SharedState),
        ("deepseek4", Obstacle::SharedState),
        ("rwkv7", Obstacle::Recurrent),
        ("mamba", Obstacle::Recurrent),
        ("jamba", Obstacle::Recurrent),
        ("qwen3next", Obstacle::Recurrent),
        ("qwen2vl", Obstacle::Positions),
        ("t5", Obstacle::NotGenerating),
        ("bert", Obstacle::NotGenerating),
    ] {
        assert_eq!(why(&header_of(architecture)), expected, "{architecture}");
    }
}

#[test]
fn the_refusal_names_the_architecture_for_people() {
    let header = Header::read(&mut Cursor::new(header_of("rwkv7").bytes())).unwrap();
    let refused = Sliceable::of(&[header]).unwrap_err().to_string();
    let expected = "a model of the architecture `rwkv7` cannot be cut: it has recurrent layers";
    assert_eq!(refused, expected);
}

#[test]
fn each_architecture_that_may_be_cut_has_a_specimen() {
    for architecture in Sliceable::architectures() {
        assert!(
            KINDS.iter().any(|kind| kind.architecture == architecture),
            "{architecture}"
        );
    }
    for kind in KINDS {
        assert!(Sliceable::architectures().any(|known| known == kind.architecture));
        assert!(!Source::of(kind).sliceable().cuts().is_empty());
    }
}

#[test]
fn what_no_rule_covers_is_refused() {
    let sound = || of_kind(KINDS[0]);
    let key = |key: &str| Obstacle::Key(key.to_owned());
    let tensor = |name: &str| Obstacle::Tensor(name.to_owned());
    let numbers =
        |part: &str, values: &[i32]| why(&sound().signed_numbers(&format!("llama.{part}"), values));
    assert_eq!(numbers("some", &[1; 7]), key("llama.some"));
    assert_eq!(numbers("some", &[1; 2000]), key("llama.some"));
    assert_eq!(
        numbers("deepstack_mapping", &[1; 8]),
        key("llama.deepstack_mapping")
    );
    let sections = "rope.dimension_sections";
    assert_eq!(
        numbers(sections, &[4; 4]),
        key("llama.rope.dimension_sections")
    );
    assert_eq!(
        numbers(sections, &[4; 8]),
        key("llama.rope.dimension_sections")
    );
    let heads = numbers("attention.head_count", &[4, 4, 4, 4, 2, 4, 4, 4]);
    assert_eq!(heads, Obstacle::Heads);
    let labels = sound().texts("llama.classifier.output_labels", &["a"; 8]);
    assert_eq!(why(&labels), key("llama.classifier.output_labels"));
    let several = sound().unsigned("llama.nextn_predict_layers", 1);
    assert_eq!(why(&several), Obstacle::SeveralTokens);
    for name in [
        "cls.weight",
        "output.bias",
        "blk.8.attn_q.weight",
        "blk.01.x",
        "blk.+1.x",
        "v",
    ] {
        let more = sound().tensor_f32(name, &[1], &[0.0]);
        assert_eq!(why(&more), tensor(name));
    }
}

#[test]
fn sizes_that_llama_cpp_reads_from_the_number_of_layers_are_refused() {
    for (architecture, layers) in [("gemma2", 46), ("gemma3", 62)] {
        let builder =
            header_of(architecture).unsigned(&format!("{architecture}.block_count"), layers);
        assert_eq!(why(&builder), Obstacle::CountedLayers(layers));
    }
}

#[test]
fn shared_tensors_must_have_their_shape() {
    let missing = |builder: Builder| {
        let header = Header::read(&mut Cursor::new(builder.bytes())).unwrap();
        match Sliceable::of(&[header]) {
            Err(SliceError::Tensor(name)) => name,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(missing(header_of("llama")), "token_embd.weight");
    let narrow = header_of("llama").tensor_f32("token_embd.weight", &[32, 2], &[0.0; 64]);
    assert_eq!(missing(narrow), "token_embd.weight");
    let flat = header_of("llama").tensor_f32("token_embd.weight", &[64], &[0.0; 64]);
    assert_eq!(missing(flat), "token_embd.weight");
    let tied = header_of("olmo2").tensor_f32("token_embd.weight", &[64, 2], &[0.0; 128]);
    assert_eq!(missing(tied), "output.weight");
}

#[test]
fn one_tensor_in_two_files_is_refused() {
    let header = || Header::read(&mut Cursor::new(of_kind(KINDS[0]).bytes())).unwrap();
    let headers = [header(), header()];
    let twice = Sliceable::of(&headers);
    assert!(matches!(twice, Err(SliceError::DuplicateTensor(_))));
    assert!(matches!(Sliceable::of(&[]), Err(SliceError::Facts(_))));
}
