//! llama.cpp's process-wide state: initialised once, its log lines led into `tracing`.

use std::ffi::{CStr, c_char, c_void};
use std::sync::{Mutex, OnceLock, PoisonError};

use llama_cpp_sys_2 as sys;

/// Longest error line that is kept for an error message.
const MAX_ERROR_LINE_BYTES: usize = 400;

/// Proof that llama.cpp is initialised.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backend(());

static LAST_ERROR: Mutex<String> = Mutex::new(String::new());

impl Backend {
    /// Initialises llama.cpp the first time. It is never torn down: other threads may use it
    /// until the process ends.
    pub(crate) fn init() -> Self {
        static ONCE: OnceLock<()> = OnceLock::new();
        ONCE.get_or_init(|| {
            // SAFETY: the callback is a plain function without user data, so it is valid for the
            // whole process; `OnceLock` makes this the only call that sets it.
            unsafe { sys::llama_log_set(Some(on_log), std::ptr::null_mut()) };
            // SAFETY: called once, before any other use of llama.cpp: a `Backend` is asked for
            // by each of them.
            unsafe { sys::llama_backend_init() };
        });
        Self(())
    }

    /// The last error that llama.cpp logged since the last call.
    pub(crate) fn take_error(self) -> Option<String> {
        let mut last = LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner);
        let line = std::mem::take(&mut *last);
        (!line.is_empty()).then_some(line)
    }
}

unsafe extern "C" fn on_log(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: llama.cpp passes a string that ends in NUL and lives for the call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    let line = text.trim();
    if line.is_empty() || line.chars().all(|c| c == '.') {
        return;
    }
    match level {
        sys::GGML_LOG_LEVEL_ERROR => {
            let mut last = LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner);
            *last = line.chars().take(MAX_ERROR_LINE_BYTES).collect();
            tracing::warn!(target: "llama", "{line}");
        }
        sys::GGML_LOG_LEVEL_WARN => tracing::debug!(target: "llama", "{line}"),
        _ => tracing::trace!(target: "llama", "{line}"),
    }
}
