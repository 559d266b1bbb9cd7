//! Names that only some places may use, outside tests.

use crate::{Violation, source::Source};

/// A name behind a wall.
struct Wall {
    names: &'static [&'static str],
    /// Beginnings of the paths where it may stand.
    allowed: &'static [&'static str],
    why: &'static str,
}

const WALLS: [Wall; 11] = [
    Wall {
        names: &["unsafe"],
        allowed: &["llama-sys/"],
        why: "unsafe code only in llama-sys",
    },
    Wall {
        names: &["llama_cpp_sys_2"],
        allowed: &["llama-sys/"],
        why: "llama.cpp only in llama-sys",
    },
    Wall {
        names: &["libp2p"],
        allowed: &["dht/", "bootstrap/"],
        why: "libp2p only in dht and bootstrap",
    },
    Wall {
        names: &["axum"],
        allowed: &["web/", "bootstrap/"],
        why: "axum only in web and bootstrap",
    },
    Wall {
        names: &["rmcp"],
        allowed: &["web/"],
        why: "rmcp only in web",
    },
    Wall {
        names: &["sled"],
        allowed: &["node/src/store.rs"],
        why: "sled only in node/src/store.rs",
    },
    Wall {
        names: &["tracing_subscriber"],
        allowed: &["node/", "bootstrap/"],
        why: "tracing is set up in node and bootstrap only",
    },
    Wall {
        names: &["anyhow"],
        allowed: &["node/src/main.rs", "bootstrap/src/main.rs"],
        why: "anyhow only in main.rs: a library's errors are typed",
    },
    Wall {
        names: &["env", "var"],
        allowed: &["node/", "bootstrap/"],
        why: ENVIRONMENT,
    },
    Wall {
        names: &["env", "var_os"],
        allowed: &["node/", "bootstrap/"],
        why: ENVIRONMENT,
    },
    Wall {
        names: &["env", "vars"],
        allowed: &["node/", "bootstrap/"],
        why: ENVIRONMENT,
    },
];

const ENVIRONMENT: &str = "the environment is read in node and bootstrap only";

/// Checks the names of one file and where a program begins.
pub(crate) fn check(source: &Source<'_>) -> Vec<Violation> {
    // A build script is a program of its own.
    if source.path.ends_with("/build.rs") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for wall in WALLS
        .iter()
        .filter(|wall| !is_allowed(source.path, wall.allowed))
    {
        let behind = source.names.iter().filter(|name| name.contains(wall.names));
        found.extend(behind.map(|name| Violation::new(source.path, name.line, wall.why)));
    }
    found.extend(check_main(source));
    found.dedup();
    found
}

fn is_allowed(path: &str, allowed: &[&str]) -> bool {
    allowed.iter().any(|beginning| path.starts_with(beginning))
}

fn check_main(source: &Source<'_>) -> Option<Violation> {
    if source.is_test_file() || is_allowed(source.path, &["node/", "bootstrap/"]) {
        return None;
    }
    source.syntax.items.iter().find_map(|item| match item {
        syn::Item::Fn(function) if function.sig.ident == "main" => {
            let line = function.sig.ident.span().start().line;
            let message = "a program begins in node and bootstrap only";
            Some(Violation::new(source.path, line, message))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let source = Source::parse(path, text).unwrap();
        check(&source)
            .iter()
            .map(|violation| violation.line)
            .collect()
    }

    #[test]
    fn each_wall_stands() {
        let snippets = [
            "fn f() { unsafe { g() } }",
            "use llama_cpp_sys_2::x;",
            "use libp2p::{Swarm, kad};",
            "use axum::Router;",
            "fn f() { sled::open(p); }",
            "use tracing_subscriber as t;",
            "use anyhow::Result;",
            "fn f() { std::env::var(\"X\"); }",
            "use std::{env::{var_os}, io};",
            "fn f() { for v in env::vars() {} }",
            "fn main() {}",
        ];
        for snippet in snippets {
            assert_eq!(lines("protocol/src/x.rs", snippet), [1], "{snippet}");
            assert!(lines("tests/src/x.rs", snippet).is_empty(), "{snippet}");
            assert!(
                lines("protocol/src/x/tests.rs", snippet).is_empty(),
                "{snippet}"
            );
            let in_test = format!("#[cfg(test)]\nmod tests {{ {snippet} }}");
            assert!(lines("protocol/src/x.rs", &in_test).is_empty(), "{snippet}");
        }
    }

    #[test]
    fn gates_are_open_where_they_should_be() {
        assert!(
            lines(
                "llama-sys/src/x.rs",
                "fn f() { unsafe { llama_cpp_sys_2::g() } }"
            )
            .is_empty()
        );
        assert!(lines("web/src/x.rs", "use axum::Router;").is_empty());
        assert!(lines("node/src/store.rs", "use sled::Db;").is_empty());
        assert_eq!(lines("node/src/stored.rs", "use sled::Db;"), [1]);
        assert!(lines("node/src/main.rs", "fn main() { std::env::var(\"X\"); }").is_empty());
        assert!(
            lines(
                "web/src/x.rs",
                "const X: &str = env!(\"CARGO_PKG_VERSION\");"
            )
            .is_empty()
        );
        assert!(lines("protocol/build.rs", "fn main() { std::env::var(\"X\"); }").is_empty());
        assert!(lines("web/src/x.rs", "#![forbid(unsafe_code)]").is_empty());
    }
}
