//! What every file must look like, whatever is in it.

use super::source::Source;

const MOST_LINES: usize = 500;
/// Names that say nothing about what is in the file.
const EMPTY_NAMES: &[&str] = &["helpers", "manager", "managers", "util", "utils"];
/// Words for what is left to do, which belongs to an issue.
const DEBTS: &[&str] = &["FIXME", "TODO", "XXX"];

pub fn complaints(source: &Source) -> Vec<String> {
    let whole = [length(source), module_comment(source), name(source), last_line(source)];
    let whole = whole.into_iter().flatten().map(|text| format!("{}: {text}", source.path));
    let lines = source.text.lines().zip(source.comments.lines()).enumerate();
    let lines = lines.flat_map(|(number, (line, comment))| {
        let faults = [white_space(line), debt(comment)].into_iter().flatten();
        faults.map(move |text| format!("{}:{}: {text}", source.path, number + 1))
    });
    whole.chain(lines).collect()
}

fn length(source: &Source) -> Option<String> {
    let Source { lines, .. } = source;
    (*lines > MOST_LINES).then(|| format!("{lines} lines without tests, {MOST_LINES} at most"))
}

fn module_comment(source: &Source) -> Option<String> {
    (!source.text.starts_with("//! ")).then(|| "the first line is no module comment (//!)".into())
}

fn name(source: &Source) -> Option<String> {
    let empty = source.path.split(['/', '_', '.']).find(|word| EMPTY_NAMES.contains(word))?;
    Some(format!("the name says nothing: {empty}"))
}

fn last_line(source: &Source) -> Option<String> {
    (!source.text.ends_with('\n') || source.text.ends_with("\n\n")).then(|| "one newline ends a file".into())
}

fn white_space(line: &str) -> Option<String> {
    match line {
        _ if line.contains('\t') => Some("a tab".into()),
        _ if line.trim_end() != line => Some("white space at the end of the line".into()),
        _ => None,
    }
}

fn debt(comment: &str) -> Option<String> {
    let word = comment.split(|c: char| !c.is_alphanumeric()).find(|word| DEBTS.contains(word))?;
    let issue = comment.split('#').skip(1).any(|after| after.starts_with(|c: char| c.is_ascii_digit()));
    (!issue).then(|| format!("{word} without the number of an issue (#1)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, expected: &[&str]) {
        assert_eq!(complaints(&Source::new(path, text)), expected, "{path}: {text}");
    }

    #[test]
    fn a_file_in_shape() {
        check("src/a.rs", "//! A.\n\nfn a() {} // TODO(#12): b\nconst T: &str = \"TODO\\t\";\n", &[]);
        check("src/a.rs", &format!("//! A.\n{}", "a();\n".repeat(499)), &[]);
    }

    #[test]
    fn a_file_out_of_shape() {
        check("src/a.rs", "// A.\n", &["src/a.rs: the first line is no module comment (//!)"]);
        check("src/a_util.rs", "//! A.\n", &["src/a_util.rs: the name says nothing: util"]);
        check("tests/helpers/a.rs", "//! A.\n", &["tests/helpers/a.rs: the name says nothing: helpers"]);
        check("src/a.rs", "//! A.", &["src/a.rs: one newline ends a file"]);
        check("src/a.rs", "//! A.\n\n", &["src/a.rs: one newline ends a file"]);
        check("src/a.rs", "//! A.\n\tb\n", &["src/a.rs:2: a tab"]);
        check("src/a.rs", "//! A.\nb \n", &["src/a.rs:2: white space at the end of the line"]);
        check("src/a.rs", "//! A.\n// XXX: b\n", &["src/a.rs:2: XXX without the number of an issue (#1)"]);
        check(
            "src/a.rs",
            &format!("//! A.\n{}#[cfg(test)]\nmod tests {{\n}}\n", "a();\n".repeat(500)),
            &["src/a.rs: 501 lines without tests, 500 at most"],
        );
    }
}
