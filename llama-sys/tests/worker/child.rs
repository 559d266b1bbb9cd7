//! The worker's side of the tests: what each model's name makes the worker do.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use llama_sys::engine::{Engine, Job, Prompt};
use llama_sys::fake::{End, FakeConfig, FakeEngine, Script};
use llama_sys::worker::{self, LoadOptions};

/// Characters of the counted answer.
pub(super) const COUNTED: usize = 300;

pub(super) fn serve_if_started_as_worker() {
    if is_worker() {
        let _ = worker::serve(Box::new(|options, _| make(&options)));
        std::process::exit(0);
    }
}

/// Whether a supervisor is at the other end of standard input.
pub(super) fn is_worker() -> bool {
    socket().peer_addr().is_ok()
}

fn socket() -> UnixStream {
    UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap())
}

/// "0 1 2 3 …"
pub(super) fn counted() -> String {
    let numbers = (0..).flat_map(|n: u32| format!("{n} ").into_bytes());
    String::from_utf8(numbers.take(COUNTED).collect()).unwrap()
}

fn make(options: &LoadOptions) -> Result<Arc<dyn Engine>, String> {
    let mut config = FakeConfig::default().with_parallel(options.parallel);
    config.queue_limit = options.queue_limit;
    let model = options.model.to_str().unwrap().to_owned();
    match model.as_str() {
        "abort" => {
            say("model.cpp:1: GGML_ASSERT(n_head > 0) failed");
            std::process::abort();
        }
        "refuse" => return Err("the file has no tensors".into()),
        "hang" => loop {
            std::thread::park();
        },
        "hungry" => take_memory(),
        "garbage" => socket().write_all(b"\0\0\0\x05hello").unwrap(),
        "oversize" => socket().write_all(&[0xff; 64]).unwrap(),
        "flood" => drop(std::thread::spawn(flood)),
        gate if gate.starts_with('/') => wait_for(Path::new(gate)),
        _ => {}
    }
    Ok(Arc::new(FakeEngine::new(config.with_script(script))))
}

fn script(job: &Job) -> Script {
    let Prompt::Text { text, .. } = &job.prompt else {
        return Script::echo(job);
    };
    match text.as_str() {
        "count" => Script::say(counted()).at_pace(Duration::from_millis(1)),
        "hang" => Script::say("x").ending(End::Hang),
        "long" => Script::say("y".repeat(3000)),
        "poison" => std::process::abort(),
        "panic" => panic!("a bug"),
        "stuck" => loop {
            std::thread::park();
        },
        _ => Script::echo(job),
    }
}

fn take_memory() {
    let mut taken = Vec::new();
    loop {
        taken.push(vec![1_u8; 16 << 20]);
        assert!(taken.len() < 512, "the limit does not hold");
    }
}

fn flood() {
    let line = "z".repeat(200);
    loop {
        say(&line);
    }
}

fn say(line: &str) {
    // The other end may be gone.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

fn wait_for(gate: &Path) {
    while !gate.exists() {
        std::thread::yield_now();
    }
}
