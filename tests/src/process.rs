//! A `shoal` node as a child process: started, asked for its address, measured, killed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// How long a node may take until its API listens; generous, since CI's machines are slow.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);

/// No test leaves this machine, nor finds another test's nodes, and an answer is the same each time.
pub const ON_LOOPBACK: [(&str, &str); 7] = [
    ("SHOAL_LISTEN", "/ip4/127.0.0.1/udp/0/quic-v1"),
    ("SHOAL_BOOTSTRAP", ""),
    ("SHOAL_MDNS", "false"),
    ("SHOAL_UPNP", "false"),
    ("SHOAL_RENDEZVOUS", "false"),
    // What a node hosts is what a test says, and nothing is fetched.
    ("SHOAL_PLACEMENT", "no"),
    // How many drafts are verified together depends on time, and by that the last digits of rows.
    ("SHOAL_SPECULATE", "off"),
];

/// The `shoal` binary that lies beside the running test or benchmark.
///
/// # Errors
/// When it was not built.
pub fn shoal_binary() -> Result<PathBuf> {
    binary("shoal").context("no shoal binary beside this test: run `cargo build -p node`")
}

/// The `shoal-bootstrap` binary that lies beside the running test.
///
/// # Errors
/// When it was not built.
pub fn bootstrap_binary() -> Result<PathBuf> {
    binary("shoal-bootstrap")
        .context("no shoal-bootstrap binary beside this test: run `cargo build -p bootstrap`")
}

fn binary(name: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let mut folders = own.ancestors().skip(1).take(2);
    folders.find_map(|folder| Some(folder.join(name)).filter(|binary| binary.is_file()))
}

/// A model of the repository's fixtures.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name)
}

/// Waits until `condition` gives a value.
///
/// # Errors
/// When `limit` passes first; `what` is what was waited for.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if Instant::now() > end {
            bail!("waited {limit:?} for {what}");
        }
        std::thread::sleep(POLL);
    }
}

/// Runs a command of the product over a node's data, with nobody else in reach.
///
/// # Errors
/// It does not start.
pub fn run(data: &Path, args: &[&str]) -> Result<Output> {
    let output = Command::new(shoal_binary()?)
        .args(args)
        .arg("--data-dir")
        .arg(data)
        .envs(ON_LOOPBACK)
        .env_remove("SHOAL_BOOTSTRAP")
        .stdin(Stdio::null())
        .output()?;
    Ok(output)
}

/// What a command that must work prints.
///
/// # Errors
/// It does not work; what it says comes with it.
pub fn said(data: &Path, args: &[&str]) -> Result<String> {
    let output = run(data, args)?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{args:?}: {errors}");
    Ok(String::from_utf8(output.stdout)?)
}

/// A running node. Dropping it kills it.
pub struct Node {
    child: Child,
    data: PathBuf,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
}

impl Node {
    /// Starts `shoal up` on a free port over `data` and waits until its API listens.
    ///
    /// # Errors
    /// When it ends or says nothing in time; the end of its log comes with it.
    pub fn start(binary: &Path, data: &Path, args: &[&str]) -> Result<Self> {
        Self::start_with(binary, data, args, &[])
    }

    /// The same, with environment variables; `None` takes one of [`ON_LOOPBACK`] away.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn start_with(
        binary: &Path,
        data: &Path,
        args: &[&str],
        environment: &[(&str, Option<&str>)],
    ) -> Result<Self> {
        Self::start_by(Command::new(binary), data, args, environment)
    }

    /// The same by a command that runs the binary with what is appended: in a namespace, say.
    /// [`Node::url`] holds where the command runs it.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn start_by(
        mut command: Command,
        data: &Path,
        args: &[&str],
        environment: &[(&str, Option<&str>)],
    ) -> Result<Self> {
        fs::create_dir_all(data)?;
        let address = data.join("run/api.addr");
        let _ = fs::remove_file(&address);
        let log = fs::File::options()
            .append(true)
            .create(true)
            .open(data.join("node.log"))?;
        command
            .args(["up", "--api", "127.0.0.1:0", "--data-dir"])
            .arg(data)
            .args(args)
            .envs(ON_LOOPBACK);
        for (name, value) in environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        let mut node = Self {
            child,
            data: data.to_owned(),
            url: String::new(),
        };
        let listening = wait_for("the API's address", START_LIMIT, || {
            if let Ok(Some(status)) = node.child.try_wait() {
                return Some(Err(status));
            }
            let text = fs::read_to_string(&address).ok()?;
            text.ends_with('\n').then(|| Ok(text.trim().to_owned()))
        });
        match listening {
            Ok(Ok(address)) => node.url = format!("http://{address}"),
            Ok(Err(status)) => bail!("the node ended with {status}:\n{}", node.log_tail()),
            Err(error) => bail!("{error}:\n{}", node.log_tail()),
        }
        Ok(node)
    }

    /// The node's process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The workers and other processes that the node started.
    pub fn children(&self) -> Vec<u32> {
        let system = processes();
        let parent = Some(Pid::from_u32(self.pid()));
        let children = system.processes().values();
        children
            .filter(|process| process.parent() == parent && process.thread_kind().is_none())
            .map(|process| process.pid().as_u32())
            .collect()
    }

    /// Resident bytes of the node and of its children.
    pub fn memory_bytes(&self) -> u64 {
        let system = processes();
        let all = self.children().into_iter().chain([self.pid()]);
        all.filter_map(|pid| system.process(Pid::from_u32(pid)))
            .map(sysinfo::Process::memory)
            .sum()
    }

    /// What the node printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.data.join("node.log")).unwrap_or_default()
    }

    /// The end of it.
    pub fn log_tail(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// `kill -9`, and the children's ids as they were.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub fn kill(mut self) -> Result<Vec<u32>> {
        let children = self.children();
        self.child.kill()?;
        self.child.wait()?;
        Ok(children)
    }

    /// `kill -9` in this very moment: [`Node::kill`] looks for the children first.
    ///
    /// # Errors
    /// When the process cannot be killed.
    pub fn kill_at_once(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM, and the status after the drain.
    ///
    /// # Errors
    /// When it has not ended within `limit`.
    pub fn terminate(mut self, limit: Duration) -> Result<ExitStatus> {
        let status = Command::new("kill").arg(self.pid().to_string()).status()?;
        anyhow::ensure!(status.success(), "kill failed");
        wait_for("the node's end", limit, || {
            self.child.try_wait().ok().flatten()
        })
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process with this id runs (a zombie does not).
pub fn is_alive(pid: u32) -> bool {
    processes()
        .process(Pid::from_u32(pid))
        .is_some_and(|process| process.status() != sysinfo::ProcessStatus::Zombie)
}

/// Resident bytes of one process.
pub fn memory_of(pid: u32) -> u64 {
    processes()
        .process(Pid::from_u32(pid))
        .map_or(0, sysinfo::Process::memory)
}

/// Time that one process has computed since its start.
pub fn cpu_time_of(pid: u32) -> Duration {
    processes()
        .process(Pid::from_u32(pid))
        .map_or(Duration::ZERO, |process| {
            Duration::from_millis(process.accumulated_cpu_time())
        })
}

fn processes() -> System {
    let mut system = System::new().expect("this system shows its processes");
    let kind = ProcessRefreshKind::nothing().with_memory().with_cpu();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, kind);
    system
}
