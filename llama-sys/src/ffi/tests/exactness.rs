//! Each architecture that may be cut, and the fixture.

use super::*;
use crate::gguf::specimen::{KINDS, Kind, of_kind};

/// Ids of the specimens' vocabulary.
fn tokens() -> Vec<u32> {
    (0..64)
        .map(|index| 3 + (index * 37 + index * index) % 256)
        .collect()
}

fn saved(kind: Kind, folder: &Path) -> PathBuf {
    let path = folder.join("whole.gguf");
    of_kind(kind).save(&path).unwrap();
    path
}

/// Compares the whole model with chains that are cut everywhere once, in three, and wholly.
fn assert_exact(path: &Path, folder: &Path, tokens: &[u32]) {
    let headers = gguf::Model::open(path).unwrap().headers;
    let cuts = Sliceable::of(&headers).unwrap().cuts();
    let mut chains: Vec<Vec<u32>> = cuts.iter().map(|cut| vec![*cut]).collect();
    if cuts.len() > 1 {
        chains.push(vec![cuts[0], cuts[cuts.len() - 1]]);
        chains.push(cuts);
    }
    let expected = script(&mut Whole::load(path), tokens);
    assert!(expected.iter().flatten().any(|value| value.abs() > 0.01));
    for cuts in chains {
        let got = script(&mut Chain::cut(path, &cuts, folder), tokens);
        assert_eq!(difference(&got, &expected), 0.0, "cut at {cuts:?}");
    }
}

fn all_of(architecture: &str) {
    let folder = tempfile::tempdir().unwrap();
    let kinds = KINDS
        .iter()
        .filter(|kind| kind.architecture == architecture);
    for kind in kinds {
        let path = saved(*kind, folder.path());
        println!("{kind:?}");
        assert_exact(&path, folder.path(), &tokens());
    }
}

macro_rules! exact {
    ($($name:ident: $architecture:literal),*) => {
        $(#[test]
        fn $name() {
            all_of($architecture);
        })*

        #[test]
        fn every_architecture_that_may_be_cut_is_compared() {
            let compared = [$($architecture),*];
            assert!(Sliceable::architectures().all(|known| compared.contains(&known)));
        }
    };
}

exact! {
    llama_is_exact: "llama",
    qwen2_is_exact: "qwen2",
    qwen3_is_exact: "qwen3",
    qwen3moe_is_exact: "qwen3moe",
    phi3_is_exact: "phi3",
    olmoe_is_exact: "olmoe",
    olmo2_is_exact: "olmo2",
    gemma_is_exact: "gemma",
    gemma2_is_exact: "gemma2",
    gemma3_is_exact: "gemma3",
    gpt_oss_is_exact: "gpt-oss",
    granite_is_exact: "granite",
    smollm3_is_exact: "smollm3"
}

#[test]
fn the_fixture_is_exact() {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let folder = tempfile::tempdir().unwrap();
    assert_exact(
        &fixtures.join("tiny-moe-q8_0.gguf"),
        folder.path(),
        &tokens(),
    );
}

/// The comparison can fail: a forgotten scale shows.
#[test]
fn a_chain_without_its_scales_is_not_exact() {
    let folder = tempfile::tempdir().unwrap();
    for (architecture, scales) in [
        (
            "gemma2",
            Scales {
                lookup: 1.0,
                between: 1.0,
            },
        ),
        (
            "gemma3",
            Scales {
                lookup: 1.0,
                between: 1.0,
            },
        ),
        (
            "granite",
            Scales {
                lookup: 1.0,
                between: 1.0,
            },
        ),
    ] {
        let mut kinds = KINDS.iter();
        let kind = kinds
            .find(|kind| kind.architecture == architecture)
            .unwrap();
        let path = saved(*kind, folder.path());
        let expected = script(&mut Whole::load(&path), &tokens());
        let mut chain = Chain::cut(&path, &[4], folder.path());
        chain.scales = scales;
        assert!(difference(&script(&mut chain, &tokens()), &expected) > 1e-3);
    }
}
