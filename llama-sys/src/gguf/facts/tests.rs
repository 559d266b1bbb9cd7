//! Facts of real files and of specimens.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::io::Cursor;
use std::path::PathBuf;

use super::super::specimen;
use super::super::tensor_type::TensorType;
use super::super::writer::Builder;
use super::*;

fn fixture(name: &str) -> ModelFacts {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name);
    ModelFacts::from_header(&Header::open(path).unwrap()).unwrap()
}

fn facts(builder: &Builder) -> Result<ModelFacts, FactsError> {
    ModelFacts::from_header(&Header::read(&mut Cursor::new(builder.bytes())).unwrap())
}

fn token(id: u32, text: &str) -> Option<Token> {
    Some(Token {
        id,
        text: text.to_owned(),
    })
}

#[test]
fn a_mixture_of_experts() {
    let facts = fixture("tiny-moe-q8_0.gguf");
    assert_eq!(facts.architecture, "qwen3moe");
    assert_eq!((facts.layers, facts.embedding_length), (5, 192));
    assert_eq!(facts.experts, Some(Experts { count: 16, used: 2 }));
    assert_eq!((facts.context_length, facts.vocab_size), (1024, 2048));
    assert_eq!(facts.attention.heads, 4);
    assert_eq!(facts.attention.kv_heads, [2; 5]);
    assert_eq!(
        (facts.attention.key_length, facts.attention.value_length),
        (64, 64)
    );
    assert_eq!(facts.tokenizer.kind.as_deref(), Some("gpt2"));
    assert_eq!(facts.tokenizer.pre.as_deref(), Some("gpt-2"));
    assert_eq!(facts.tokenizer.bos, token(0, "<|bos|>"));
    assert_eq!(facts.tokenizer.eos, token(1, "<|endoftext|>"));
    assert_eq!(facts.tokenizer.add_bos, Some(true));
    assert_eq!(facts.quantization, "Q8_0");
    assert_eq!(facts.parameters, 7_046_848);
    assert!(facts.can_generate() && facts.can_embed());
    assert!(!facts.can_chat() && !facts.can_infill());
    // Two heads of 64 keys and 64 values in five layers, two bytes each.
    assert_eq!(
        facts.kv_bytes_per_token(TensorType::F16, TensorType::F16),
        2 * 128 * 5 * 2
    );
    assert_eq!(
        facts.kv_bytes_per_token(TensorType::Q8_0, TensorType::Q8_0),
        2 * 136 * 5
    );
}

#[test]
fn a_dense_model() {
    let facts = fixture("tiny-draft-f16.gguf");
    assert_eq!(facts.architecture, "llama");
    assert_eq!((facts.layers, facts.experts), (2, None));
    // Not in the file: the width by the number of heads.
    assert_eq!(facts.attention.key_length, 32);
    assert_eq!(facts.quantization, "F16");
    assert_eq!(facts.parameters, 508_544);
}

#[test]
fn memory_grows_with_the_context() {
    let facts = fixture("tiny-moe-q8_0.gguf");
    let small = facts.memory_estimate(1024, 1);
    let large = facts.memory_estimate(65_536, 1);
    assert_eq!(small.weights, facts.tensor_bytes);
    assert_eq!(small.kv, 1024 * 2560);
    assert!(large.total() > small.total() + 64 * small.kv - small.kv);
}

#[test]
fn what_every_model_has_must_be_there() {
    for key in ["block_count", "embedding_length", "context_length"] {
        let key = format!("llama.{key}");
        let missing = facts(&specimen::tiny_llama().without(&key));
        assert_eq!(missing, Err(FactsError::Missing(key.clone())));
        let zero = facts(&specimen::tiny_llama().unsigned(&key, 0));
        assert_eq!(
            zero,
            Err(FactsError::OutOfRange {
                key: key.clone(),
                found: 0
            })
        );
        let text = facts(&specimen::tiny_llama().text(&key, "many"));
        assert_eq!(text, Err(FactsError::Missing(key)));
    }
    let key = "general.architecture";
    let missing = facts(&specimen::tiny_llama().without(key));
    assert_eq!(missing, Err(FactsError::Missing(key.to_owned())));
}

#[test]
fn numbers_that_no_model_has_are_refused() {
    for (key, found) in [
        ("llama.block_count", 513),
        ("llama.embedding_length", u32::MAX),
        ("llama.attention.head_count", u32::MAX),
        ("llama.attention.key_length", u32::MAX),
        ("llama.expert_count", u32::MAX),
        ("llama.ssm.inner_size", u32::MAX),
    ] {
        let refused = facts(&specimen::tiny_llama().unsigned(key, found));
        let (key, found) = (key.to_owned(), found.into());
        assert_eq!(refused, Err(FactsError::OutOfRange { key, found }));
    }
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    let most = u32::try_from(MAX_SIZE).unwrap();
    let mut builder = specimen::tiny_llama().unsigned("llama.block_count", 512);
    for key in [
        "embedding_length",
        "feed_forward_length",
        "expert_count",
        "expert_used_count",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "ssm.inner_size",
        "ssm.state_size",
        "ssm.group_count",
        "ssm.conv_kernel",
        "wkv.head_size",
    ] {
        builder = builder.unsigned(&format!("llama.{key}"), most);
    }
    let facts = facts(&builder).unwrap();
    assert_eq!(facts.memory_estimate(u64::MAX, u64::MAX).total(), u64::MAX);
}

#[test]
fn other_files_than_models_are_named() {
    let adapter = facts(&specimen::tiny_llama().text("general.type", "adapter"));
    assert_eq!(adapter, Err(FactsError::NotAModel("adapter".to_owned())));
    let projector = facts(&specimen::tiny_llama().text("general.architecture", "clip"));
    assert!(matches!(projector, Err(FactsError::NotAModel(_))));
}

#[test]
fn layers_may_differ() {
    let facts = facts(
        &specimen::tiny_llama()
            .signed_numbers("llama.attention.head_count_kv", &[0, 2])
            .signed_numbers("llama.feed_forward_length", &[96, 128]),
    )
    .unwrap();
    assert_eq!(facts.attention.kv_heads, [0, 2]);
    assert_eq!(facts.feed_forward_length, 128);
    assert_eq!(
        facts.kv_bytes_per_token(TensorType::F16, TensorType::F16),
        2 * 2 * 32 * 2
    );
}

#[test]
fn a_compressed_cache_has_no_values() {
    let builder = specimen::tiny_llama()
        .unsigned("llama.attention.head_count_kv", 1)
        .unsigned("llama.attention.key_length", 576)
        .unsigned("llama.attention.value_length", 512)
        .unsigned("llama.attention.key_length_mla", 192);
    let facts = facts(&builder).unwrap();
    assert_eq!(
        facts.kv_bytes_per_token(TensorType::F16, TensorType::F16),
        2 * 576 * 2
    );
}

#[test]
fn special_tokens_need_a_place_in_the_vocabulary() {
    let facts = facts(
        &specimen::tiny_llama()
            .without("tokenizer.ggml.bos_token_id")
            .unsigned("tokenizer.ggml.eos_token_id", 259)
            .unsigned("tokenizer.ggml.eot_token_id", 258)
            .unsigned("tokenizer.ggml.prefix_token_id", 3)
            .unsigned("tokenizer.ggml.fim_pre_token_id", 4)
            .unsigned("tokenizer.ggml.fim_suf_token_id", 5)
            .unsigned("tokenizer.ggml.middle_token_id", 6),
    )
    .unwrap();
    assert_eq!(facts.tokenizer.bos, token(1, "<s>"), "SentencePiece's own");
    assert_eq!(facts.tokenizer.eos, None, "outside");
    assert_eq!(facts.tokenizer.eot, token(258, "<0xFF>"));
    assert_eq!(
        facts.tokenizer.fim.prefix,
        token(4, "<0x01>"),
        "the newer name wins"
    );
    assert_eq!(facts.tokenizer.fim.middle, token(6, "<0x03>"));
    assert!(facts.can_infill());
}

#[test]
fn templates_are_found_by_both_keys() {
    let facts = facts(
        &specimen::tiny_llama()
            .text("tokenizer.chat_template", "plain")
            .text("tokenizer.chat_template.tool_use", "tools")
            .texts("tokenizer.chat_templates", &["tool_use"]),
    )
    .unwrap();
    assert_eq!(facts.chat_templates.default.as_deref(), Some("plain"));
    assert_eq!(facts.chat_templates.named["tool_use"], "tools");
    assert!(facts.can_chat());
}

#[test]
fn embedding_models_do_not_chat() {
    let builder = specimen::tiny_llama()
        .text("tokenizer.chat_template", "plain")
        .unsigned("llama.pooling_type", 3)
        .flag("llama.attention.causal", false);
    let facts = facts(&builder).unwrap();
    assert_eq!(facts.pooling, Some(Pooling::Last));
    assert!(facts.can_embed() && !facts.can_generate() && !facts.can_chat());
}

#[test]
fn advice_out_of_range_is_none() {
    let facts = facts(
        &specimen::tiny_llama()
            .float("general.sampling.temp", 0.6)
            .float("general.sampling.top_p", f32::NAN)
            .float("general.sampling.min_p", -1.0)
            .unsigned("general.sampling.top_k", 20),
    )
    .unwrap();
    let advised = SamplingDefaults {
        temperature: Some(0.6),
        top_k: Some(20),
        ..SamplingDefaults::default()
    };
    assert_eq!(facts.sampling, advised);
}

#[test]
fn the_quantization_has_a_name_always() {
    let named = specimen::tiny_llama().unsigned("general.file_type", 15);
    assert_eq!(facts(&named).unwrap().quantization, "Q4_K_M");
    let unnamed = specimen::tiny_llama().unsigned("general.file_type", 1024);
    assert_eq!(facts(&unnamed).unwrap().quantization, "F32", "most bytes");
}

#[test]
fn deadly_specimens_have_sound_headers_and_facts() {
    for specimen in [
        specimen::aborts_while_loading(),
        specimen::aborts_at_context(),
        specimen::aborts_at_first_text(),
    ] {
        facts(&specimen).unwrap();
    }
}
