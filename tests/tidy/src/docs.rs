//! What must be there: module docs, decisions, lint tables, the repository's top level.

use crate::{Violation, source::Source, tree::Tree};

/// The packages, each a folder of the top level.
pub(crate) const PACKAGES: [&str; 7] = [
    "bootstrap",
    "dht",
    "llama-sys",
    "node",
    "protocol",
    "tests",
    "web",
];

/// What else the top level holds, beside dotfiles and a built `target`.
const TOP_LEVEL: [&str; 6] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "target",
];

/// Module names that say nothing about what they hold.
const EMPTY_NAMES: [&str; 8] = [
    "common", "helper", "helpers", "manager", "misc", "shared", "util", "utils",
];

/// Checks the tree's shape.
pub(crate) fn check_tree(tree: &Tree) -> Vec<Violation> {
    let extra = tree
        .top_level
        .iter()
        .filter(|name| !name.starts_with('.'))
        .filter(|name| !PACKAGES.contains(&name.as_str()) && !TOP_LEVEL.contains(&name.as_str()))
        .map(|name| Violation::new(name, 0, "does not belong in the top level"));
    let missing = PACKAGES
        .iter()
        .flat_map(|package| {
            [
                format!("{package}/Cargo.toml"),
                format!("{package}/DECISIONS.md"),
            ]
        })
        .chain(["README.md", "LICENSE", "Makefile"].map(str::to_owned))
        .filter(|path| path != "tests/DECISIONS.md" && tree.file(path).is_none())
        .map(|path| Violation::new(&path, 0, "is missing"));
    extra.chain(missing).collect()
}

/// Checks one file's name and its beginning.
pub(crate) fn check_source(source: &Source<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    if !source.text.starts_with("//!") {
        let message = "must begin with `//!`: what it owns, and what it does not know";
        found.push(Violation::new(source.path, 1, message));
    }
    let mut folders: Vec<_> = source.path.split('/').collect();
    let file = folders.pop().unwrap_or_default();
    if file == "mod.rs" {
        let message = "`foo.rs` beside `foo/`, not `foo/mod.rs`";
        found.push(Violation::new(source.path, 0, message));
    }
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    for name in folders.into_iter().chain([stem]) {
        if EMPTY_NAMES.contains(&name) {
            let message = format!("`{name}` says nothing: name what the module holds");
            found.push(Violation::new(source.path, 0, message));
        }
    }
    found.extend(check_module_names(source));
    found
}

/// Modules written inside a file.
fn check_module_names(source: &Source<'_>) -> Vec<Violation> {
    let inline = |item: &syn::Item| match item {
        syn::Item::Mod(module) => Some(module.ident.clone()),
        _ => None,
    };
    source
        .syntax
        .items
        .iter()
        .filter_map(inline)
        .filter(|name| EMPTY_NAMES.iter().any(|empty| name == empty))
        .map(|name| {
            let line = name.span().start().line;
            let message = format!("`{name}` says nothing: name what the module holds");
            Violation::new(source.path, line, message)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::TextFile;

    fn messages(path: &str, text: &str) -> Vec<String> {
        let source = Source::parse(path, text).unwrap();
        check_source(&source)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_file_says_what_it_owns() {
        assert!(messages("web/src/a.rs", "//! Docs.\n").is_empty());
        assert!(
            messages(
                "web/src/a.rs",
                "use b;\n//! Docs.\n".trim_end_matches("//! Docs.\n")
            )[0]
            .starts_with("web/src/a.rs:1: must begin")
        );
        assert_eq!(messages("web/src/a.rs", "// Docs.\n").len(), 1);
    }

    #[test]
    fn names_say_something() {
        assert_eq!(messages("web/src/utils.rs", "//! x\n").len(), 1);
        assert_eq!(messages("web/src/helpers/a.rs", "//! x\n").len(), 1);
        assert_eq!(messages("web/src/a/mod.rs", "//! x\n").len(), 1);
        assert_eq!(messages("web/src/a.rs", "//! x\nmod common {}\n").len(), 1);
        assert!(messages("web/src/alarm.rs", "//! x\nmod clock;\n").is_empty());
    }

    #[test]
    fn the_top_level_is_closed() {
        let tree = |names: &[&str]| Tree {
            files: PACKAGES
                .iter()
                .flat_map(|p| [format!("{p}/Cargo.toml"), format!("{p}/DECISIONS.md")])
                .chain(["README.md", "LICENSE", "Makefile"].map(str::to_owned))
                .map(|path| TextFile {
                    path,
                    text: String::new(),
                })
                .collect(),
            top_level: names.iter().map(|&name| name.to_owned()).collect(),
        };
        assert_eq!(check_tree(&tree(&["node", ".ci", "README.md"])), []);
        let found = check_tree(&tree(&["scripts"]));
        assert_eq!(
            found,
            [Violation::new(
                "scripts",
                0,
                "does not belong in the top level"
            )]
        );
        let mut without = tree(&[]);
        without.files.retain(|file| file.path != "web/DECISIONS.md");
        let found = check_tree(&without);
        assert_eq!(found, [Violation::new("web/DECISIONS.md", 0, "is missing")]);
    }
}
