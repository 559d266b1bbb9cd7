//! A process that is slowed down from outside: stopped most of the time, and let go on now and then.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// Until it is dropped the process runs a tenth of the time: ten of a hundred milliseconds, so that
/// it answers whoever asks whether it lives.
const LOOP: &str = "while kill -STOP $0; do sleep 0.09; kill -CONT $0; sleep 0.01; done";

/// Slows one process down until it is dropped.
pub struct Hindrance {
    shell: Child,
    pid: u32,
}

impl Hindrance {
    /// Of the process with this id.
    ///
    /// # Errors
    /// There is no shell.
    pub fn of(pid: u32) -> Result<Self> {
        let shell = Command::new("sh")
            .args(["-c", LOOP, &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("a shell")?;
        Ok(Self { shell, pid })
    }
}

impl Drop for Hindrance {
    fn drop(&mut self) {
        // It may have ended with the process.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
        let go_on = Command::new("kill")
            .args(["-CONT", &self.pid.to_string()])
            .stderr(Stdio::null())
            .status();
        let _ = go_on;
    }
}
