//! How long files and functions may be, and how many arguments a function takes.

use syn::{spanned::Spanned, visit::Visit};

use crate::{Violation, source::Source};

/// Lines of a file, its tests not counted: beyond it a file has two responsibilities.
const MAX_FILE_LINES: usize = 400;
/// Lines of a file of tests.
const MAX_TEST_FILE_LINES: usize = 800;
/// Lines of a function.
const MAX_FUNCTION_LINES: usize = 60;
/// Arguments of a function, its receiver not counted; more are a struct.
const MAX_ARGUMENTS: usize = 5;

/// Checks one file and its functions.
pub(crate) fn check(source: &Source<'_>) -> Vec<Violation> {
    let mut functions = Functions {
        source,
        found: check_file(source).into_iter().collect(),
    };
    functions.visit_file(&source.syntax);
    functions.found
}

fn check_file(source: &Source<'_>) -> Option<Violation> {
    let (lines, limit, of) = if source.is_test_file() {
        (source.text.lines().count(), MAX_TEST_FILE_LINES, "tests")
    } else {
        (source.code_lines(), MAX_FILE_LINES, "code")
    };
    let message = format!("has {lines} lines of {of}, the limit is {limit}");
    (lines > limit).then(|| Violation::new(source.path, 0, message))
}

struct Functions<'s> {
    source: &'s Source<'s>,
    found: Vec<Violation>,
}

impl Functions<'_> {
    fn check(&mut self, signature: &syn::Signature, body: Option<&syn::Block>) {
        let line = signature.span().start().line;
        let name = &signature.ident;
        let end = body.map_or(line, |body| body.span().end().line);
        let lines = end + 1 - line;
        if lines > MAX_FUNCTION_LINES {
            let message = format!("`{name}` has {lines} lines, the limit is {MAX_FUNCTION_LINES}");
            self.found
                .push(Violation::new(self.source.path, line, message));
        }
        let arguments = count_arguments(signature);
        // What C calls has the arguments that C passes.
        if arguments > MAX_ARGUMENTS && signature.abi.is_none() {
            let message =
                format!("`{name}` takes {arguments} arguments, the limit is {MAX_ARGUMENTS}");
            self.found
                .push(Violation::new(self.source.path, line, message));
        }
    }
}

fn count_arguments(signature: &syn::Signature) -> usize {
    let is_typed = |argument: &&syn::FnArg| matches!(argument, syn::FnArg::Typed(_));
    signature.inputs.iter().filter(is_typed).count()
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.check(&function.sig, Some(&function.block));
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.check(&function.sig, Some(&function.block));
        syn::visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.check(&function.sig, function.default.as_ref());
        syn::visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Source::parse(path, text).unwrap()).len()
    }

    #[test]
    fn files_are_short_without_their_tests() {
        let lines = |n: usize| "//! x\n".repeat(n);
        assert_eq!(count("web/src/a.rs", &lines(400)), 0);
        assert_eq!(count("web/src/a.rs", &lines(401)), 1);
        assert_eq!(count("web/src/a/tests.rs", &lines(800)), 0);
        assert_eq!(count("tests/src/a.rs", &lines(801)), 1);
        let tests = format!(
            "{}#[cfg(test)]\nmod tests {{\n{}}}\n",
            lines(400),
            "use a;\n".repeat(100)
        );
        assert_eq!(count("web/src/a.rs", &tests), 0);
    }

    #[test]
    fn functions_are_short() {
        let function = |n: usize| format!("fn f() {{\n{}}}\n", "g();\n".repeat(n - 2));
        assert_eq!(count("web/src/a.rs", &function(60)), 0);
        assert_eq!(count("web/src/a.rs", &function(61)), 1);
        assert_eq!(
            count("web/src/a.rs", &format!("impl S {{ {} }}", function(61))),
            1
        );
        assert_eq!(
            count("web/src/a.rs", &format!("trait T {{ {} }}", function(61))),
            1
        );
        assert_eq!(
            count("web/src/a.rs", &format!("fn o() {{ {} }}", function(61))),
            2
        );
    }

    #[test]
    fn functions_take_few_arguments() {
        let five = "a: u8, b: u8, c: u8, d: u8, e: u8";
        assert_eq!(count("web/src/a.rs", &format!("fn f({five}) {{}}")), 0);
        assert_eq!(
            count("web/src/a.rs", &format!("fn f({five}, g: u8) {{}}")),
            1
        );
        assert_eq!(
            count(
                "web/src/a.rs",
                &format!("impl S {{ fn f(&self, {five}) {{}} }}")
            ),
            0
        );
        assert_eq!(
            count(
                "web/src/a.rs",
                &format!("trait T {{ fn f(&self, {five}, g: u8); }}")
            ),
            1
        );
        assert_eq!(
            count(
                "llama-sys/src/a.rs",
                &format!("extern \"C\" fn f({five}, g: u8) {{}}")
            ),
            0
        );
    }
}
