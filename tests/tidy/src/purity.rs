//! What a decision may not touch: in `core/` modules there is no async, no channel or lock, no
//! clock, environment, file or socket, no global randomness, and no order that changes from run
//! to run.

use crate::{Violation, source::Source};

/// Names, and what stands for them in a core.
const BANNED: [(&[&str], &str); 26] = [
    (&["async"], "no async: inputs come by a call"),
    (&["await"], "no async: inputs come by a call"),
    (&["tokio"], "no runtime in a core"),
    (&["futures"], "no runtime in a core"),
    (&["mpsc"], "no channels: outputs go to an outbox"),
    (&["oneshot"], "no channels: outputs go to an outbox"),
    (&["watch"], "no channels: outputs go to an outbox"),
    (&["Mutex"], "no locks: a core has one owner"),
    (&["RwLock"], "no locks: a core has one owner"),
    (&["Instant", "now"], "the time comes in as an argument"),
    (&["SystemTime", "now"], "the time comes in as an argument"),
    (&["Instant", "elapsed"], "the time comes in as an argument"),
    (&["std", "env"], "the environment is read outside"),
    (&["env", "var"], "the environment is read outside"),
    (&["std", "fs"], "files are read outside"),
    (&["std", "thread"], "no threads in a core"),
    (&["TcpStream"], "sockets are outside"),
    (&["TcpListener"], "sockets are outside"),
    (&["UdpSocket"], "sockets are outside"),
    (&["ToSocketAddrs"], "names are resolved outside"),
    (&["thread_rng"], "randomness comes in as an argument"),
    (&["rand", "rng"], "randomness comes in as an argument"),
    (&["rand", "random"], "randomness comes in as an argument"),
    (&["getrandom"], "randomness comes in as an argument"),
    (
        &["HashMap"],
        "BTreeMap: the order must be the same each time",
    ),
    (
        &["HashSet"],
        "BTreeSet: the order must be the same each time",
    ),
];

/// Checks a file, if it belongs to a core.
pub(crate) fn check(source: &Source<'_>) -> Vec<Violation> {
    if !is_core(source.path) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for name in &source.names {
        let banned = BANNED.iter().filter(|(names, _)| name.contains(names));
        found.extend(banned.map(|(names, why)| {
            let message = format!("`{}` in a core: {why}", names.join("::"));
            Violation::new(source.path, name.line, message)
        }));
    }
    found
}

fn is_core(path: &str) -> bool {
    let mut parts = path.split('/').rev();
    parts.next() == Some("core.rs") || parts.any(|folder| folder == "core")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Source::parse(path, text).unwrap()).len()
    }

    #[test]
    fn each_ban_holds() {
        let snippets = [
            "async fn f() {}",
            "fn f() { m! { a.await } }",
            "fn f() { tokio::spawn(g()); }",
            "use futures::Stream;",
            "use std::sync::mpsc;",
            "fn f(x: oneshot::Sender<u8>) {}",
            "fn f(x: watch::Sender<u8>) {}",
            "struct S { a: std::sync::Mutex<u8> }",
            "use std::sync::{RwLock};",
            "fn f() { std::time::Instant::now(); }",
            "fn f() { SystemTime::now(); }",
            "fn f() { x.map(Instant::elapsed); }",
            "use std::{env};",
            "fn f() { env::var(\"X\"); }",
            "use std::{fs, io};",
            "use std::thread;",
            "use std::net::{TcpStream};",
            "fn f() { rand::rng(); }",
            "fn f() { rand::random::<u8>(); }",
            "use std::collections::{BTreeMap, HashMap};",
            "type T = HashSet<u8>;",
        ];
        for snippet in snippets {
            assert_eq!(count("node/src/core/a.rs", snippet), 1, "{snippet}");
            assert_eq!(count("node/src/shell/a.rs", snippet), 0, "{snippet}");
            assert_eq!(count("node/src/core/a/tests.rs", snippet), 0, "{snippet}");
        }
        assert_eq!(count("node/src/core.rs", "use tokio::task;"), 1);
    }

    #[test]
    fn a_core_may_be_given_time_and_chance() {
        let text = "use std::{collections::BTreeMap, net::IpAddr, time::Instant};
            fn f<R: rand::Rng>(now: Instant, rng: &mut R) { // Instant::now() is the caller's
                let s = \"tokio\"; }";
        assert_eq!(count("node/src/core/a.rs", text), 0);
    }
}
