//! The hidden states that a context's last layer leaves: copied out while llama.cpp computes, since
//! it has no call for them (what it calls embeddings has passed the output norm).

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;

use super::context::ContextParams;
use super::model::Model;

/// What one context's callback works on. The context must be freed before it.
#[derive(Debug)]
pub(super) struct Capture(NonNull<State>);

// SAFETY: the state is used by the context's callback, which runs within `decode`, and by
// `clear` and `rows`, which take the capture; one thread at a time has the context that owns it.
unsafe impl Send for Capture {}

#[derive(Debug)]
struct State {
    /// Name of the tensor that the last layer leaves, ended in NUL.
    name: Vec<u8>,
    width: usize,
    /// Room for a whole batch is kept from the start, so that the callback allocates nothing.
    rows: Vec<f32>,
    /// What came did not have the shape that hidden states have.
    broken: bool,
}

impl Capture {
    /// What llama.cpp is to call, with [`Capture::user_data`].
    pub(super) const CALLBACK: unsafe extern "C" fn(
        *mut sys::ggml_tensor,
        bool,
        *mut c_void,
    ) -> bool = on_tensor;

    /// Captures what the model's last layer leaves.
    pub(super) fn new(model: &Model, params: &ContextParams) -> Self {
        let last = model.layers().saturating_sub(1);
        let width = model.width();
        let state = State {
            name: format!("l_out-{last}\0").into_bytes(),
            width,
            rows: Vec::with_capacity(width * params.batch_tokens as usize),
            broken: false,
        };
        Self(NonNull::from(Box::leak(Box::new(state))))
    }

    pub(super) fn user_data(&self) -> *mut c_void {
        self.0.as_ptr().cast()
    }

    /// Forgets what was captured.
    pub(super) fn clear(&mut self) {
        // SAFETY: the state lives as long as `self`, and no callback runs now.
        let state = unsafe { self.0.as_mut() };
        state.rows.clear();
        state.broken = false;
    }

    /// What was captured since; `None` if it was no hidden state.
    pub(super) fn rows(&self) -> Option<&[f32]> {
        // SAFETY: the state lives as long as `self`, and no callback runs now.
        let state = unsafe { self.0.as_ref() };
        (!state.broken).then_some(&state.rows)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // SAFETY: made by `Box::leak`, freed only here; the context that had the pointer is freed
        // (see `Context`).
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// llama.cpp's `ggml_backend_sched_eval_callback`: with `ask` whether the tensor is wanted, then
/// its value; answers whether the rest of the graph is wanted. It is called once for each
/// micro-batch with the tensor's rows, in the batch's order as long as the cache is unified. It
/// must not unwind, and has nothing that panics.
unsafe extern "C" fn on_tensor(
    tensor: *mut sys::ggml_tensor,
    ask: bool,
    data: *mut c_void,
) -> bool {
    // SAFETY: `data` is the capture's state, which outlives the context; within `decode` nothing
    // else uses it.
    let state = unsafe { &mut *data.cast::<State>() };
    // SAFETY: llama.cpp passes a tensor of the graph; names are arrays that end in NUL.
    let name = unsafe { CStr::from_ptr((*tensor).name.as_ptr()) };
    let wanted = name.to_bytes_with_nul() == state.name.as_slice();
    if !ask && wanted {
        // SAFETY: the tensor is the graph's, and was just computed.
        state.broken |= !unsafe { state.append(tensor) };
        // The norm and the head behind the last layer are not for this machine.
        return false;
    }
    // Asked: only what is wanted interrupts the computation. Told: whatever was not wanted goes on.
    wanted || !ask
}

impl State {
    /// Appends the rows of a computed tensor. False if it has not the form of hidden states, or
    /// more than a batch were to come.
    ///
    /// # Safety
    /// The tensor is valid and computed.
    unsafe fn append(&mut self, tensor: *const sys::ggml_tensor) -> bool {
        // SAFETY: as the caller promises.
        let (ty, [columns, rows, planes, cubes], contiguous) = unsafe {
            (
                (*tensor).type_,
                (*tensor).ne,
                sys::ggml_is_contiguous(tensor),
            )
        };
        let [Ok(columns), Ok(rows)] = [columns, rows].map(usize::try_from) else {
            return false;
        };
        let before = self.rows.len();
        let Some(count) = columns.checked_mul(rows) else {
            return false;
        };
        let fits = count <= self.rows.capacity() - before;
        let right = ty == sys::GGML_TYPE_F32 && contiguous && columns == self.width;
        if !right || !fits || planes != 1 || cubes != 1 {
            return false;
        }
        // SAFETY: the tensor is contiguous and has `count` floats; the vector has room for them
        // behind its end, and is longer only once they are written.
        unsafe {
            let to = self.rows.as_mut_ptr().add(before);
            sys::ggml_backend_tensor_get(tensor, to.cast(), 0, count * size_of::<f32>());
            self.rows.set_len(before + count);
        }
        true
    }
}
