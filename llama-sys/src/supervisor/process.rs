//! A child process that ends with its handle and never stays a zombie.
//!
//! Each child has an OS thread of its own, which starts it, waits for it and reaps it. So the
//! kernel's parent-death signal, which is tied to the thread that started a child, means what it
//! should: that thread ends after the child, or with this whole process. (A thread of an async
//! runtime would not do: those end when they have been idle.)

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use tokio::net::UnixStream;
use tokio::sync::oneshot;

/// What to start.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its arguments.
    pub(crate) args: Vec<OsString>,
    /// For logs.
    pub(crate) name: String,
}

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    child: Arc<Mutex<Child>>,
    pid: u32,
    exit: oneshot::Receiver<ExitStatus>,
    /// How it ended, once that is known.
    ended: Option<Option<ExitStatus>>,
}

/// A child as its thread hands it over.
struct Started {
    process: Process,
    stderr: ChildStderr,
}

impl Process {
    /// Starts a child whose standard input is the other end of the socket.
    pub(super) async fn start(launch: &Launch) -> io::Result<(Self, UnixStream, ChildStderr)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let ours = UnixStream::from_std(ours)?;
        let (started, starting) = oneshot::channel();
        let launch = launch.clone();
        // 15 bytes are what the system shows of a thread's name.
        let thread = std::thread::Builder::new().name("worker-wait".into());
        thread.spawn(move || attend(&launch, theirs.into(), started))?;
        let lost = |_| io::Error::other("the starting thread ended");
        let Started { process, stderr } = starting.await.map_err(lost)??;
        Ok((process, ours, stderr))
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends the child at once, whatever it does. Nothing happens if it has ended.
    pub(super) fn kill(&self) {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // The standard library knows whether the child was reaped, and then sends nothing: its
        // number may be another process's by now.
        let _ = child.kill();
    }

    /// How it ended; waits until it has.
    pub(super) async fn exited(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = Some((&mut self.exit).await.ok());
        }
        self.ended.flatten()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The life of a child's thread.
fn attend(launch: &Launch, stdin: OwnedFd, started: oneshot::Sender<io::Result<Started>>) {
    let mut child = match start(launch, stdin) {
        Ok(child) => child,
        Err(error) => return drop(started.send(Err(error))),
    };
    let stderr = child.stderr.take().expect("standard error is piped");
    let pid = child.id();
    let child = Arc::new(Mutex::new(child));
    let (exited, exit) = oneshot::channel();
    let process = Process {
        child: child.clone(),
        pid,
        exit,
        ended: None,
    };
    // If nobody waits any more, the handle comes back and is dropped, which kills the child.
    drop(started.send(Ok(Started { process, stderr })));
    wait_until_exited(pid);
    let status = child.lock().unwrap_or_else(PoisonError::into_inner).wait();
    if let Ok(status) = status {
        let _ = exited.send(status);
    }
}

/// Starts the child. The command, which holds our copy of the child's end of the socket, is gone
/// when this returns: else we would never see that end close.
fn start(launch: &Launch, stdin: OwnedFd) -> io::Result<Child> {
    Command::new(&launch.program)
        .args(&launch.args)
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // A group of its own: Ctrl-C in the terminal is for the node, which drains its workers.
        .process_group(0)
        // An abort in ggml else runs a debugger, which would hold the socket open for seconds.
        .env("GGML_NO_BACKTRACE", "1")
        .spawn()
}

/// Waits without reaping, so that [`Process::kill`] may take the lock meanwhile.
fn wait_until_exited(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.expect("the system's own process number");
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), options) {}
}
