//! One source file, parsed.

use syn::Item;

use super::paths::{self, Names};
use crate::Result;

pub struct Source {
    /// Relative to the workspace: `src/registry/http.rs`.
    pub path: String,
    pub text: String,
    /// The lines of the text, without a test module at its end.
    pub lines: usize,
    /// The parsed file, without its test modules.
    pub file: syn::File,
    /// The paths that `file` names.
    pub names: Names,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Result<Self> {
        let mut file =
            syn::parse_file(text).map_err(|error| format!("{path}:{}: {error}", error.span().start().line))?;
        let lines = file.items.last().and_then(test_module_line).map_or(text.lines().count(), |line| line - 1);
        file.items.retain(|item| test_module_line(item).is_none());
        let names = paths::find(&file);
        Ok(Self { path: path.into(), text: text.into(), lines, file, names })
    }

    /// True for files that hold nothing but tests. They may use every module.
    pub fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }
}

/// The first line of a `#[cfg(test)]` module.
fn test_module_line(item: &Item) -> Option<usize> {
    let Item::Mod(module) = item else { return None };
    let is_test = |attribute: &syn::Attribute| {
        let arguments = attribute.meta.require_list();
        attribute.path().is_ident("cfg") && arguments.is_ok_and(|list| list.tokens.to_string() == "test")
    };
    let has_test = module.attrs.iter().any(is_test);
    let first = module.attrs.first()?;
    has_test.then(|| first.pound_token.spans[0].start().line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_not_count_tests_at_the_end() {
        let check =
            |text: &str, expected: usize| assert_eq!(Source::new("src/a.rs", text).unwrap().lines, expected, "{text}");
        check("fn a() {}\n", 1);
        check("fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n", 1);
        check("fn a() {}\n\n#[cfg(test)]\nmod tests;\n", 2);
        check("#[cfg(test)]\n#[allow(clippy::unwrap_used)]\nmod tests {\n}\n", 0);
        // Tests in the middle count, and so does a module that is always built.
        check("#[cfg(test)]\nmod tests {\n}\nfn a() {}\n", 4);
        check("mod tests {\n}\n", 2);
        check("// #[cfg(test)]\nmod tests;\n", 2);
    }

    #[test]
    fn names_the_line_that_does_not_parse() {
        let error = Source::new("src/a.rs", "fn a() {}\nfn 1").err();
        assert!(error.is_some_and(|error| error.starts_with("src/a.rs:2: ")));
    }
}
