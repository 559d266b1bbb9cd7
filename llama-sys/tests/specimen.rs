//! Holds the specimens to what they promise: each is given to llama.cpp in a child process,
//! which is this test binary once more.
#![cfg(feature = "llama")]
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::ffi::CString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use llama_cpp_sys_2 as sys;
use llama_sys::gguf::{Builder, Header, specimen};

/// Name of the model file; the child finds its path among its arguments, where the test harness
/// takes it for one more name of a test.
const MODEL: &str = "specimen.gguf";

/// The signal that `abort` raises.
const SIGABRT: i32 = 6;

/// How far the child came; its last line tells.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    signal: Option<i32>,
    reached: Vec<String>,
}

#[test]
fn a_sound_specimen_answers() {
    let outcome = run(&specimen::tiny_llama());
    assert_eq!(outcome.signal, None);
    assert_eq!(
        outcome.reached,
        ["loaded", "context", "tokens 6", "decoded"]
    );
}

#[test]
fn the_first_one_dies_while_loading() {
    let outcome = run(&specimen::aborts_while_loading());
    assert_eq!(
        outcome,
        Outcome {
            signal: Some(SIGABRT),
            reached: vec![]
        }
    );
}

#[test]
fn the_second_one_dies_at_its_context() {
    let outcome = run(&specimen::aborts_at_context());
    assert_eq!(outcome.signal, Some(SIGABRT));
    assert_eq!(outcome.reached, ["loaded"]);
}

#[test]
fn the_third_one_dies_at_its_first_text() {
    let outcome = run(&specimen::aborts_at_first_text());
    assert_eq!(outcome.signal, Some(SIGABRT));
    assert_eq!(outcome.reached, ["loaded", "context"]);
}

/// Not a test of its own: what the child does.
#[test]
fn child() {
    if let Some(model) = std::env::args().find(|argument| argument.ends_with(MODEL)) {
        load_and_answer(Path::new(&model));
    }
}

fn run(builder: &Builder) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(MODEL);
    builder.save(&path).unwrap();
    Header::open(&path).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .arg(&path)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    let marked = |line: &str| {
        line.split_once("reached: ")
            .map(|(_, step)| step.to_owned())
    };
    Outcome {
        signal: output.status.signal(),
        reached: printed.lines().filter_map(marked).collect(),
    }
}

/// Goes the way of a worker, and says before each step that the one before it is done.
fn load_and_answer(path: &Path) {
    let name = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: pointers are checked before use and live until the process ends; the parameters are
    // llama.cpp's own defaults; the token buffer is as long as is said.
    unsafe {
        sys::llama_backend_init();
        let mut model_params = sys::llama_model_default_params();
        model_params.n_gpu_layers = 0;
        let model = sys::llama_model_load_from_file(name.as_ptr(), model_params);
        assert!(!model.is_null());
        reached("loaded");

        let mut context_params = sys::llama_context_default_params();
        context_params.n_ctx = 64;
        context_params.n_batch = 64;
        context_params.n_threads = 1;
        context_params.n_threads_batch = 1;
        let context = sys::llama_init_from_model(model, context_params);
        assert!(!context.is_null());
        reached("context");

        let mut tokens = [0; 16];
        let vocabulary = sys::llama_model_get_vocab(model);
        let count = sys::llama_tokenize(
            vocabulary,
            c"hello".as_ptr(),
            5,
            tokens.as_mut_ptr(),
            16,
            true,
            false,
        );
        reached(&format!("tokens {count}"));
        let batch = sys::llama_batch_get_one(tokens.as_mut_ptr(), count);
        assert_eq!(sys::llama_decode(context, batch), 0);
        reached("decoded");
    }
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
fn reached(step: &str) {
    println!("\nreached: {step}");
}
