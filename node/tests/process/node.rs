//! A node as a child process, and a plain HTTP/1.0 client of it. It knows no test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A condition that is not met by then never will be.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn shoal(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SHOAL_")) {
        command.env_remove(name);
    }
    command
        .env("HOME", dir)
        .env("XDG_CONFIG_HOME", dir.join("config"))
        .env("SHOAL_DATA_DIR", dir.join("data"))
        .env("SHOAL_DRAIN_TIMEOUT", "50s")
        .env("SHOAL_LISTEN", "/ip4/127.0.0.1/udp/0/quic-v1")
        .env("SHOAL_MDNS", "false")
        .env("SHOAL_UPNP", "false")
        .env("SHOAL_RENDEZVOUS", "false")
        .env("SHOAL_PLACEMENT", "no")
        .stdin(Stdio::null());
    command
}

pub(super) fn run(dir: &Path, args: &[&str]) -> Output {
    shoal(dir).args(args).output().unwrap()
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A node on a free port; killed when dropped.
pub(super) struct Node {
    pub(super) child: Child,
    dir: PathBuf,
    pub(super) api: String,
    pub(super) stdout: BufReader<std::process::ChildStdout>,
}

impl Node {
    pub(super) fn start(dir: &Path, args: &[&str]) -> Self {
        let mut command = shoal(dir);
        command
            .args(["up", "--offline", "--api", "127.0.0.1:0"])
            .args(args);
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        stdout.read_line(&mut first).unwrap();
        let api = first.trim().strip_prefix("listening on http://");
        let log = || std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        let api = api
            .unwrap_or_else(|| panic!("{first:?}\n{}", log()))
            .to_owned();
        Self {
            child,
            dir: dir.to_path_buf(),
            api,
            stdout,
        }
    }

    pub(super) fn addr_file(&self) -> PathBuf {
        self.dir.join("data/run/api.addr")
    }

    pub(super) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    pub(super) fn exit_code(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    pub(super) fn request(&self, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.api).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{head} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}",
            self.api
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A model that answers nonsense, quickly.
pub(super) fn fixture() -> String {
    format!(
        "{}/../tests/fixtures/tiny-moe-q8_0.gguf",
        env!("CARGO_MANIFEST_DIR")
    )
}
