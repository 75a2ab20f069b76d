//! Rules for the shape of every file.

use super::source::Source;

const MOST_LINES: usize = 500;
/// Names that do not say what is in the file. `helper` is not one of them: a credential helper is a program.
const EMPTY_NAMES: &[&str] = &["helpers", "manager", "managers", "util", "utils"];
/// Words for work that is left. They need the number of an issue.
const DEBTS: &[&str] = &["FIXME", "TODO", "XXX"];

pub fn complaints(source: &Source) -> Vec<String> {
    let path = &source.path;
    let whole = [length(source), module_comment(source), name(source), last_line(source)];
    let mut complaints: Vec<String> = whole.into_iter().flatten().map(|text| format!("{path}: {text}")).collect();
    for (index, line) in source.text.lines().enumerate() {
        let faults = [white_space(line), debt(line)].into_iter().flatten();
        complaints.extend(faults.map(|text| format!("{path}:{}: {text}", index + 1)));
    }
    complaints
}

fn length(source: &Source) -> Option<String> {
    let Source { lines, .. } = source;
    (*lines > MOST_LINES).then(|| format!("{lines} lines without tests, {MOST_LINES} at most"))
}

fn module_comment(source: &Source) -> Option<String> {
    (!source.text.starts_with("//! ")).then(|| "the first line is not a module comment (//!)".into())
}

fn name(source: &Source) -> Option<String> {
    let empty = source.path.split(['/', '_', '.']).find(|word| EMPTY_NAMES.contains(word))?;
    Some(format!("the file name has no meaning: {empty}"))
}

fn last_line(source: &Source) -> Option<String> {
    (!source.text.ends_with('\n') || source.text.ends_with("\n\n"))
        .then(|| "the file does not end with exactly one newline".into())
}

fn white_space(line: &str) -> Option<String> {
    if line.contains('\t') {
        return Some("a tab".into());
    }
    (line.trim_end() != line).then(|| "white space at the end of the line".into())
}

fn debt(line: &str) -> Option<String> {
    let (_, comment) = line.split_once("// ")?;
    let word = comment.split(|c: char| !c.is_alphanumeric()).find(|word| DEBTS.contains(word))?;
    let has_issue = comment.split('#').skip(1).any(|after| after.starts_with(|c: char| c.is_ascii_digit()));
    (!has_issue).then(|| format!("{word} without the number of an issue (#1)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, expected: &[&str]) {
        assert_eq!(complaints(&Source::new(path, text).unwrap()), expected, "{path}: {text}");
    }

    #[test]
    fn accepts_a_file_in_shape() {
        check("src/a.rs", "//! A.\n\nfn a() {} // TODO(#12): b\nconst T: &str = \"TODO\\t\";\n", &[]);
        check("src/a.rs", &format!("//! A.\n{}", "fn a() {}\n".repeat(499)), &[]);
    }

    #[test]
    fn reports_each_fault() {
        check("src/a.rs", "// A.\n", &["src/a.rs: the first line is not a module comment (//!)"]);
        check("src/a_util.rs", "//! A.\n", &["src/a_util.rs: the file name has no meaning: util"]);
        check("tests/helpers/a.rs", "//! A.\n", &["tests/helpers/a.rs: the file name has no meaning: helpers"]);
        check("src/a.rs", "//! A.", &["src/a.rs: the file does not end with exactly one newline"]);
        check("src/a.rs", "//! A.\n\n", &["src/a.rs: the file does not end with exactly one newline"]);
        check("src/a.rs", "//! A.\n\tuse b;\n", &["src/a.rs:2: a tab"]);
        check("src/a.rs", "//! A.\nuse b; \n", &["src/a.rs:2: white space at the end of the line"]);
        check(
            "src/a.rs",
            &format!("//! A.\n// {}: b\n", DEBTS[2]),
            &["src/a.rs:2: XXX without the number of an issue (#1)"],
        );
        check(
            "src/a.rs",
            &format!("//! A.\n{}#[cfg(test)]\nmod tests {{\n}}\n", "fn a() {}\n".repeat(500)),
            &["src/a.rs: 501 lines without tests, 500 at most"],
        );
    }
}
