//! A model's vocabulary: text to tokens and back.

#![expect(clippy::cast_possible_truncation, reason = "a token has few bytes")]

use llama_cpp_sys_2 as sys;

use super::model::Model;

/// Bytes of a token that are read without a second try; almost all are shorter.
const PIECE_BYTES: usize = 64;

/// Why a text could not be tokenized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text is too long to be tokenized")]
pub(crate) struct TooLong;

/// The tokens around a gap to be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InfillTokens {
    pub(crate) prefix: u32,
    pub(crate) suffix: u32,
    pub(crate) middle: u32,
}

impl Model {
    /// Tokens of the vocabulary.
    pub(crate) fn vocab_size(&self) -> u32 {
        // SAFETY: the vocabulary lives as long as `self`.
        let n = unsafe { sys::llama_vocab_n_tokens(self.vocab_ptr()) };
        u32::try_from(n).unwrap_or(0)
    }

    /// The token id in llama.cpp's type. `None` outside the vocabulary.
    pub(super) fn checked(&self, token: u32) -> Option<i32> {
        (token < self.vocab_size()).then_some(token as i32)
    }

    /// The tokens of a text. `add_special`: with the tokens that the model wants around a text
    /// (BOS, and EOS or SEP for some). `parse_special`: special tokens that the text spells out
    /// become tokens.
    pub(crate) fn tokenize(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<Vec<u32>, TooLong> {
        let length = i32::try_from(text.len()).map_err(|_| TooLong)?;
        let mut tokens = vec![0i32; text.len() / 2 + 16];
        for _ in 0..2 {
            let room = i32::try_from(tokens.len()).map_err(|_| TooLong)?;
            // SAFETY: text and buffer are as long as is said; the text needs no NUL.
            let n = unsafe {
                sys::llama_tokenize(
                    self.vocab_ptr(),
                    text.as_ptr().cast(),
                    length,
                    tokens.as_mut_ptr(),
                    room,
                    add_special,
                    parse_special,
                )
            };
            if n >= 0 {
                tokens.truncate(n as usize);
                return Ok(tokens.into_iter().map(|t| t as u32).collect());
            }
            if n == i32::MIN {
                return Err(TooLong);
            }
            tokens.resize(n.unsigned_abs() as usize, 0);
        }
        Err(TooLong)
    }

    /// Appends a token's bytes. `special`: control tokens as the model writes them, else they
    /// have none. Nothing for a token outside the vocabulary.
    pub(crate) fn append_piece(&self, token: u32, special: bool, bytes: &mut Vec<u8>) {
        let Some(token) = self.checked(token) else {
            return;
        };
        let mut room = PIECE_BYTES;
        for _ in 0..2 {
            let before = bytes.len();
            bytes.resize(before + room, 0);
            // SAFETY: the token is in the vocabulary and the buffer is as long as is said.
            let n = unsafe {
                sys::llama_token_to_piece(
                    self.vocab_ptr(),
                    token,
                    bytes[before..].as_mut_ptr().cast(),
                    room as i32,
                    0,
                    special,
                )
            };
            bytes.truncate(before + usize::try_from(n).unwrap_or(0));
            if n >= 0 {
                return;
            }
            room = n.unsigned_abs() as usize;
        }
    }

    /// True if the token ends an answer.
    pub(crate) fn is_end(&self, token: u32) -> bool {
        // SAFETY: the token is in the vocabulary.
        self.checked(token)
            .is_some_and(|t| unsafe { sys::llama_vocab_is_eog(self.vocab_ptr(), t) })
    }

    /// The token that begins a text, if the model wants one.
    pub(crate) fn bos(&self) -> Option<u32> {
        // SAFETY: the vocabulary lives as long as `self`.
        let (wanted, token) = unsafe {
            (
                sys::llama_vocab_get_add_bos(self.vocab_ptr()),
                sys::llama_vocab_bos(self.vocab_ptr()),
            )
        };
        wanted.then(|| u32::try_from(token).ok()).flatten()
    }

    /// The tokens for filling in the middle, if the model has them.
    pub(crate) fn infill_tokens(&self) -> Option<InfillTokens> {
        // SAFETY: the vocabulary lives as long as `self`.
        let [prefix, suffix, middle] = unsafe {
            [
                sys::llama_vocab_fim_pre(self.vocab_ptr()),
                sys::llama_vocab_fim_suf(self.vocab_ptr()),
                sys::llama_vocab_fim_mid(self.vocab_ptr()),
            ]
        };
        Some(InfillTokens {
            prefix: u32::try_from(prefix).ok()?,
            suffix: u32::try_from(suffix).ok()?,
            middle: u32::try_from(middle).ok()?,
        })
    }

    /// Tokens that the model's file says are never to be chosen.
    pub(crate) fn suppressed(&self) -> Vec<u32> {
        let mut n = 0;
        // SAFETY: the vocabulary lives as long as `self`; `n` is written before the return.
        let tokens = unsafe { sys::llama_vocab_get_suppress_tokens(self.vocab_ptr(), &raw mut n) };
        let n = usize::try_from(n).unwrap_or(0);
        if tokens.is_null() || n == 0 {
            return Vec::new();
        }
        // SAFETY: llama.cpp says that `n` tokens lie there, as long as the vocabulary lives.
        let tokens = unsafe { std::slice::from_raw_parts(tokens, n) };
        tokens.iter().map(|&t| t as u32).collect()
    }
}
