//! One source file, cut into what the rules ask about.

use super::scan::{self, Uses};

pub struct Source {
    /// Below the workspace: `src/registry/http.rs`.
    pub path: String,
    pub text: String,
    /// The text with all but the comments blanked.
    pub comments: String,
    /// The text with all but the code blanked, without the tests at its end.
    pub code: String,
    /// What that code names.
    pub uses: Uses,
    /// Of the text, without the tests at its end.
    pub lines: usize,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let parts = scan::parts(text);
        let all = text.lines().count();
        let lines = start_of_tests(&parts.code).unwrap_or(all);
        let code: String = parts.code.split_inclusive('\n').take(lines).collect();
        let uses = scan::uses(&code);
        Self { path: path.into(), text: text.into(), comments: parts.comments, code, uses, lines }
    }

    /// Tests in a file or a folder of their own. They may look anywhere.
    pub fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }
}

/// The line, counted from nought, of the `#[cfg(test)]` before the last `mod tests`, if only tests follow.
fn start_of_tests(code: &str) -> Option<usize> {
    let lines: Vec<&str> = code.lines().collect();
    let tests = lines.iter().rposition(|line| line.starts_with("mod tests"))?;
    let end = if lines[tests].contains('{') { lines[tests..].iter().position(|line| *line == "}")? } else { 0 };
    let nothing_follows = lines[tests + end + 1..].iter().all(|line| line.trim().is_empty());
    let start = lines[..tests].iter().rposition(|line| line.starts_with("#[cfg(test)]"))?;
    let only_attributes = lines[start..tests].iter().all(|line| line.starts_with("#[") || line.trim().is_empty());
    (nothing_follows && only_attributes).then_some(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_at_the_end_do_not_count() {
        let check = |text: &str, expected: usize| assert_eq!(Source::new("src/a.rs", text).lines, expected, "{text}");
        check("fn a() {}\n", 1);
        check("fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n", 1);
        check("fn a() {}\n\n#[cfg(test)]\nmod tests;\n", 2);
        check("#[cfg(test)]\n#[allow(clippy::unwrap_used)]\nmod tests {\n}\n", 0);
        // Neither tests in the middle nor a module of that name that is built always.
        check("#[cfg(test)]\nmod tests {\n}\nfn a() {}\n", 4);
        check("mod tests {\n}\n", 2);
        check("// #[cfg(test)]\nmod tests;\n", 2);
    }
}
