//! Hidden states in and out of contexts of the specimen.

use super::*;
use crate::ffi::table::{EmbeddingTable, LookupError};
use crate::gguf::specimen::tiny_llama;

/// The specimen's width.
const WIDTH: usize = 64;

fn params() -> ContextParams {
    ContextParams {
        cells: 256,
        batch_tokens: 16,
        micro_batch_tokens: 4,
        outputs: 4,
        sequences: 2,
        threads: 1,
        pause: Pause::Spin,
        embeddings: None,
        tap: Tap::None,
    }
}

struct Specimen {
    folder: tempfile::TempDir,
    model: Arc<Model>,
}

impl Specimen {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("specimen.gguf");
        tiny_llama().save(&path).unwrap();
        let model = Model::load(Backend::init(), &path, 0, &mut |_| true).unwrap();
        Self {
            folder,
            model: Arc::new(model),
        }
    }

    fn context(&self, params: ContextParams) -> Context {
        Context::new(Backend::init(), Arc::clone(&self.model), params).unwrap()
    }

    fn capturing(&self) -> Context {
        self.context(ContextParams {
            tap: Tap::Hidden,
            ..params()
        })
    }

    fn table(&self) -> EmbeddingTable {
        EmbeddingTable::open(&self.folder.path().join("specimen.gguf")).unwrap()
    }
}

fn invalid(result: Result<(), DecodeError>) -> &'static str {
    match result {
        Err(DecodeError::Invalid(what)) => what,
        other => panic!("{other:?}"),
    }
}

#[test]
fn looked_up_embeddings_count_as_their_tokens() {
    let specimen = Specimen::new();
    let mut table = specimen.table();
    assert_eq!((table.rows(), table.width()), (259, WIDTH));
    let tokens = [1, 70, 80, 258, 5, 6, 7];
    let mut rows = Vec::new();
    table.append_rows(&tokens, &mut rows).unwrap();
    let (mut by_token, mut by_row) = (Batch::default(), Batch::default());
    for (index, (token, row)) in tokens.iter().zip(rows.chunks(WIDTH)).enumerate() {
        let output = index + 1 == tokens.len();
        by_token.push(*token, index, 0, output);
        by_row.push_hidden(row, index, 0, output);
    }
    let logits = |batch: &mut Batch| {
        let mut context = specimen.context(params());
        context.decode(batch).unwrap();
        assert_eq!(context.hidden(), None);
        context.logits_mut(tokens.len() - 1).unwrap().to_vec()
    };
    assert_eq!(logits(&mut by_token), logits(&mut by_row));
}

#[test]
fn a_token_outside_the_table_leaves_nothing() {
    let mut table = Specimen::new().table();
    let mut rows = vec![7.0];
    let looked_up = table.append_rows(&[1, 259], &mut rows);
    assert!(matches!(looked_up, Err(LookupError::Token(259))));
    assert_eq!(rows, [7.0]);
}

#[test]
fn a_row_for_each_token_comes_out_over_micro_batches() {
    let specimen = Specimen::new();
    let mut context = specimen.capturing();
    assert_eq!(context.hidden(), None);
    let mut batch = Batch::default();
    for index in 0..10 {
        batch.push(40 + index, index as usize, 0, true);
    }
    context.decode(&mut batch).unwrap();
    let rows = context.hidden().unwrap().to_vec();
    assert_eq!(rows.len(), 10 * WIDTH);
    assert!(rows.iter().all(|value| value.is_finite()));
    assert_eq!(context.logits_mut(9), None);
    // One token after another leaves the same rows but for rounding.
    context.clear();
    for index in 0..10_usize {
        batch.clear();
        batch.push(40 + index as u32, index, 0, true);
        context.decode(&mut batch).unwrap();
        let row = context.hidden().unwrap();
        let before = &rows[index * WIDTH..][..WIDTH];
        assert!(row.iter().zip(before).all(|(a, b)| (a - b).abs() < 0.05));
    }
}

#[test]
fn what_llama_cpp_would_abort_on_is_refused() {
    let specimen = Specimen::new();
    let mut context = specimen.context(params());
    let row = [0.5; WIDTH];
    let mut batch = Batch::default();
    batch.push_hidden(&row[1..], 0, 0, true);
    assert_eq!(
        invalid(context.decode(&mut batch)),
        "width of the hidden states"
    );
    batch.push_hidden(&row[..1], 1, 0, true);
    assert_eq!(
        invalid(context.decode(&mut batch)),
        "width of the hidden states"
    );
    batch.clear();
    batch.push_hidden(&row, 0, 0, true);
    batch.push(3, 1, 0, true);
    assert_eq!(
        invalid(context.decode(&mut batch)),
        "tokens beside hidden states"
    );
    batch.clear();
    batch.push_hidden(&[], 0, 0, true);
    assert_eq!(invalid(context.decode(&mut batch)), "number of tokens");
    let mut stage = specimen.capturing();
    batch.clear();
    batch.push_hidden(&row, 0, 0, false);
    let refused = invalid(stage.decode(&mut batch));
    assert_eq!(refused, "a token of a stage whose output is not wanted");
    assert_eq!(stage.hidden(), None);
}

#[test]
fn the_last_rows_are_gone_when_a_batch_fails() {
    let specimen = Specimen::new();
    let mut stage = specimen.capturing();
    let mut batch = Batch::default();
    batch.push_hidden(&[0.5; WIDTH], 0, 0, true);
    stage.decode(&mut batch).unwrap();
    assert_eq!(stage.hidden().map(<[f32]>::len), Some(WIDTH));
    batch.clear();
    // A gap: llama.cpp answers −1.
    batch.push_hidden(&[0.5; WIDTH], 5, 0, true);
    assert!(stage.decode(&mut batch).is_err());
    assert_eq!(stage.hidden(), None);
}

#[test]
fn a_vocabulary_is_loaded_without_the_weights() {
    let specimen = Specimen::new();
    let path = specimen.folder.path().join("specimen.gguf");
    let vocabulary = Model::load_vocabulary(Backend::init(), &path).unwrap();
    assert_eq!(vocabulary.vocab_size(), 259);
    let tokens = |model: &Model| model.tokenize("fish", true, true).unwrap();
    assert_eq!(tokens(&vocabulary), tokens(&specimen.model));
    assert!(Context::new(Backend::init(), Arc::new(vocabulary), params()).is_none());
}
