//! The two sides of the comparison as processes: a Shoal node and llama.cpp's server.

use std::{
    fs::File,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use tempfile::TempDir;
use tests::process::{Node, memory_of, wait_for};

use crate::Arguments;

/// Sequences that each side may run at once.
pub(crate) const PARALLEL: u32 = 16;
/// Tokens of context that each sequence has.
pub(crate) const CONTEXT: u32 = 2048;

/// Both servers, loaded and idle.
pub(crate) struct Sides {
    node: Node,
    reference: Child,
    reference_url: String,
    _data: TempDir,
    /// The model's name at both.
    pub(crate) model: String,
}

/// Resident bytes of each side after the runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// The node and its worker.
    pub(crate) shoal: u64,
    /// llama.cpp's server.
    pub(crate) reference: u64,
}

/// One side by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The node.
    Shoal,
    /// llama.cpp's server.
    Reference,
}

/// Threads that each side computes with: the machine's cores.
pub(crate) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Sides {
    /// Starts both and waits until they answer.
    pub(crate) fn start(arguments: &Arguments) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let model = arguments.model.to_str().context("the model's path")?;
        let (parallel, context) = (PARALLEL.to_string(), CONTEXT.to_string());
        let threads = threads().to_string();
        let node = Node::start(
            &arguments.shoal,
            &data.path().join("node"),
            &[
                "--offline",
                "--model",
                model,
                "--parallel",
                &parallel,
                "--ctx-size",
                &context,
                "--threads",
                &threads,
            ],
        )?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = File::create(data.path().join("reference.log"))?;
        let reference = Command::new(&arguments.llama_server)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["-m", model, "-np", &parallel, "--threads", &threads])
            .args(["-c", &(PARALLEL * CONTEXT).to_string(), "--kv-unified"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        let stem = arguments.model.file_stem().unwrap_or_default();
        let sides = Self {
            node,
            reference,
            reference_url: format!("http://127.0.0.1:{port}"),
            _data: data,
            model: stem.to_string_lossy().into_owned(),
        };
        sides.wait_until_ready()?;
        Ok(sides)
    }

    fn wait_until_ready(&self) -> Result<()> {
        for (url, path) in [
            (&self.node.url, "/readyz"),
            (&self.reference_url, "/health"),
        ] {
            wait_for("both servers", Duration::from_secs(120), || {
                let status = Command::new("curl")
                    .args(["-sf", "-o", "/dev/null", &format!("{url}{path}")])
                    .status();
                status.is_ok_and(|status| status.success()).then_some(())
            })?;
        }
        Ok(())
    }

    /// The address of one side's route.
    pub(crate) fn url(&self, side: Side, route: &str) -> String {
        let base = match side {
            Side::Shoal => &self.node.url,
            Side::Reference => &self.reference_url,
        };
        format!("{base}/v1/{route}")
    }

    /// Resident bytes now.
    pub(crate) fn memory(&self) -> Memory {
        Memory {
            shoal: self.node.memory_bytes(),
            reference: memory_of(self.reference.id()),
        }
    }
}

impl Drop for Sides {
    fn drop(&mut self) {
        let _ = self.reference.kill();
        let _ = self.reference.wait();
    }
}

/// The first line of a command's output, for the report.
pub(crate) fn first_line(program: &Path, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    let text = output
        .map(|output| [output.stdout, output.stderr].concat())
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().next().unwrap_or("unknown").to_owned()
}
