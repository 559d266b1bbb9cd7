//! A real model, where the environment names one (`TEST_MODEL`, the path of a
//! SmolLM2-135M-Instruct). Without it each test says so and passes.

use super::*;

#[test]
fn a_real_model_is_exact() {
    let Some(path) = std::env::var_os("TEST_MODEL").map(PathBuf::from) else {
        println!("skipped: TEST_MODEL names no model");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut whole = Whole::load(&path);
    let text = "The capital of France is Paris, and that of Norway is Oslo. ".repeat(3);
    let mut expected = None;
    for cuts in [&[15][..], &[10, 20]] {
        let mut chain = Chain::cut(&path, cuts, folder.path());
        let tokens = chain.vocabulary.tokenize(&text, true, true).unwrap();
        let expected = expected.get_or_insert_with(|| script(&mut whole, &tokens));
        assert_eq!(difference(&script(&mut chain, &tokens), expected), 0.0);
    }
}
