//! The house rules that a compiler does not check: layers, walls, pure cores, lengths, docs.
//!
//! [`check`] reads a working tree and answers everything that breaks a rule, with file and line.
//! A package of its own, so that it runs in seconds and builds nothing of the product.
//! It knows no rule that clippy or rustc already keeps.

mod docs;
mod layers;
mod purity;
mod sizes;
mod source;
mod text;
mod tree;
mod walls;

use std::{fmt, path::Path};

pub use tree::TreeError;

use source::Source;
use tree::Tree;

/// One broken rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The file, relative to the repository's root.
    pub path: String,
    /// The line, from 1; 0: the file as a whole.
    pub line: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Violation {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Everything in the working tree at `root` that breaks a rule, in order of file and line.
///
/// # Errors
/// When the tree cannot be read.
pub fn check(root: &Path) -> Result<Vec<Violation>, TreeError> {
    let tree = Tree::read(root)?;
    let mut found = docs::check_tree(&tree);
    found.extend(layers::check(&tree));
    for file in &tree.files {
        found.extend(text::check(file));
        if file.path.ends_with(".rs") {
            found.extend(check_rust(&file.path, &file.text));
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn check_rust(path: &str, text: &str) -> Vec<Violation> {
    let source = match Source::parse(path, text) {
        Ok(source) => source,
        Err(violation) => return vec![violation],
    };
    let rules = [
        docs::check_source,
        purity::check,
        sizes::check,
        text::check_source,
        walls::check,
    ];
    rules.iter().flat_map(|rule| rule(&source)).collect()
}
