//! Words that a finished tree does not hold: work put off, tests switched off, places that only
//! one machine or one registry has.

use crate::{Violation, source::Source, tree::TextFile};

/// Words of work put off. Written in two pieces, so that this file does not hold them.
const PUT_OFF: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// Hosts of registries: a package is named, and each tool knows where its registry is.
const REGISTRIES: [&str; 8] = [
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("python", "hosted.org"),
    concat!("npmjs", ".org"),
    concat!("npmjs", ".com"),
    concat!("yarnpkg", ".com"),
    concat!("proxy.golang", ".org"),
    concat!("rubygems", ".org"),
];

/// Paths of the machine that this was written on.
const MACHINE_PATHS: [&str; 3] = [
    concat!("../", "shared"),
    concat!("/work", "/"),
    concat!("/root", "/"),
];

/// Macros of unfinished code.
const UNFINISHED: [&str; 2] = ["todo", "unimplemented"];

/// Texts that models are tested with, quoted from others word for word.
const QUOTED: &str = "tests/fixtures/eval/";

/// Checks the words of any text file. A lock file is written by its tool, a quotation by others.
pub(crate) fn check(file: &TextFile) -> Vec<Violation> {
    if file.path.ends_with("Cargo.lock") || file.path.starts_with(QUOTED) {
        return Vec::new();
    }
    let numbered = file.text.lines().zip(1..);
    numbered
        .flat_map(|(line, number)| check_line(&file.path, line, number))
        .collect()
}

fn check_line(path: &str, line: &str, number: usize) -> Vec<Violation> {
    let put_off = PUT_OFF
        .iter()
        .filter(|word| has_word(line, word))
        .map(|word| format!("{word}: do it, or write down where it is kept"));
    let registries = REGISTRIES
        .iter()
        .filter(|host| line.contains(**host))
        .map(|host| format!("{host}: name the package, not the registry"));
    let paths = MACHINE_PATHS
        .iter()
        .filter(|start| has_path(line, start))
        .map(|start| format!("{start}: no other machine has this path"));
    let messages = put_off.chain(registries).chain(paths);
    messages
        .map(|message| Violation::new(path, number, message))
        .collect()
}

/// Checks for unfinished code and tests that never run, tests included.
pub(crate) fn check_source(source: &Source<'_>) -> Vec<Violation> {
    let names = || source.names.iter().chain(&source.test_names);
    let unfinished = names()
        .filter(|name| name.is_macro && UNFINISHED.iter().any(|u| name.contains(&[*u])))
        .map(|name| Violation::new(source.path, name.line, "unfinished code"));
    let ignored = source
        .text
        .lines()
        .zip(1..)
        .filter(|(line, _)| line.trim_start().starts_with(concat!("#[", "ignore")))
        .map(|(_, number)| Violation::new(source.path, number, "a test that never runs"));
    unfinished.chain(ignored).collect()
}

/// The word stands by itself.
fn has_word(line: &str, word: &str) -> bool {
    let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        !joins(line[..at].chars().next_back()) && !joins(line[at + word.len()..].chars().next())
    })
}

/// The path begins here, and is no later part of another.
fn has_path(line: &str, start: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '}' | ')' | '*');
    let begins = |at: usize| !line[..at].chars().next_back().is_some_and(inner);
    line.match_indices(start).any(|(at, _)| begins(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        let (path, text) = (path.to_owned(), text.to_owned());
        check(&TextFile { path, text }).len()
    }

    #[test]
    fn work_is_not_put_off() {
        for word in PUT_OFF {
            assert_eq!(found("Makefile", &format!("# {word}: later")), 1);
            assert_eq!(found("a.rs", &format!("// {word}_LIST and A{word}")), 0);
            assert_eq!(found("tests/fixtures/eval/c.txt", word), 0);
        }
    }

    #[test]
    fn registries_are_not_named() {
        for host in REGISTRIES {
            assert_eq!(found("README.md", &format!("see https://{host}/x")), 1);
            assert_eq!(
                found("tests/fuzz/Cargo.lock", &format!("\"https://{host}\"")),
                0
            );
        }
    }

    #[test]
    fn paths_of_one_machine_are_not_named() {
        for path in MACHINE_PATHS {
            assert_eq!(found("a.sh", &format!("cd {path}x")), 1);
        }
        let fine = ["target/work/x", "$HOME/work/x", "${DIR}/root/x"];
        assert!(fine.iter().all(|path| found("a.sh", path) == 0));
    }

    #[test]
    fn unfinished_code_is_found() {
        let lines = |text: &str| {
            let source = Source::parse("web/src/a.rs", text).unwrap();
            check_source(&source)
                .iter()
                .map(|v| v.line)
                .collect::<Vec<_>>()
        };
        for name in UNFINISHED {
            assert_eq!(lines(&format!("fn f() {{ {name}!() }}")), [1]);
            assert_eq!(
                lines(&format!("#[cfg(test)]\nmod t {{ fn f() {{ {name}!() }} }}")),
                [2]
            );
            assert!(lines(&format!("fn {name}() {{}}")).is_empty());
        }
        let ignored = concat!("#[test]\n#[", "ignore = \"slow\"]\nfn f() {}");
        assert_eq!(lines(ignored), [2]);
    }
}
