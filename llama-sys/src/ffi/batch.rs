//! The input of one decode call: tokens, or in their place the hidden states that the layers before
//! made of them.

#![expect(
    clippy::cast_possible_truncation,
    reason = "positions and sequences are below the context's size, an i32 of llama.cpp's"
)]

use llama_cpp_sys_2 as sys;

/// Tokens to be computed, each with its place. Its buffers are kept between uses.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    tokens: Vec<i32>,
    /// Instead of tokens: a row of hidden state for each.
    hidden: Vec<f32>,
    positions: Vec<i32>,
    sequences: Vec<i32>,
    outputs: Vec<i8>,
    counts: Vec<i32>,
    pointers: Vec<*mut i32>,
}

// SAFETY: the pointers point into the batch's own buffers, and are made anew for each call.
unsafe impl Send for Batch {}

impl Batch {
    /// Empties it.
    pub(crate) fn clear(&mut self) {
        self.tokens.clear();
        self.hidden.clear();
        self.positions.clear();
        self.sequences.clear();
        self.outputs.clear();
    }

    /// Adds a token at `position` of `sequence`; with `output` its logits are wanted. Answers
    /// its index.
    pub(crate) fn push(
        &mut self,
        token: u32,
        position: usize,
        sequence: u32,
        output: bool,
    ) -> usize {
        self.tokens.push(token as i32);
        self.place(position, sequence, output)
    }

    /// Adds a token by its hidden state, a row as wide as the model. A batch has either tokens or
    /// hidden states. Answers its index.
    pub(crate) fn push_hidden(
        &mut self,
        row: &[f32],
        position: usize,
        sequence: u32,
        output: bool,
    ) -> usize {
        self.hidden.extend_from_slice(row);
        self.place(position, sequence, output)
    }

    fn place(&mut self, position: usize, sequence: u32, output: bool) -> usize {
        self.positions.push(position as i32);
        self.sequences.push(sequence as i32);
        self.outputs.push(i8::from(output));
        self.positions.len() - 1
    }

    pub(crate) fn len(&self) -> usize {
        self.positions.len()
    }

    pub(crate) fn tokens(&self) -> &[i32] {
        &self.tokens
    }

    pub(crate) fn hidden(&self) -> &[f32] {
        &self.hidden
    }

    pub(crate) fn sequences(&self) -> &[i32] {
        &self.sequences
    }

    pub(crate) fn outputs(&self) -> &[i8] {
        &self.outputs
    }

    /// The batch as llama.cpp wants it; valid until the batch is changed or moved.
    pub(super) fn raw(&mut self) -> sys::llama_batch {
        let n = self.positions.len();
        let (token, embd) = if self.hidden.is_empty() {
            (self.tokens.as_mut_ptr(), std::ptr::null_mut())
        } else {
            (std::ptr::null_mut(), self.hidden.as_mut_ptr())
        };
        self.counts.resize(n, 1);
        self.pointers.clear();
        self.pointers
            .extend(self.sequences.iter_mut().map(std::ptr::from_mut));
        sys::llama_batch {
            n_tokens: n as i32,
            token,
            embd,
            pos: self.positions.as_mut_ptr(),
            n_seq_id: self.counts.as_mut_ptr(),
            seq_id: self.pointers.as_mut_ptr(),
            logits: self.outputs.as_mut_ptr(),
        }
    }
}
