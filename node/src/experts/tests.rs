//! The fixture mixture, ranked, cut and scored.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::core::shards::score::Bar;

mod routing;

fn fixture() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    folder.join("tiny-moe-q8_0.gguf")
}

fn mixture() -> Mixture {
    Mixture::open("tiny-moe".into(), &fixture(), Some(1)).unwrap()
}

#[test]
fn a_shard_is_cut_scored_and_judged() {
    let dir = tempfile::tempdir().unwrap();
    let (mixture, texts) = (mixture(), Texts::built_in());
    let records = Records::new(dir.path().join("experts"));
    let unknown = records.find(mixture.fingerprint());
    assert!(matches!(unknown, Err(ExpertsError::NotRanked)));
    let mut heard = Vec::new();
    let ranked = mixture.rank(&texts, &mut |name| heard.push(name.to_owned()));
    let ranked = ranked.unwrap();
    assert_eq!(heard.len(), 10);
    assert!(ranked.is_sound() && ranked.used == 2);
    records.keep(&ranked).unwrap();
    let known = records.find(mixture.fingerprint()).unwrap();
    // Figures in decimals are as good as the measurement, not to the last bit.
    assert_eq!(known.texts_digest, ranked.texts_digest);
    for (known, ranked) in known.samples().iter().zip(ranked.samples()) {
        assert!((known.nats - ranked.nats).abs() < 1e-6);
        assert_eq!(known.likeliest, ranked.likeliest);
    }
    // What was written twice is there once.
    records.keep(&ranked).unwrap();
    assert_eq!(
        std::fs::read_dir(dir.path().join("experts"))
            .unwrap()
            .count(),
        1
    );

    let kept = mixture.most_used(&known, 12).unwrap();
    let held_back = mixture.score(&known, &kept, &texts, &mut |_| {}).unwrap();
    let file = dir.path().join("shard.gguf");
    let bytes = mixture.cut(&kept, &file).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().len(), bytes);
    assert!(bytes < std::fs::metadata(fixture()).unwrap().len());
    let shard = mixture
        .score_shard(&known, &file, &texts, &mut |_| {})
        .unwrap();
    assert!((shard.ratio / held_back.ratio - 1.0).abs() < 5e-3);
    assert!((shard.agreement - held_back.agreement).abs() < 0.03);
    let fewer = mixture.most_used(&known, 8).unwrap();
    let fewer = mixture.score(&known, &fewer, &texts, &mut |_| {}).unwrap();
    println!("12 of 16: {:.3}, 8 of 16: {:.3}", shard.ratio, fewer.ratio);
    assert!(1.0 < shard.ratio && shard.ratio < fewer.ratio);
    assert!(!Bar::default().admits(&fewer));
    assert!(shard.agreement > fewer.agreement && shard.agreement < 1.0);
}

#[test]
fn the_whole_model_scores_as_itself() {
    let (mixture, texts) = (mixture(), Texts::built_in());
    let known = mixture.rank(&texts, &mut |_| {}).unwrap();
    let all = mixture.most_used(&known, 16).unwrap();
    let score = mixture.score(&known, &all, &texts, &mut |_| {}).unwrap();
    assert_eq!((score.ratio, score.agreement), (1.0, 1.0));
    assert!(Bar::default().admits(&score));
    assert!(mixture.most_used(&known, 17).is_err());
}

#[test]
fn other_texts_are_no_measure() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("short.txt");
    std::fs::write(&path, "the quick brown fox ".repeat(40)).unwrap();
    let texts = Texts::of_files(&[path]).unwrap();
    let mixture = mixture();
    let mut known = mixture.rank(&texts, &mut |_| {}).unwrap();
    let kept = mixture.most_used(&known, 12).unwrap();
    assert!(mixture.score(&known, &kept, &texts, &mut |_| {}).is_ok());
    let others = Texts::built_in();
    let refused = mixture.score(&known, &kept, &others, &mut |_| {});
    assert!(matches!(refused, Err(ExpertsError::OtherTexts)));
    known.texts.clear();
    let refused = mixture.score(&known, &kept, &texts, &mut |_| {});
    assert!(matches!(refused, Err(ExpertsError::Score(_))));
}

#[test]
fn a_model_without_experts_is_refused() {
    let dense = fixture().with_file_name("tiny-draft-f16.gguf");
    let dense = Mixture::open("dense".into(), &dense, Some(1)).unwrap();
    let refused = dense.rank(&Texts::built_in(), &mut |_| {});
    assert!(matches!(refused, Err(ExpertsError::Load(_))));
    assert_ne!(dense.fingerprint(), mixture().fingerprint());
    let none = Mixture::open("none".into(), Path::new("no-such.gguf"), None);
    assert!(matches!(none, Err(ExpertsError::Model(_))));
}

#[test]
fn a_record_of_no_sense_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let records = Records::new(dir.path().to_owned());
    for text in ["", "{}", "[1, 2", "{\"model\": 3}"] {
        std::fs::write(records.path("f"), text).unwrap();
        assert!(matches!(records.find("f"), Err(ExpertsError::NotRanked)));
    }
}
