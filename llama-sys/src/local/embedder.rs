//! Texts to vectors, one text at a time: so each gives what it gives alone, and running answers
//! wait for one text's batch at most.
//!
//! Where the model's file names a way to pool, llama.cpp pools, which takes the whole text in
//! one batch, as encoders do. Elsewhere the vectors of all tokens are averaged here, batch by
//! batch.

#![expect(
    clippy::cast_possible_truncation,
    reason = "vectors are told in single precision"
)]

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::engine::JobError;
use crate::ffi::backend::Backend;
use crate::ffi::batch::Batch;
use crate::ffi::context::{Context, ContextParams, Pause, Pooling, Tap};
use crate::ffi::model::Model;

/// Longest text that is computed in one batch: the buffers grow with the square of it.
const MAX_WHOLE_TOKENS: u32 = 2048;

/// The one sequence that is used.
const SEQUENCE: u32 = 0;

type Reply = oneshot::Sender<Result<(Vec<Vec<f32>>, u32), JobError>>;

/// Texts to be embedded.
pub(super) struct EmbedTask {
    inputs: Vec<Vec<u32>>,
    vectors: Vec<Vec<f32>>,
    reply: Option<Reply>,
}

impl EmbedTask {
    pub(super) fn new(inputs: Vec<Vec<u32>>, reply: Reply) -> Self {
        Self {
            inputs,
            vectors: Vec::new(),
            reply: Some(reply),
        }
    }

    /// Ends the task with an error.
    pub(super) fn fail(mut self, error: JobError) {
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(Err(error));
        }
    }
}

/// Makes vectors. Its context is made when it is first needed.
#[derive(Debug)]
pub(super) struct Embedder {
    backend: Backend,
    model: Arc<Model>,
    params: ContextParams,
    context: Option<Context>,
    batch: Batch,
}

/// `LLAMA_POOLING_TYPE_LAST`. What comes after it gives no vector of the text: rerankers give a
/// score, in a buffer as long as that.
const LAST_POOLING_OF_VECTORS: u32 = 3;

/// How a model makes a text's vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Method {
    pooling: Pooling,
    /// The whole text in one batch: llama.cpp pools it, or its tokens see those behind them.
    whole: bool,
}

impl Method {
    /// The method of a model. `cached`: it has a KV cache, so a text can come in pieces. `None`
    /// if it makes no vectors.
    pub(super) fn of(model: &Model, cached: bool) -> Option<Self> {
        let kind = model.architecture_meta("pooling_type");
        let pooling = match kind.and_then(|k| k.parse::<u32>().ok()) {
            None | Some(0) => Pooling::None,
            Some(1..=LAST_POOLING_OF_VECTORS) => Pooling::Model,
            Some(_) => return None,
        };
        let causal = model.architecture_meta("attention.causal").as_deref() != Some("false");
        let whole = pooling == Pooling::Model || !cached || !causal;
        Some(Self { pooling, whole })
    }

    /// Longest text, of `context` tokens at most.
    pub(super) fn most_tokens(self, context: u32) -> u32 {
        if self.whole {
            context.min(MAX_WHOLE_TOKENS)
        } else {
            context
        }
    }
}

impl Embedder {
    /// An embedder for texts of up to `generation.cells` tokens, in batches of `generation`'s
    /// size where the method allows it.
    pub(super) fn new(
        backend: Backend,
        model: Arc<Model>,
        method: Method,
        generation: ContextParams,
    ) -> Self {
        let most = method.most_tokens(generation.cells);
        let batch_tokens = if method.whole {
            most
        } else {
            generation.batch_tokens.min(most)
        };
        Self {
            backend,
            params: ContextParams {
                cells: most,
                batch_tokens,
                micro_batch_tokens: batch_tokens,
                outputs: batch_tokens,
                sequences: 1,
                threads: generation.threads,
                pause: Pause::Spin,
                embeddings: Some(method.pooling),
                tap: Tap::None,
            },
            model,
            context: None,
            batch: Batch::default(),
        }
    }

    /// Embeds the next text of a task. The task, if it has more.
    pub(super) fn step(&mut self, mut task: EmbedTask) -> Option<EmbedTask> {
        if task.reply.as_ref().is_none_or(oneshot::Sender::is_closed) {
            return None;
        }
        if let Some(tokens) = task.inputs.get(task.vectors.len()) {
            match self.embed(tokens) {
                Ok(vector) => task.vectors.push(vector),
                Err(error) => {
                    task.fail(error);
                    return None;
                }
            }
        }
        if task.vectors.len() < task.inputs.len() {
            return Some(task);
        }
        let total: usize = task.inputs.iter().map(Vec::len).sum();
        if let Some(reply) = task.reply.take() {
            let total = u32::try_from(total).unwrap_or(u32::MAX);
            let _ = reply.send(Ok((task.vectors, total)));
        }
        None
    }

    fn embed(&mut self, tokens: &[u32]) -> Result<Vec<f32>, JobError> {
        let mut sum = vec![0f64; self.model.embedding_length() as usize];
        let size = self.params.batch_tokens as usize;
        let failed = |what: String| JobError::Inference(what);
        if self.context.is_none() {
            self.context = Context::new(self.backend, Arc::clone(&self.model), self.params);
        }
        let no_context = || failed("no context for embeddings could be made".into());
        let context = self.context.as_mut().ok_or_else(no_context)?;
        context.clear();
        for (chunk_index, chunk) in tokens.chunks(size).enumerate() {
            self.batch.clear();
            for (i, &token) in chunk.iter().enumerate() {
                self.batch
                    .push(token, chunk_index * size + i, SEQUENCE, true);
            }
            context
                .decode(&mut self.batch)
                .map_err(|e| failed(e.to_string()))?;
            let rows = if context.pools() { 1 } else { chunk.len() };
            for row in 0..rows {
                let missing = || failed("llama.cpp gave no vector".into());
                let vector = context.embedding(row).ok_or_else(missing)?;
                for (total, &x) in sum.iter_mut().zip(vector) {
                    *total += f64::from(x);
                }
            }
        }
        normalised(&sum).ok_or_else(|| failed("the model's vector is not a number".into()))
    }
}

/// The vector of length 1 in the same direction. `None` if it has no direction.
fn normalised(vector: &[f64]) -> Option<Vec<f32>> {
    let length = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    let usable = length.is_finite() && length > 0.0;
    usable.then(|| vector.iter().map(|x| (x / length) as f32).collect())
}
