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

/// What becomes of four cells beside an answer, between its third token and its fourth.
#[derive(Clone, Copy)]
enum Beside {
    Nothing,
    /// Another sequence, which stays.
    Stays,
    /// Another sequence, which goes: the answer's next token takes a cell of it, before its last one.
    Goes,
    /// Another sequence, whose cells a third one takes.
    Follows,
}

/// The rows of an answer, a token at a time.
fn answer(path: &Path, tokens: &[u32], beside: Beside) -> Vec<Vec<f32>> {
    let mut whole = Whole::load(path);
    let place = |position: usize, sequence: u32| Token {
        id: tokens[position],
        position,
        sequence,
        output: true,
    };
    let other = |sequence| [0, 1, 2, 3].map(|position| place(position, sequence));
    let prompt: Vec<Token> = (0..12).map(|position| place(position, 0)).collect();
    whole.decode(&prompt);
    let mut all = Vec::new();
    for position in 12..24 {
        if position == 14 && !matches!(beside, Beside::Nothing) {
            whole.decode(&other(1));
        }
        if position == 15 && matches!(beside, Beside::Goes | Beside::Follows) {
            cut(&mut whole, 1, 0);
        }
        if position == 15 && matches!(beside, Beside::Follows) {
            whole.decode(&other(2));
        }
        all.extend(whole.decode(&[place(position, 0)]));
    }
    all
}

/// Why answers of a busy node are not always those of an idle one: llama.cpp puts new cells into the
/// room that another sequence left, and attention adds up in the order of the cells. Other sequences
/// by themselves change nothing, nor does what is left of them.
#[test]
fn only_the_order_of_cells_changes_an_answer() {
    let Some(path) = std::env::var_os("TEST_MODEL").map(PathBuf::from) else {
        println!("skipped: TEST_MODEL names no model");
        return;
    };
    let text = "Once upon a time, in a village by the sea, there lived a wise old man who was a sailor \
                and a healer and had a daughter named Anna";
    let model = Model::load(Backend::init(), &path, 0, &mut |_| true).unwrap();
    let tokens = model.tokenize(text, true, true).unwrap();
    let alone = answer(&path, &tokens, Beside::Nothing);
    let changed = |beside| {
        let rows = answer(&path, &tokens, beside);
        let rows = alone.iter().zip(&rows);
        let differences =
            rows.map(|(a, b)| difference(std::slice::from_ref(a), std::slice::from_ref(b)));
        differences.collect::<Vec<f32>>()
    };
    assert_eq!(changed(Beside::Stays), [0.0; 12]);
    assert_eq!(changed(Beside::Follows), [0.0; 12]);
    let goes = changed(Beside::Goes);
    println!("in another order: {goes:?}");
    assert_eq!(goes[..3], [0.0; 3]);
}
