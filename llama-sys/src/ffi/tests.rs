//! Models that were cut: chains of stages against the whole model, by their logits. Equal tokens
//! would prove little: a chain that was wrong by 6.5 in its logits still gave 64 of 64 of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backend::Backend;
use super::batch::Batch;
use super::context::{Context, ContextParams, Pause, Tap};
use super::model::Model;
use super::table::EmbeddingTable;
use crate::gguf::slice::{Materialising, Scales, Sliceable, materialise};
use crate::gguf::{self};

mod exactness;
mod real;
mod shards;

fn params() -> ContextParams {
    ContextParams {
        cells: 512,
        batch_tokens: 64,
        // Fewer than a prompt has.
        micro_batch_tokens: 8,
        outputs: 16,
        sequences: 4,
        threads: 1,
        pause: Pause::Spin,
        embeddings: None,
        tap: Tap::None,
    }
}

/// A token and its place.
#[derive(Debug, Clone, Copy)]
struct Token {
    id: u32,
    position: usize,
    sequence: u32,
    output: bool,
}

/// What computes tokens: a whole model or a chain of stages.
trait Computes {
    /// The logits of the tokens whose output is wanted.
    fn decode(&mut self, tokens: &[Token]) -> Vec<Vec<f32>>;
    fn contexts(&mut self) -> &mut [Context];
}

fn load(path: &Path, params: ContextParams) -> Context {
    let model = Model::load(Backend::init(), path, 0, &mut |_| true).unwrap();
    Context::new(Backend::init(), Arc::new(model), params).unwrap()
}

fn logits(context: &mut Context, tokens: &[Token]) -> Vec<Vec<f32>> {
    let wanted = (0..tokens.len()).filter(|index| tokens[*index].output);
    wanted
        .map(|index| context.logits_mut(index).unwrap().to_vec())
        .collect()
}

struct Whole([Context; 1]);

impl Whole {
    fn load(path: &Path) -> Self {
        Self([load(path, params())])
    }
}

impl Computes for Whole {
    fn decode(&mut self, tokens: &[Token]) -> Vec<Vec<f32>> {
        let mut batch = Batch::default();
        for token in tokens {
            batch.push(token.id, token.position, token.sequence, token.output);
        }
        self.0[0].decode(&mut batch).unwrap();
        logits(&mut self.0[0], tokens)
    }

    fn contexts(&mut self) -> &mut [Context] {
        &mut self.0
    }
}

struct Chain {
    table: EmbeddingTable,
    scales: Scales,
    stages: Vec<Context>,
    vocabulary: Model,
}

impl Chain {
    /// Cuts a model; its stages' files lie in `folder`.
    fn cut(path: &Path, cuts: &[u32], folder: &Path) -> Self {
        let model = gguf::Model::open(path).unwrap();
        let sliceable = Sliceable::of(&model.headers).unwrap();
        let make = |plan, name: &str| {
            let to = folder.join(name);
            let order = Materialising {
                plan: Arc::new(plan),
                files: &model.files,
                to: &to,
                budget_bytes: u64::MAX,
            };
            materialise(&order, &mut |_, _| true).unwrap();
            to
        };
        let head = make(sliceable.head().unwrap(), "head.gguf");
        let ends = [&[0], cuts, &[model.facts.layers]].concat();
        let stages = ends.windows(2).map(|pair| {
            let is_last = pair[1] == model.facts.layers;
            let plan = sliceable.stage(pair[0]..pair[1]).unwrap();
            let params = ContextParams {
                tap: if is_last { Tap::None } else { Tap::Hidden },
                ..params()
            };
            let mut context = load(&make(plan, "stage.gguf"), params);
            probe(&mut context, sliceable.facts().embedding_length, is_last);
            context
        });
        let stages = stages.collect();
        let vocabulary = Model::load_vocabulary(Backend::init(), &head).unwrap();
        let table = EmbeddingTable::open(&head).unwrap();
        assert_eq!(u64::from(vocabulary.vocab_size()), table.rows());
        Self {
            table,
            scales: sliceable.scales(),
            stages,
            vocabulary,
        }
    }
}

/// A stage that computes leaves as many numbers as a hidden state has.
fn probe(context: &mut Context, width: u32, is_last: bool) {
    let mut batch = Batch::default();
    batch.push_hidden(&vec![0.5; width as usize], 0, 0, true);
    context.decode(&mut batch).unwrap();
    let left = context.hidden().map(<[f32]>::len);
    assert_eq!(left, (!is_last).then_some(width as usize));
    context.clear();
}

impl Computes for Chain {
    fn decode(&mut self, tokens: &[Token]) -> Vec<Vec<f32>> {
        let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
        let mut hidden = Vec::new();
        self.table.append_rows(&ids, &mut hidden).unwrap();
        let mut scale = self.scales.lookup;
        let last = self.stages.len() - 1;
        for (number, stage) in self.stages.iter_mut().enumerate() {
            let mut batch = Batch::default();
            for (token, row) in tokens.iter().zip(hidden.chunks(self.table.width())) {
                let row: Vec<f32> = row.iter().map(|value| value * scale).collect();
                let output = number < last || token.output;
                batch.push_hidden(&row, token.position, token.sequence, output);
            }
            stage.decode(&mut batch).unwrap();
            if number < last {
                hidden = stage.hidden().unwrap().to_vec();
            }
            scale = self.scales.between;
        }
        logits(&mut self.stages[last], tokens)
    }

    fn contexts(&mut self) -> &mut [Context] {
        &mut self.stages
    }
}

/// Drops what follows the first `keep` tokens of a sequence, everywhere.
fn cut(computes: &mut dyn Computes, sequence: u32, keep: usize) {
    for context in computes.contexts() {
        assert!(context.cut(sequence, keep));
    }
}

/// What a chain may be asked for: prompts over several micro-batches, sequences side by side, the
/// rollback of tokens that were not accepted, a prefix that another sequence shares. All logits.
fn script(computes: &mut dyn Computes, tokens: &[u32]) -> Vec<Vec<f32>> {
    let mut all = Vec::new();
    let run = |range: std::ops::Range<usize>, from: usize, sequence: u32, outputs: usize| {
        let end = range.end;
        let place = move |index: usize| Token {
            id: tokens[(index + from) % tokens.len()],
            position: index,
            sequence,
            output: index + outputs >= end,
        };
        range.map(place).collect::<Vec<_>>()
    };
    all.extend(computes.decode(&run(0..27, 0, 0, 1)));
    for position in 27..30 {
        all.extend(computes.decode(&run(position..position + 1, 0, 0, 1)));
    }
    // Two sequences of unequal lengths, mixed.
    let mut mixed = run(0..13, 40, 1, 2);
    let other = run(30..33, 0, 0, 3);
    for (index, token) in other.into_iter().enumerate() {
        mixed.insert(3 + 4 * index, token);
    }
    all.extend(computes.decode(&mixed));
    // Five are tried, two of them kept.
    all.extend(computes.decode(&run(33..38, 7, 0, 5)));
    cut(computes, 0, 35);
    all.extend(computes.decode(&run(35..36, 3, 0, 1)));
    cut(computes, 0, 20);
    all.extend(computes.decode(&run(20..31, 11, 0, 4)));
    for context in computes.contexts() {
        context.share(0, 2, 15);
    }
    let shared = [run(15..24, 21, 2, 3), run(13..14, 5, 1, 1)].concat();
    all.extend(computes.decode(&shared));
    all
}

/// The largest difference between a chain's logits and the whole model's.
fn difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    let largest = |most: f32, (a, b): (&f32, &f32)| {
        assert!(a.is_finite() && b.is_finite());
        most.max((a - b).abs())
    };
    pairs.fold(0.0, largest)
}
