//! Network namespaces of this process: made by `ip`, named after it, and removed with it. What a
//! test that was killed left behind is removed by the next one.

use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result, ensure};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::router::Attachment;

/// What names of ours begin with.
const PREFIX: &str = "shoal-";

/// The device inside of the namespace.
const DEVICE: &str = "wan0";

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A namespace with one device to the outside. Dropping it removes both.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// A new one, and the other end of its device.
    ///
    /// # Errors
    /// The system does not allow it.
    pub fn new(host: &Attachment) -> Result<(Self, SyncDevice)> {
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let name = format!("{PREFIX}{process}-{number}");
        ip(&["netns", "add", &name])?;
        let namespace = Self { name };
        let device = namespace.attach(host, &format!("sh{process}x{number}"))?;
        Ok((namespace, device))
    }

    /// A program, to be run inside.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// The device is made outside and moved: whoever holds its file keeps its other end.
    fn attach(&self, host: &Attachment, outside: &str) -> Result<SyncDevice> {
        let builder = DeviceBuilder::new().name(outside).layer(Layer::L3);
        let device = builder
            .enable(false)
            .build_sync()
            .context("no TUN device")?;
        device.set_nonblocking(true)?;
        ip(&["link", "set", outside, "netns", &self.name])?;
        self.ip(&["link", "set", outside, "name", DEVICE])?;
        self.ip(&["link", "set", "lo", "up"])?;
        self.ip(&["addr", "add", &format!("{}/32", host.ipv4), "dev", DEVICE])?;
        self.ip(&[
            "link",
            "set",
            DEVICE,
            "mtu",
            "1500",
            "txqueuelen",
            "2000",
            "up",
        ])?;
        self.ip(&["route", "add", "default", "dev", DEVICE])?;
        if let Some(ipv6) = host.ipv6 {
            self.ip(&[
                "addr",
                "add",
                &format!("{ipv6}/128"),
                "dev",
                DEVICE,
                "nodad",
            ])?;
            self.ip(&["-6", "route", "add", "default", "dev", DEVICE])?;
        }
        Ok(device)
    }

    fn ip(&self, arguments: &[&str]) -> Result<()> {
        ip(&[&["-n", self.name.as_str()][..], arguments].concat())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // There is nobody to tell.
        let _ = ip(&["netns", "delete", &self.name]);
    }
}

/// Removes namespaces of processes that are gone, and ends what still runs in them.
pub fn remove_leftovers() {
    let Ok(listed) = Command::new("ip").args(["netns", "list"]).output() else {
        return;
    };
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let name = line.split_whitespace().next().unwrap_or_default();
        if owner(name).is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
            end_all(name);
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

/// The process that made a namespace, if its name is one of ours.
fn owner(name: &str) -> Option<u32> {
    let (process, number) = name.strip_prefix(PREFIX)?.split_once('-')?;
    number.parse::<u32>().ok()?;
    process.parse().ok()
}

fn end_all(name: &str) {
    let Ok(inside) = Command::new("ip").args(["netns", "pids", name]).output() else {
        return;
    };
    for process in String::from_utf8_lossy(&inside.stdout).split_whitespace() {
        let _ = Command::new("kill").args(["-9", process]).status();
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.context("cannot run `ip`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "`ip {}`: {}",
        arguments.join(" "),
        said.trim()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::owner;

    #[test]
    fn only_names_of_ours_have_an_owner() {
        assert_eq!(owner("shoal-12-3"), Some(12));
        for other in [
            "pR",
            "shoal-",
            "shoal-x-1",
            "shoal-12",
            "shoal-12-x",
            "x-shoal-1-2",
        ] {
            assert_eq!(owner(other), None, "{other}");
        }
    }
}
