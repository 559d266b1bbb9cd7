//! A mixture's router, watched and held back while llama.cpp computes: how much of its weight goes to
//! each expert, and some experts that it may not choose.
//!
//! It sees the values of the graph by the names that llama.cpp's `build_moe_ffn` gives them. Which
//! experts may be chosen, and what the figures are good for, is the callers' business.

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;

use super::context::ContextParams;
use super::model::Model;
use crate::gguf::{ExpertSets, MAX_EXPERTS, Usage};

/// The score of an expert that may not be chosen: its share of a softmax is 0 in every float, and,
/// unlike −∞, it makes no NaN of anything.
const NEVER: f32 = -1e30;

/// What one context's callback works on. The context must be freed before it.
#[derive(Debug)]
pub(super) struct Routing(NonNull<State>);

// SAFETY: the state is used by the context's callback, which runs within `decode`, and by the
// methods here, which take the routing; one thread at a time has the context that owns it.
unsafe impl Send for Routing {}

#[derive(Debug)]
struct State {
    layers: usize,
    experts: usize,
    /// Layer by layer, the experts that may not be chosen. Empty: all may.
    held_back: Vec<Vec<usize>>,
    /// What each expert got, layer by layer.
    sums: Vec<f64>,
    /// The layer whose choice came last and is not yet in the sums.
    pending: Option<usize>,
    chosen: Vec<i32>,
    weights: Vec<f32>,
    /// Experts that a token of the pending layer uses.
    used: usize,
    /// Scores or choices of one micro-batch, in whole rows. Made at the start, so that the callback
    /// allocates nothing.
    scores: Box<[f32]>,
    choices: Box<[i32]>,
    /// What came had not the shape that it has in a mixture.
    broken: bool,
}

/// What of a router's graph a tensor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The scores of all experts.
    Scores,
    /// The numbers of the chosen ones.
    Chosen,
    /// Their weights, of which the last ones that come are those that count.
    Weights,
}

impl Routing {
    /// What llama.cpp is to call, with [`Routing::user_data`].
    pub(super) const CALLBACK: unsafe extern "C" fn(
        *mut sys::ggml_tensor,
        bool,
        *mut c_void,
    ) -> bool = on_tensor;

    /// Watches a model's router. `None` if it has none.
    pub(super) fn new(model: &Model, params: &ContextParams) -> Option<Self> {
        let experts = model.architecture_meta("expert_count")?;
        let experts = experts.parse::<usize>().ok();
        let experts = experts.filter(|experts| (1..=MAX_EXPERTS as usize).contains(experts))?;
        let layers = model.layers() as usize;
        let most = experts * params.micro_batch_tokens as usize;
        let state = State {
            layers,
            experts,
            held_back: Vec::new(),
            sums: vec![0.0; layers * experts],
            pending: None,
            chosen: Vec::with_capacity(most),
            weights: Vec::with_capacity(most),
            used: 0,
            scores: vec![0.0; most].into_boxed_slice(),
            choices: vec![0; most].into_boxed_slice(),
            broken: false,
        };
        Some(Self(NonNull::from(Box::leak(Box::new(state)))))
    }

    pub(super) fn user_data(&self) -> *mut c_void {
        self.0.as_ptr().cast()
    }

    /// Lets the router choose among these only from now on; `None`: among all. False, and nothing
    /// changes, if they are another model's.
    pub(super) fn hold_back(&mut self, kept: Option<&ExpertSets>) -> bool {
        let state = self.state_mut();
        let Some(kept) = kept else {
            state.held_back.clear();
            return true;
        };
        if kept.experts() as usize != state.experts || kept.layers().len() != state.layers {
            return false;
        }
        let others = |layer: usize| {
            let others = (0..kept.experts()).filter(|expert| !kept.has(layer, *expert));
            others.map(|expert| expert as usize).collect()
        };
        state.held_back = (0..state.layers).map(others).collect();
        true
    }

    /// Forgets what was seen.
    pub(super) fn clear(&mut self) {
        let state = self.state_mut();
        state.sums.fill(0.0);
        state.pending = None;
        state.broken = false;
    }

    /// What was seen since; `None` if it was no router's.
    pub(super) fn usage(&mut self) -> Option<Usage> {
        let state = self.state_mut();
        state.settle();
        let rows = state.sums.chunks(state.experts).map(<[f64]>::to_vec);
        let usage = Usage::try_from(rows.collect::<Vec<_>>()).ok();
        usage.filter(|_| !state.broken)
    }

    fn state_mut(&mut self) -> &mut State {
        // SAFETY: the state lives as long as `self`, and no callback runs now.
        unsafe { self.0.as_mut() }
    }
}

impl Drop for Routing {
    fn drop(&mut self) {
        // SAFETY: made by `Box::leak`, freed only here; the context that had the pointer is freed
        // (see `Context`).
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// llama.cpp's `ggml_backend_sched_eval_callback`: with `ask` whether the tensor is wanted, then
/// its value, which is computed and, for scores, changed before anything uses it. It must not unwind,
/// and has nothing that panics.
unsafe extern "C" fn on_tensor(
    tensor: *mut sys::ggml_tensor,
    ask: bool,
    data: *mut c_void,
) -> bool {
    // SAFETY: `data` is the routing's state, which outlives the context; within `decode` nothing
    // else uses it.
    let state = unsafe { &mut *data.cast::<State>() };
    // SAFETY: llama.cpp passes a tensor of the graph; names are arrays that end in NUL.
    let name = unsafe { CStr::from_ptr((*tensor).name.as_ptr()) };
    let place = place_of(name.to_bytes()).filter(|(place, layer)| state.wants(*place, *layer));
    let Some((place, layer)) = place else {
        // Asked: it is not wanted. Told: go on.
        return !ask;
    };
    if !ask {
        // SAFETY: the tensor is the graph's, and was just computed.
        let sound = unsafe {
            match place {
                Place::Scores => state.hold_back(tensor, layer),
                Place::Chosen => state.take_chosen(tensor, layer),
                Place::Weights => state.take_weights(tensor, layer),
            }
        };
        state.broken |= !sound;
    }
    true
}

/// What a tensor is, and of which layer, by its name. Views have names with more behind the number.
fn place_of(name: &[u8]) -> Option<(Place, usize)> {
    let rest = name.strip_prefix(b"ffn_moe_")?;
    let dash = rest.iter().rposition(|byte| *byte == b'-')?;
    let (what, number) = rest.split_at(dash);
    let place = match what {
        b"logits" => Place::Scores,
        b"topk" => Place::Chosen,
        b"weights" | b"weights_softmax" | b"weights_norm" => Place::Weights,
        _ => return None,
    };
    let number = std::str::from_utf8(number.get(1..)?).ok()?;
    Some((place, number.parse().ok()?))
}

impl State {
    fn wants(&self, place: Place, layer: usize) -> bool {
        let holds_back = self.held_back.get(layer).is_some_and(|of| !of.is_empty());
        layer < self.layers && (place != Place::Scores || holds_back)
    }

    /// Writes the scores of the experts that may not be chosen. False if the tensor holds no scores.
    ///
    /// # Safety
    /// The tensor is valid and computed, and nothing computes with it yet.
    unsafe fn hold_back(&mut self, tensor: *mut sys::ggml_tensor, layer: usize) -> bool {
        // SAFETY: as the caller promises.
        let Some(count) = (unsafe { floats(tensor) }) else {
            return false;
        };
        let experts = self.experts;
        let Some(scores) = self.scores.get_mut(..count) else {
            return false;
        };
        if !count.is_multiple_of(experts) {
            return false;
        }
        // Of no token the output is wanted: the tensor need not even have memory.
        if count == 0 {
            return true;
        }
        let bytes = size_of_val(scores);
        // SAFETY: the tensor is contiguous and has `count` floats, as many as the buffer.
        unsafe { sys::ggml_backend_tensor_get(tensor, scores.as_mut_ptr().cast(), 0, bytes) };
        let others = self.held_back.get(layer).map_or(&[][..], Vec::as_slice);
        for row in scores.chunks_mut(experts) {
            for expert in others {
                if let Some(score) = row.get_mut(*expert) {
                    *score = NEVER;
                }
            }
        }
        // SAFETY: as above, the other way.
        unsafe { sys::ggml_backend_tensor_set(tensor, scores.as_ptr().cast(), 0, bytes) };
        true
    }

    /// Takes the numbers of the chosen experts: rows that lie as far apart as all experts take. False
    /// if the tensor holds none.
    ///
    /// # Safety
    /// The tensor is valid and computed.
    unsafe fn take_chosen(&mut self, tensor: *const sys::ggml_tensor, layer: usize) -> bool {
        self.settle();
        // SAFETY: as the caller promises.
        let (ty, [used, rows, planes, cubes], [step, stride, ..]) =
            unsafe { ((*tensor).type_, (*tensor).ne, (*tensor).nb) };
        let number = size_of::<i32>();
        let right = ty == sys::GGML_TYPE_I32 && planes == 1 && cubes == 1 && step == number;
        let [Ok(used), Ok(rows)] = [used, rows].map(usize::try_from) else {
            return false;
        };
        if !right || used == 0 || used > self.experts || !stride.is_multiple_of(number) {
            return false;
        }
        self.chosen.clear();
        self.weights.clear();
        self.used = used;
        self.pending = Some(layer);
        // As above.
        if rows == 0 {
            return true;
        }
        let stride = stride / number;
        let Some(span) = (rows - 1)
            .checked_mul(stride)
            .and_then(|n| n.checked_add(used))
        else {
            return false;
        };
        let fits = used <= stride && rows * used <= self.chosen.capacity();
        let Some(choices) = self.choices.get_mut(..span).filter(|_| fits) else {
            return false;
        };
        let bytes = size_of_val(choices);
        // SAFETY: `span` numbers from its start on are within the tensor, whose last row ends with
        // them; the buffer has as many.
        unsafe { sys::ggml_backend_tensor_get(tensor, choices.as_mut_ptr().cast(), 0, bytes) };
        for row in choices.chunks(stride) {
            self.chosen.extend(row.iter().take(used));
        }
        true
    }

    /// Takes the weights of the chosen experts. False if the tensor does not hold as many.
    ///
    /// # Safety
    /// The tensor is valid and computed.
    unsafe fn take_weights(&mut self, tensor: *const sys::ggml_tensor, layer: usize) -> bool {
        // SAFETY: as the caller promises.
        let count = unsafe { floats(tensor) };
        if self.pending != Some(layer) || count != Some(self.chosen.len()) {
            return false;
        }
        if self.chosen.is_empty() {
            return true;
        }
        self.weights.clear();
        self.weights.resize(self.chosen.len(), 0.0);
        let bytes = size_of_val(self.weights.as_slice());
        // SAFETY: the tensor is contiguous and has as many floats as the buffer.
        unsafe {
            sys::ggml_backend_tensor_get(tensor, self.weights.as_mut_ptr().cast(), 0, bytes);
        }
        true
    }

    /// Adds what came of a layer to the sums; each token counts as 1, however its weights are scaled.
    fn settle(&mut self) {
        let Some(layer) = self.pending.take() else {
            return;
        };
        if self.weights.len() != self.chosen.len() {
            self.broken = true;
            return;
        }
        let rows = self.chosen.chunks(self.used.max(1));
        for (chosen, weights) in rows.zip(self.weights.chunks(self.used.max(1))) {
            let all: f32 = weights.iter().sum();
            if !(all.is_finite() && all > 0.0) {
                continue;
            }
            for (expert, weight) in chosen.iter().zip(weights) {
                let expert = usize::try_from(*expert).ok().filter(|e| *e < self.experts);
                let sum = expert.and_then(|e| self.sums.get_mut(layer * self.experts + e));
                match sum {
                    Some(sum) => *sum += f64::from((weight / all).max(0.0)),
                    None => self.broken = true,
                }
            }
        }
    }
}

/// How many floats a tensor has; `None` if they are no floats, or not one after the other.
///
/// # Safety
/// The tensor is valid.
unsafe fn floats(tensor: *const sys::ggml_tensor) -> Option<usize> {
    // SAFETY: as the caller promises.
    let (ty, elements, contiguous) = unsafe {
        (
            (*tensor).type_,
            sys::ggml_nelements(tensor),
            sys::ggml_is_contiguous(tensor),
        )
    };
    let count = usize::try_from(elements).ok()?;
    (ty == sys::GGML_TYPE_F32 && contiguous).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_routers_values_are_known_by_their_names() {
        assert_eq!(place_of(b"ffn_moe_logits-0"), Some((Place::Scores, 0)));
        assert_eq!(place_of(b"ffn_moe_topk-47"), Some((Place::Chosen, 47)));
        for name in ["weights", "weights_softmax", "weights_norm"] {
            let name = format!("ffn_moe_{name}-3");
            assert_eq!(place_of(name.as_bytes()), Some((Place::Weights, 3)));
        }
        let others: [&[u8]; 7] = [
            b"ffn_moe_weights-3 (reshaped)",
            b"ffn_moe_weights_sum-3",
            b"ffn_moe_logits_biased-1",
            b"ffn_moe_logits",
            b"ffn_moe_logits-",
            b"l_out-1",
            b"",
        ];
        for name in others {
            assert_eq!(place_of(name), None);
        }
    }
}
