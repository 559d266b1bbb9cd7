//! JSON Schema to GBNF, by llama.cpp's converter.

use std::ffi::{CStr, CString, c_char};

use llama_cpp_sys_2 as sys;

/// The grammar for a schema in JSON text. `None` if the converter refuses it.
pub(crate) fn to_gbnf(schema: &str) -> Option<String> {
    let schema = CString::new(schema).ok()?;
    let mut out: *mut c_char = std::ptr::null_mut();
    // SAFETY: the schema ends in NUL; `out` is written before the return. The wrapper catches
    // C++ exceptions.
    let status =
        unsafe { sys::llama_rs_json_schema_to_grammar(schema.as_ptr(), false, &raw mut out) };
    if status != sys::LLAMA_RS_STATUS_OK || out.is_null() {
        return None;
    }
    // SAFETY: on success `out` is a string that ends in NUL and is ours.
    let gbnf = unsafe { CStr::from_ptr(out) }
        .to_string_lossy()
        .into_owned();
    // SAFETY: allocated by the wrapper, freed once.
    unsafe { sys::llama_rs_string_free(out) };
    Some(gbnf)
}
