//! The threads that a context computes with. Without a pool of its own, ggml starts and ends
//! threads for each batch.

use std::ptr::NonNull;

use llama_cpp_sys_2 as sys;

/// How long threads spin for the next batch before they sleep, in ggml's unit: about two
/// milliseconds, longer than the pause between two steps. ggml's default of 50 keeps a core busy
/// for a tenth of a second after an answer.
const POLL: u32 = 1;

/// What threads do between two batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// They look out for the next one, which comes at once.
    Spin,
    /// They sleep: others compute meanwhile, on this machine perhaps.
    Sleep,
}

/// A pool of threads.
#[derive(Debug)]
pub(crate) struct ThreadPool(NonNull<sys::ggml_threadpool>, u32);

// SAFETY: the pool is only handed to contexts, which are used by one thread at a time.
unsafe impl Send for ThreadPool {}
// SAFETY: as above; whoever shares it computes with one context at a time.
unsafe impl Sync for ThreadPool {}

impl ThreadPool {
    /// Starts threads. `None` for one thread, which needs no pool, or if that fails.
    pub(super) fn new(threads: u32, pause: Pause) -> Option<Self> {
        let size = i32::try_from(threads).ok().filter(|n| *n > 1)?;
        // SAFETY: plain values.
        let mut params = unsafe { sys::ggml_threadpool_params_default(size) };
        params.poll = match pause {
            Pause::Spin => POLL,
            Pause::Sleep => 0,
        };
        // SAFETY: the parameters are read during the call only.
        let pool = NonNull::new(unsafe { sys::ggml_threadpool_new(&raw mut params) });
        pool.map(|pool| Self(pool, threads))
    }

    /// How many there are.
    pub(super) fn size(&self) -> u32 {
        self.1
    }

    pub(super) fn as_ptr(&self) -> *mut sys::ggml_threadpool {
        self.0.as_ptr()
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        // SAFETY: contexts that used the pool are freed before it (see `Context`).
        unsafe { sys::ggml_threadpool_free(self.as_ptr()) }
    }
}
