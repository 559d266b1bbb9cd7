//! The fixture mixture's router and its perplexity with only some of its experts, against what
//! another implementation measured on the same texts.
#![cfg(feature = "llama")]
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use llama_sys::gguf::slice::{Materialising, Sliceable, materialise};
use llama_sys::gguf::{ExpertSets, Model, Usage};
use llama_sys::local::{Chunks, ExamError, Examiner, Reading};
use serde::Deserialize;

/// As the reference figures were made.
const CHUNKS: Chunks = Chunks {
    tokens: 512,
    most: 20,
};

/// How far a perplexity may be from the reference's.
const TOLERANCE: f64 = 0.02;

#[derive(Deserialize)]
struct Reference {
    domains: Vec<String>,
    perplexity: BTreeMap<String, f64>,
    usage: BTreeMap<String, Usage>,
    coverage: BTreeMap<String, BTreeMap<u32, Vec<f64>>>,
    keep: BTreeMap<String, Vec<Vec<u32>>>,
    shard_perplexity: BTreeMap<String, BTreeMap<String, f64>>,
}

fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    folder.join(name)
}

fn reference() -> Reference {
    let text = std::fs::read_to_string(fixture("tiny-moe-experts.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

impl Reference {
    fn sets(&self, name: &str) -> ExpertSets {
        ExpertSets::new(16, self.keep[name].clone()).unwrap()
    }
}

fn examiner(file: &Path, chunks: Chunks) -> Examiner {
    Examiner::load(file, chunks, None).unwrap()
}

fn text(domain: &str) -> String {
    std::fs::read_to_string(fixture(&format!("eval/{domain}.txt"))).unwrap()
}

fn read(examiner: &mut Examiner, domain: &str, kept: Option<&ExpertSets>) -> Reading {
    examiner.hold_back(kept).unwrap();
    examiner.read(&text(domain)).unwrap()
}

/// The geometric mean.
fn mean(of: &[f64]) -> f64 {
    let logarithms: f64 = of.iter().map(|value| value.ln()).sum();
    (logarithms / of.len() as f64).exp()
}

#[track_caller]
fn near(found: f64, expected: f64, what: &str) {
    let off = (found / expected - 1.0).abs();
    assert!(off <= TOLERANCE, "{what}: {found:.4}, not {expected:.4}");
}

#[test]
fn the_reference_figures_are_reproduced() {
    let reference = reference();
    let mut examiner = examiner(&fixture("tiny-moe-q8_0.gguf"), CHUNKS);
    let mut figures: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    let mut usages = Vec::new();
    for domain in &reference.domains {
        let whole = read(&mut examiner, domain, None);
        check_usage(&reference, domain, &whole.usage);
        let mut note = |kind, found: f64, expected: f64| {
            near(found, expected, &format!("{domain} {kind}"));
            figures.entry(kind).or_default().push((found, expected));
        };
        note("whole", whole.perplexity(), reference.perplexity[domain]);
        for (kind, sets) in [
            ("global-12", "global-12".to_owned()),
            ("global-8", "global-8".to_owned()),
            ("domain-8", format!("domain-8-{domain}")),
        ] {
            let sets = reference.sets(&sets);
            let found = read(&mut examiner, domain, Some(&sets)).perplexity();
            note(kind, found, reference.shard_perplexity[domain][kind]);
        }
        usages.push(whole.usage);
    }
    check_usage(&reference, "overall", &Usage::mean(&usages).unwrap());
    for (kind, pairs) in figures {
        let (found, expected): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        println!(
            "{kind}: {:.3}, reference {:.3}",
            mean(&found),
            mean(&expected)
        );
        near(mean(&found), mean(&expected), kind);
    }
}

/// The fixture's table of usage: each expert's share, and what the most used ones cover.
fn check_usage(reference: &Reference, domain: &str, found: &Usage) {
    let (shares, expected) = (found.shares(), &reference.usage[domain]);
    assert_eq!((shares.layers().len(), shares.experts()), (5, 16));
    for layer in 0..5 {
        for expert in 0..16 {
            let (a, b) = (shares.of(layer, expert), expected.of(layer, expert));
            assert!((a - b).abs() < 0.005, "{domain} {layer} {expert}: {a}, {b}");
        }
    }
    for (count, expected) in &reference.coverage[domain] {
        let covered = found.covered(&found.top(*count).unwrap());
        for (a, b) in covered.iter().zip(expected) {
            assert!((a - b).abs() < 0.01, "{domain} {count}: {a}, {b}");
        }
    }
}

/// A shard's own file foresees as the whole model does that is held back to its experts.
#[test]
fn a_shards_file_is_scored_like_the_whole_model_held_back() {
    let few = Chunks {
        tokens: 256,
        most: 3,
    };
    let whole = fixture("tiny-moe-q8_0.gguf");
    let sets = reference().sets("global-12");
    let model = Model::open(&whole).unwrap();
    let plan = Sliceable::of(&model.headers).unwrap().shard(&sets).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shard.gguf");
    let order = Materialising {
        plan: Arc::new(plan),
        files: &model.files,
        to: &file,
        budget_bytes: u64::MAX,
    };
    materialise(&order, &mut |_, _| true).unwrap();
    let held_back = read(&mut examiner(&whole, few), "rust", Some(&sets));
    let shard = read(&mut examiner(&file, few), "rust", None);
    assert_eq!(shard.tokens, held_back.tokens);
    assert_eq!(shard.tokens, 3 * 127);
    let off = (shard.perplexity() / held_back.perplexity() - 1.0).abs();
    assert!(off < 5e-3, "{off}");
    let pairs = shard.likeliest.iter().zip(&held_back.likeliest);
    let agree = pairs.filter(|(a, b)| a == b).count();
    assert!(agree * 20 >= shard.likeliest.len() * 19, "{agree}");
    assert_eq!(shard.usage.experts(), 12);
}

#[test]
fn texts_and_models_that_say_nothing_are_refused() {
    let mut examiner = examiner(&fixture("tiny-moe-q8_0.gguf"), CHUNKS);
    assert!(matches!(
        examiner.read("too short"),
        Err(ExamError::TooShort(_))
    ));
    let others = ExpertSets::new(8, vec![vec![0, 1]; 5]).unwrap();
    assert!(matches!(
        examiner.hold_back(Some(&others)),
        Err(ExamError::Experts)
    ));
    // A text that is no whole chunk is one of its own length.
    let short = examiner.read(&"one two three ".repeat(30)).unwrap();
    assert!(short.tokens > 20 && short.perplexity().is_finite());
    for other in ["tiny-draft-f16.gguf", "no-such.gguf"] {
        assert!(Examiner::load(&fixture(other), CHUNKS, Some(1)).is_err());
    }
}
