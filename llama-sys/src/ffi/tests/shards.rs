//! Shards of mixtures, against the whole model whose router may not choose what they lack.

use super::*;
use crate::ffi::context::Tap;
use crate::gguf::ExpertSets;
use crate::gguf::specimen::{KINDS, of_kind};

/// What the order of a few additions changes: llama.cpp's kernels take rows in groups, and a shard
/// has other groups of scores than the whole model. A last digit of a score then turns one of the
/// cache's numbers of 16 bits, or of the fixture's activations of 8. What is missing changes a hundred
/// times as much.
const NOISE: f32 = 2e-2;

fn watching() -> ContextParams {
    ContextParams {
        tap: Tap::Router,
        ..params()
    }
}

/// Ids that the specimens and the fixture have.
fn tokens() -> Vec<u32> {
    (0..64)
        .map(|index| 3 + (index * 37 + index * index) % 256)
        .collect()
}

/// In each layer others.
fn sets(experts: u32, kept: u32, layers: u32) -> ExpertSets {
    let layer = |layer: u32| (0..kept).map(|n| (n * 3 + layer * 5) % experts).collect();
    ExpertSets::new(experts, (0..layers).map(layer).collect()).unwrap()
}

/// A shard of a model, in this folder.
fn cut(path: &Path, sets: &ExpertSets, folder: &Path) -> PathBuf {
    let model = gguf::Model::open(path).unwrap();
    let plan = Sliceable::of(&model.headers).unwrap().shard(sets).unwrap();
    let to = folder.join("shard.gguf");
    let order = Materialising {
        plan: Arc::new(plan),
        files: &model.files,
        to: &to,
        budget_bytes: u64::MAX,
    };
    materialise(&order, &mut |_, _| true).unwrap();
    to
}

/// Compares a shard with the whole model held back to its experts, and with it left free.
fn compare(path: &Path, folder: &Path, kept: u32) -> (f32, f32) {
    let facts = gguf::Model::open(path).unwrap().facts;
    let experts = facts.experts.unwrap().count;
    let sets = sets(experts, kept, facts.layers);
    let shard = cut(path, &sets, folder);
    let got = script(&mut Whole::load(&shard), &tokens());
    let mut held_back = Whole([load(path, watching())]);
    assert!(held_back.contexts()[0].hold_back(Some(&sets)));
    let expected = script(&mut held_back, &tokens());
    let free = script(&mut Whole::load(path), &tokens());
    assert!(free.iter().flatten().any(|value| value.abs() > 0.01));
    (difference(&got, &expected), difference(&expected, &free))
}

#[test]
fn each_mixtures_shard_is_the_whole_model_held_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.gguf");
    let mixtures = KINDS.into_iter().filter(|kind| kind.mixture);
    for kind in mixtures {
        of_kind(kind).save(&path).unwrap();
        // The least, more, and all.
        for kept in [2, 5, 8] {
            let (difference, effect) = compare(&path, folder.path(), kept);
            println!("{kind:?} {kept}: {difference:e}, held back {effect:e}");
            assert!(difference <= NOISE, "{kind:?} {kept}: {difference}");
            // The comparison can fail: what is missing shows.
            assert_eq!(effect > 10.0 * NOISE, kept < 8, "{kind:?} {kept}: {effect}");
        }
    }
}

#[test]
fn the_fixtures_shard_is_the_whole_model_held_back() {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let folder = tempfile::tempdir().unwrap();
    for kept in [2, 8, 12] {
        let path = fixtures.join("tiny-moe-q8_0.gguf");
        let (difference, effect) = compare(&path, folder.path(), kept);
        println!("{kept} of 16: {difference:e}, held back {effect:e}");
        assert!(
            difference <= NOISE && effect > 100.0 * NOISE,
            "{difference} {effect}"
        );
    }
}

#[test]
fn watching_changes_nothing_and_sees_every_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.gguf");
    for kind in KINDS.into_iter().filter(|kind| kind.mixture) {
        of_kind(kind).save(&path).unwrap();
        let mut watched = Whole([load(&path, watching())]);
        let seen = script(&mut watched, &tokens());
        assert_eq!(seen, script(&mut Whole::load(&path), &tokens()));
        // More than the micro-batches of 8 take.
        let all: Vec<Token> = (0..20)
            .map(|position| Token {
                id: tokens()[position],
                position,
                sequence: 3,
                output: true,
            })
            .collect();
        watched.decode(&all);
        let usage = watched.contexts()[0].usage().unwrap();
        assert_eq!((usage.layers().len(), usage.experts()), (8, 8));
        for layer in usage.layers() {
            let sum: f64 = layer.iter().sum();
            assert!((sum - 20.0).abs() < 1e-3, "{kind:?}: {sum}");
        }
        // What is held back gets nothing.
        let sets = sets(8, 3, 8);
        assert!(watched.contexts()[0].hold_back(Some(&sets)));
        assert!(watched.contexts()[0].cut(3, 0));
        watched.decode(&all);
        let usage = watched.contexts()[0].usage().unwrap();
        assert!((usage.retained(&sets) - 1.0).abs() < 1e-9, "{kind:?}");
    }
}

#[test]
fn only_a_watched_mixture_is_held_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.gguf");
    of_kind(KINDS[2]).save(&path).unwrap();
    let mut context = load(&path, watching());
    assert!(!context.hold_back(Some(&sets(8, 3, 7))));
    assert!(!context.hold_back(Some(&sets(16, 3, 8))));
    assert!(context.usage().is_none(), "nothing was computed");
    assert!(!load(&path, params()).hold_back(None));
    let path = folder.path().join("dense.gguf");
    of_kind(KINDS[0]).save(&path).unwrap();
    let dense = Model::load(Backend::init(), &path, 0, &mut |_| true).unwrap();
    assert!(Context::new(Backend::init(), Arc::new(dense), watching()).is_none());
}
