//! The server as a process: it answers for its health, ends when told to, and says in one line
//! what is wrong with its setup.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

fn command(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-bootstrap"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SHOAL_")) {
        command.env_remove(name);
    }
    command
        .args(["--listen", "127.0.0.1:0", "--data-dir"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Killed when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago.
fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn it_shows_its_addresses_and_its_health_and_ends_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let health = port();
    let mut command = command(dir.path());
    command.args(["--health", &format!("127.0.0.1:{health}")]);
    let mut server = Server(command.spawn().unwrap());
    let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.starts_with("/ip4/127.0.0.1/"), "{first}");
    assert!(first.contains("/p2p/12D3KooW"), "{first}");
    let page = get(health, "/healthz");
    assert!(page.contains("\"status\":\"ok\""), "{page}");
    assert!(page.contains("\"peers_connected\":0"), "{page}");
    assert!(get(health, "/metrics").contains("shoal_bootstrap_peers_connected 0"));
    assert!(get(health, "/anything").starts_with("HTTP/1.0 404"));
    assert!(
        fs::read_to_string(dir.path().join("addresses"))
            .unwrap()
            .contains(&first)
    );
    let killed = Command::new("kill").arg(server.0.id().to_string()).status();
    assert!(killed.unwrap().success());
    assert!(server.0.wait().unwrap().success());
}

#[test]
fn it_is_the_same_node_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let id = |_| {
        let mut command = command(dir.path());
        command.args(["--health", "127.0.0.1:0"]);
        let mut server = Server(command.spawn().unwrap());
        let mut lines = BufReader::new(server.0.stdout.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        line.rsplit('/').next().unwrap().to_owned()
    };
    let ids = [0, 1].map(id);
    assert_eq!(ids[0], ids[1]);
}

#[test]
fn a_bad_setup_is_one_line_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    for (args, wanted) in [
        (vec!["--health", &taken], "--health takes another"),
        (vec!["--bootstrap", "/dns4/example"], "--bootstrap"),
        (vec!["--swarm", "lab"], "shoal swarm delegate"),
        (vec!["--join", "nonsense"], "public"),
        (vec!["--swarm", "lab", "--join", "nonsense"], "token"),
        (
            vec!["--health", "127.0.0.1:0", "--external", "nonsense"],
            "nonsense",
        ),
    ] {
        let output = command(dir.path()).args(&args).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{args:?}");
        let last = errors.lines().last().unwrap();
        assert!(
            last.starts_with("error: ") && last.contains(wanted),
            "{errors}"
        );
    }
}
