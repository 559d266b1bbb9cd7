//! llama.cpp's samplers: penalties, truncation, grammar.

use std::ffi::CString;
use std::mem::{align_of, offset_of, size_of};
use std::ptr::NonNull;
use std::sync::Arc;

use llama_cpp_sys_2 as sys;

use super::model::Model;
use crate::core::select::Candidate;

// `Candidate` is passed to llama.cpp as its own type.
const _: () = assert!(
    size_of::<Candidate>() == size_of::<sys::llama_token_data>()
        && align_of::<Candidate>() == align_of::<sys::llama_token_data>()
        && offset_of!(Candidate, token) == offset_of!(sys::llama_token_data, id)
        && offset_of!(Candidate, logit) == offset_of!(sys::llama_token_data, logit)
        && offset_of!(Candidate, p) == offset_of!(sys::llama_token_data, p)
);

/// One sampler. It changes logits or removes candidates; choosing is not its business.
#[derive(Debug)]
pub(crate) struct Sampler {
    sampler: NonNull<sys::llama_sampler>,
    model: Arc<Model>,
}

// SAFETY: a sampler has no tie to the thread that made it, and all use needs `&mut self`.
unsafe impl Send for Sampler {}

/// Penalties for tokens that occurred.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Penalties {
    /// How many of the last tokens count.
    pub(crate) last_n: i32,
    /// Divides (or multiplies) logits.
    pub(crate) repeat: f32,
    /// Subtracted for each occurrence.
    pub(crate) frequency: f32,
    /// Subtracted for any occurrence.
    pub(crate) presence: f32,
}

impl Sampler {
    fn own(sampler: *mut sys::llama_sampler, model: &Arc<Model>) -> Option<Self> {
        Some(Self {
            sampler: NonNull::new(sampler)?,
            model: Arc::clone(model),
        })
    }

    /// Penalties for repetition.
    pub(crate) fn penalties(model: &Arc<Model>, p: Penalties) -> Option<Self> {
        let vocab = model.vocab_size() as i32;
        // SAFETY: plain values.
        let sampler = unsafe {
            sys::llama_sampler_init_penalties(vocab, p.last_n, p.repeat, p.frequency, p.presence)
        };
        Self::own(sampler, model)
    }

    /// Keeps the `k` likeliest candidates: what [`crate::core::select::top_k`] is tested against.
    #[cfg(test)]
    pub(crate) fn top_k(model: &Arc<Model>, k: i32) -> Option<Self> {
        // SAFETY: plain values.
        Self::own(unsafe { sys::llama_sampler_init_top_k(k) }, model)
    }

    /// Keeps the likeliest candidates that make up the probability `p` together.
    pub(crate) fn top_p(model: &Arc<Model>, p: f32) -> Option<Self> {
        // SAFETY: plain values.
        Self::own(unsafe { sys::llama_sampler_init_top_p(p, 1) }, model)
    }

    /// Keeps candidates with at least `p` times the largest probability.
    pub(crate) fn min_p(model: &Arc<Model>, p: f32) -> Option<Self> {
        // SAFETY: plain values.
        Self::own(unsafe { sys::llama_sampler_init_min_p(p, 1) }, model)
    }

    /// A grammar in GBNF with the rule `root`. `None` if llama.cpp cannot read it.
    pub(crate) fn grammar(model: &Arc<Model>, gbnf: &str) -> Option<Self> {
        let gbnf = CString::new(gbnf).ok()?;
        // SAFETY: both strings end in NUL; the vocabulary outlives the sampler, which holds the
        // model. The wrapper catches C++ exceptions.
        let sampler = unsafe {
            sys::llama_rs_sampler_init_grammar(model.vocab_ptr(), gbnf.as_ptr(), c"root".as_ptr())
        };
        Self::own(sampler, model)
    }

    /// Works on the candidates: changes their logits, reorders them, or shortens the list.
    /// `sorted`: the likeliest is first; answers whether that holds afterwards.
    pub(crate) fn apply(&mut self, candidates: &mut Vec<Candidate>, sorted: bool) -> bool {
        let before = candidates.len();
        if before == 0 {
            return sorted;
        }
        let data = candidates.as_mut_ptr().cast::<sys::llama_token_data>();
        let mut array = sys::llama_token_data_array {
            data,
            size: before,
            selected: -1,
            sorted,
        };
        // SAFETY: the array describes the vector's buffer, whose entries have llama.cpp's
        // layout. Samplers work in place and only ever shorten.
        unsafe { sys::llama_sampler_apply(self.sampler.as_ptr(), &raw mut array) };
        debug_assert!(std::ptr::eq(array.data, data), "samplers work in place");
        candidates.truncate(array.size);
        array.sorted
    }

    /// Tells the sampler which token was chosen. False if it cannot take it (a grammar that does
    /// not allow it).
    #[must_use]
    pub(crate) fn accept(&mut self, token: u32) -> bool {
        let Some(token) = self.model.checked(token) else {
            return false;
        };
        // SAFETY: the token is in the vocabulary; the wrapper catches C++ exceptions.
        let status = unsafe { sys::llama_rs_sampler_accept(self.sampler.as_ptr(), token) };
        status == sys::LLAMA_RS_STATUS_OK
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        // SAFETY: made by one of llama.cpp's constructors, freed only here.
        unsafe { sys::llama_sampler_free(self.sampler.as_ptr()) }
    }
}
