//! The worker process: one loaded model behind a socket, so that whatever llama.cpp does to its
//! process costs a model and not the node. The socket is its standard input.
//!
//! It dies with the node, however the node dies: a thread of its own waits for the socket's other
//! end to hang up and kills the process, even in the middle of a load or a batch. It does not know
//! why it was started, nor that it will be started again.

mod chain;
pub mod ipc;
mod process;
mod session;
mod writer;

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::engine::{Engine, Speculate};

/// How a model is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// The GGUF file, or the first of its parts.
    pub model: PathBuf,
    /// Tokens that one sequence may have; `None`: what the model was trained for.
    pub context_length: Option<u32>,
    /// Sequences that may run at once; at least 1.
    pub parallel: u32,
    /// Cells of the KV cache that all sequences share; `None`: as fits `parallel`.
    pub cells: Option<u32>,
    /// Threads that compute; `None`: one a physical core.
    pub threads: Option<u32>,
    /// Layers on a graphics card; `None`: as many as there is memory for.
    pub gpu_layers: Option<u32>,
    /// Memory that the worker may take for itself, the mapped model file not counted. Enforced
    /// in builds without graphics cards, whose drivers map far more than they use.
    pub memory_limit_bytes: Option<u64>,
    /// Jobs that may wait.
    pub queue_limit: u32,
    /// Where drafts come from.
    pub speculate: Speculate,
    /// The draft model's file; its vocabulary is the model's, else it is left out.
    pub draft: Option<PathBuf>,
}

impl LoadOptions {
    /// Four sequences at once, a queue of 64, and the rest as fits model and machine.
    pub fn new(model: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            context_length: None,
            parallel: 4,
            cells: None,
            threads: None,
            gpu_layers: None,
            memory_limit_bytes: None,
            queue_limit: 64,
            speculate: Speculate::default(),
            draft: None,
        }
    }
}

/// Begins to load a model. It may load before it returns (it has a thread to itself), or return
/// an engine that is still `Loading`; the worker follows the engine's state either way. `Err`: a
/// sentence for people.
pub type EngineFactory =
    dyn FnOnce(LoadOptions, Progress) -> Result<Arc<dyn Engine>, String> + Send;

/// To be told how far a load is, 0..=1; as often as there is progress, for silence is taken for
/// a load that hangs.
pub type Progress = Box<dyn FnMut(f32) + Send>;

/// The program's worker command: serves models with llama.cpp. See [`serve`].
pub fn run() -> ExitCode {
    serve(Box::new(load))
}

#[cfg(feature = "llama")]
fn load(options: LoadOptions, mut progress: Progress) -> Result<Arc<dyn Engine>, String> {
    use crate::local::{LocalConfig, LocalEngine};
    let config = LocalConfig {
        context_length: options.context_length,
        parallel: Some(options.parallel),
        cells: options.cells,
        threads: options.threads,
        gpu_layers: options.gpu_layers,
        queue_limit: options.queue_limit,
        speculate: options.speculate,
        draft: options.draft,
        ..LocalConfig::new(options.model)
    };
    let tell = |done| {
        progress(done);
        true
    };
    match LocalEngine::load(&config, tell) {
        Ok(engine) => {
            engine.draft_trouble().into_iter().for_each(report);
            Ok(Arc::new(engine))
        }
        Err(error) => Err(with_sources(&error)),
    }
}

/// What a program without llama.cpp says to whatever it is to load.
#[cfg(not(feature = "llama"))]
const NO_ENGINE: &str = "this program was built without llama.cpp";

#[cfg(not(feature = "llama"))]
fn load(_: LoadOptions, _: Progress) -> Result<Arc<dyn Engine>, String> {
    Err(NO_ENGINE.into())
}

/// An error and what caused it, in one sentence.
#[cfg(feature = "llama")]
fn with_sources(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Serves the process at the other end of standard input with the engine that `factory` makes,
/// until it hangs up. Everything else of the process should have been left alone.
pub fn serve(factory: Box<EngineFactory>) -> ExitCode {
    let socket = match process::take_socket() {
        Ok(socket) => socket,
        Err(error) => {
            report(&format!(
                "this command is started by the node only: {error}"
            ));
            return ExitCode::FAILURE;
        }
    };
    process::harden();
    process::die_with(&socket);
    run_session(socket, factory)
}

fn run_session(socket: UnixStream, factory: Box<EngineFactory>) -> ExitCode {
    // Inference has threads of its own: one thread is enough for moving tokens.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let served = match runtime {
        Ok(runtime) => runtime.block_on(session::run(socket, factory)),
        Err(error) => Err(error),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&format!("the worker ends: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The node reads the worker's standard error and keeps the last lines as the cause of a death.
#[expect(clippy::print_stderr, reason = "standard error is the worker's log")]
fn report(line: &str) {
    eprintln!("{line}");
}
