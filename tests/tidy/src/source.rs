//! A parsed Rust file: its syntax tree, its paths and words with their lines, and which of its
//! lines are tests.
//!
//! Macros' contents count too: a rule that looked at the syntax tree alone would miss them.

use std::ops::RangeInclusive;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::{spanned::Spanned, visit::Visit};

use crate::Violation;

/// A Rust file.
pub(crate) struct Source<'a> {
    pub(crate) path: &'a str,
    pub(crate) text: &'a str,
    pub(crate) syntax: syn::File,
    /// Paths (`std::fs::read` as three names; `a::{b, c}` as two paths), single names among
    /// them, outside tests.
    pub(crate) names: Vec<Name>,
    /// The same inside tests.
    pub(crate) test_names: Vec<Name>,
    test_lines: Vec<RangeInclusive<usize>>,
}

/// A path of one or more names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) parts: Vec<String>,
    pub(crate) line: usize,
    /// What follows: `!` marks a macro's call.
    pub(crate) is_macro: bool,
}

impl Name {
    /// Whether these names follow one another somewhere in the path.
    pub(crate) fn contains(&self, names: &[&str]) -> bool {
        self.parts
            .windows(names.len())
            .any(|window| window == names)
    }
}

impl<'a> Source<'a> {
    /// Parses a file.
    pub(crate) fn parse(path: &'a str, text: &'a str) -> Result<Self, Violation> {
        let broken = |error: &dyn std::fmt::Display, line| {
            Violation::new(path, line, format!("cannot be parsed: {error}"))
        };
        let syntax = syn::parse_file(text).map_err(|e| broken(&e, e.span().start().line))?;
        let tokens: TokenStream = text.parse().map_err(|e| broken(&e, 0))?;
        let mut tests = TestLines(Vec::new());
        tests.visit_file(&syntax);
        let mut names = Vec::new();
        collect(tokens, &[], &mut names);
        let whole_file_is_test = is_test_file(path);
        let is_test =
            |line| whole_file_is_test || tests.0.iter().any(|range| range.contains(&line));
        let (test_names, names) = names.into_iter().partition(|name| is_test(name.line));
        Ok(Self {
            path,
            text,
            syntax,
            names,
            test_names,
            test_lines: tests.0,
        })
    }

    /// The whole file is tests.
    pub(crate) fn is_test_file(&self) -> bool {
        is_test_file(self.path)
    }

    /// Lines of the file that are in no test of it.
    pub(crate) fn code_lines(&self) -> usize {
        let in_tests = |line: &usize| self.test_lines.iter().any(|range| range.contains(line));
        (1..=self.text.lines().count())
            .filter(|line| !in_tests(line))
            .count()
    }
}

/// `tests.rs`, and whatever lies under a folder `tests` (the package of that name too) or
/// `examples`: programs to measure and to try with, no part of the product.
pub(crate) fn is_test_file(path: &str) -> bool {
    let mut parts = path.split('/').rev();
    parts.next() == Some("tests.rs") || parts.any(|folder| matches!(folder, "tests" | "examples"))
}

/// Line ranges of items under `#[cfg(test)]`.
struct TestLines(Vec<RangeInclusive<usize>>);

impl<'ast> Visit<'ast> for TestLines {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if item_attributes(item).iter().any(is_cfg_test) {
            let span = item.span();
            self.0.push(span.start().line..=span.end().line);
        } else {
            syn::visit::visit_item(self, item);
        }
    }
}

fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    let is_test = |list: &syn::MetaList| list.tokens.to_string() == "test";
    attribute.path().is_ident("cfg") && attribute.meta.require_list().is_ok_and(is_test)
}

fn item_attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        _ => &[],
    }
}

/// Collects the paths of a token stream; `prefix` stands before each of a `use` group's.
fn collect(tokens: TokenStream, prefix: &[String], names: &mut Vec<Name>) {
    let mut path = Path::new(prefix);
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => path.on_name(&ident, names),
            TokenTree::Punct(punct) => path.on_punct(punct.as_char(), names),
            TokenTree::Group(group) => {
                let grouped = path.colons == 2 && group.delimiter() == Delimiter::Brace;
                let inner: &[String] = if grouped { &path.parts } else { &[] };
                collect(group.stream(), inner, names);
                if grouped {
                    path = Path::new(prefix);
                } else {
                    path.end(false, names);
                }
            }
            TokenTree::Literal(_) => path.end(false, names),
        }
    }
    path.end(false, names);
}

/// The path that is being read.
struct Path<'p> {
    prefix: &'p [String],
    parts: Vec<String>,
    line: usize,
    colons: usize,
}

impl<'p> Path<'p> {
    fn new(prefix: &'p [String]) -> Self {
        Self {
            prefix,
            parts: prefix.to_vec(),
            line: 0,
            colons: if prefix.is_empty() { 0 } else { 2 },
        }
    }

    fn on_name(&mut self, ident: &proc_macro2::Ident, names: &mut Vec<Name>) {
        if self.colons != 2 {
            self.end(false, names);
        }
        if self.line == 0 {
            self.line = ident.span().start().line;
        }
        self.parts.push(ident.to_string());
        self.colons = 0;
    }

    fn on_punct(&mut self, punct: char, names: &mut Vec<Name>) {
        match punct {
            ':' if self.colons < 2 => self.colons += 1,
            '!' => self.end(true, names),
            _ => self.end(false, names),
        }
    }

    /// The path is complete; the next one begins after the prefix again.
    fn end(&mut self, is_macro: bool, names: &mut Vec<Name>) {
        if self.line != 0 {
            names.push(Name {
                parts: std::mem::take(&mut self.parts),
                line: self.line,
                is_macro,
            });
        }
        *self = Self::new(self.prefix);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let source = Source::parse("node/src/x.rs", text).unwrap();
        source
            .names
            .iter()
            .map(|name| name.parts.join("::"))
            .collect()
    }

    #[test]
    fn paths_are_found_in_uses_code_and_macros() {
        assert_eq!(
            paths("use std::{fs, net::{TcpStream, UdpSocket}, io};"),
            [
                "use",
                "std::fs",
                "std::net::TcpStream",
                "std::net::UdpSocket",
                "std::io"
            ]
        );
        assert!(paths("fn f() { g(std::fs::read(x)); }").contains(&"std::fs::read".to_owned()));
        assert!(paths("m! { a => tokio::spawn(b) }").contains(&"tokio::spawn".to_owned()));
        assert!(paths("struct S { a: std::fs::File }").contains(&"std::fs::File".to_owned()));
    }

    #[test]
    fn macro_calls_are_marked() {
        let text = "fn f() { panic!(\"x\"); g() }";
        let source = Source::parse("node/src/x.rs", text).unwrap();
        let marked: Vec<_> = source.names.iter().filter(|name| name.is_macro).collect();
        assert_eq!(marked.len(), 1);
        assert_eq!(marked[0].parts, ["panic"]);
    }

    #[test]
    fn tests_are_set_apart() {
        let text = "use a::b;\n#[cfg(test)]\nmod tests {\n    use c::d;\n}\nfn e() {}\n";
        let source = Source::parse("node/src/x.rs", text).unwrap();
        assert!(source.names.iter().all(|name| !name.contains(&["c", "d"])));
        assert!(
            source
                .test_names
                .iter()
                .any(|name| name.contains(&["c", "d"]))
        );
        assert_eq!(source.code_lines(), 2);
    }

    #[test]
    fn files_of_tests_are_known() {
        assert!(is_test_file("tests/src/x.rs") && is_test_file("web/tests/x.rs"));
        assert!(is_test_file("web/examples/x.rs") && !is_test_file("web/src/examples.rs"));
        assert!(is_test_file("web/src/x/tests.rs") && !is_test_file("web/src/tests_x.rs"));
    }

    #[test]
    fn broken_files_are_reported() {
        let violation = Source::parse("a.rs", "//! a\nfn (").err().unwrap();
        assert_eq!(violation.line, 2);
    }
}
