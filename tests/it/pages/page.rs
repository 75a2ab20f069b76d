//! A page of the documentation as steps: files to write, and commands with the output that the page shows.
//!
//! - A fence of the language `console` has commands, which begin with `$ ` or `# `, and their output.
//!   A line that begins with `> ` continues a command.
//! - `<!-- file: PATH -->` before a fence of any language makes its text the content of PATH.
//! - `<!-- run: table -->` before a table makes commands of its code that begins with `pullet `. Their output is not compared.
//! - `<!-- not run: REASON -->` before a fence exempts it, and in a page without commands it exempts the page.

/// What a page tells its reader to do.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// A file that the reader writes.
    File { path: String, text: String },
    /// A command, and its output. `…` stands for any text in a line, and alone in a line for any number of lines.
    Command { line: usize, text: String, output: Vec<String> },
}

/// A page, taken apart.
#[derive(Debug, Default)]
pub struct Page {
    pub steps: Vec<Step>,
    /// The reasons why something of the page is not run.
    pub reasons: Vec<String>,
    /// What the page does wrong.
    pub complaints: Vec<String>,
}

/// A comment that says something about the next fence or table.
enum Mark {
    File(String),
    NotRun,
    Table,
}

impl Page {
    pub fn parse(text: &str) -> Page {
        let mut page = Page::default();
        let mut mark = None;
        let mut is_after_blank = true;
        let mut lines = text.lines().enumerate();
        while let Some((at, line)) = lines.next() {
            if let Some(language) = line.strip_prefix("```") {
                let block: Vec<(usize, &str)> = lines
                    .by_ref()
                    .take_while(|(_, line)| !line.starts_with("```"))
                    .map(|(at, line)| (at + 1, line))
                    .collect();
                page.add_fence(at + 1, language, &block, mark.take());
            } else if let Some(path) = comment(line, "file") {
                mark = Some(Mark::File(path.to_owned()));
            } else if line == "<!-- run: table -->" {
                mark = Some(Mark::Table);
            } else if let (true, Some(Mark::Table)) = (line.starts_with('|'), &mark) {
                page.add_row(at + 1, line);
            } else if let Some(reason) = comment(line, "not run") {
                page.reasons.push(reason.to_owned());
                mark = Some(Mark::NotRun);
            } else if line.starts_with("    ") && is_after_blank {
                page.complaints.push(format!("line {}: indented code; use a fence", at + 1));
            } else if !line.is_empty() {
                mark = None;
            }
            is_after_blank = line.is_empty();
        }
        page
    }

    fn add_fence(&mut self, line: usize, language: &str, block: &[(usize, &str)], mark: Option<Mark>) {
        match (mark, language) {
            (Some(Mark::File(path)), _) => {
                let text = block.iter().map(|(_, line)| format!("{line}\n")).collect();
                self.steps.push(Step::File { path, text });
            }
            (Some(Mark::NotRun), _) => {}
            (_, "console") => self.add_commands(block),
            (_, "sh" | "bash" | "") => {
                self.complaints.push(format!("line {line}: commands that are not run, without a reason"));
            }
            (_, _) => {}
        }
    }

    fn add_row(&mut self, line: usize, row: &str) {
        for code in row.split('`').skip(1).step_by(2).filter(|code| code.starts_with("pullet ")) {
            let (text, output) = (code.replace("\\|", "|"), vec!["…".to_owned()]);
            self.steps.push(Step::Command { line, text, output });
        }
    }

    fn add_commands(&mut self, block: &[(usize, &str)]) {
        for (line, text) in block {
            let command = text.strip_prefix("$ ").or_else(|| text.strip_prefix("# "));
            match (command, self.steps.last_mut()) {
                (Some(command), _) => {
                    self.steps.push(Step::Command { line: *line, text: command.to_owned(), output: Vec::new() });
                }
                (None, Some(Step::Command { text: command, output, .. })) => match text.strip_prefix("> ") {
                    Some(more) if output.is_empty() => *command += &format!("\n{more}"),
                    _ => output.push((*text).to_owned()),
                },
                _ => self.complaints.push(format!("line {line}: output without a command")),
            }
        }
        // Empty lines between two commands are for the reader.
        for step in &mut self.steps {
            if let Step::Command { output, .. } = step {
                while output.last().is_some_and(String::is_empty) {
                    output.pop();
                }
            }
        }
    }
}

/// The text of a comment `<!-- NAME: TEXT -->`.
fn comment<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.strip_prefix("<!-- ")?.strip_prefix(name)?.strip_prefix(": ")?.strip_suffix(" -->")
}

/// Returns true if the output of a command is what the page shows.
pub fn fits(expected: &[String], actual: &[&str]) -> bool {
    match (expected.split_first(), actual.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "…" => (0..=actual.len()).any(|skipped| fits(rest, &actual[skipped..])),
        (Some((first, expected)), Some((line, actual))) => line_fits(first, line) && fits(expected, actual),
        _ => false,
    }
}

fn line_fits(expected: &str, actual: &str) -> bool {
    let Some((before, after)) = expected.split_once('…') else { return expected.trim_end() == actual.trim_end() };
    let Some(rest) = actual.strip_prefix(before) else { return false };
    rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| line_fits(after, &rest[at..]))
}

#[test]
fn takes_a_page_apart() {
    let text = "# A\n\n<!-- file: /etc/a -->\n```toml\nb = 1\n```\n\n```console\n$ one\nout\n\n# two <<E\n> in\n> E\n```\n\n\
                <!-- not run: why -->\n```sh\nthree\n```\n";
    let page = Page::parse(text);
    let command = |line, text: &str, output: &[&str]| {
        let output = output.iter().map(|line| line.to_string()).collect();
        Step::Command { line, text: text.to_owned(), output }
    };
    let file = Step::File { path: "/etc/a".to_owned(), text: "b = 1\n".to_owned() };
    assert_eq!(page.steps, [file, command(9, "one", &["out"]), command(12, "two <<E\nin\nE", &[])]);
    assert_eq!((page.reasons, page.complaints), (vec!["why".to_owned()], vec![]));
    for wrong in
        ["```sh\na\n```\n", "```console\nout\n```\n", "a\n\n    code\n", "<!-- not run: a -->\ntext\n```sh\nb\n```\n"]
    {
        assert_eq!(Page::parse(wrong).complaints.len(), 1, "{wrong}");
    }
}

#[test]
fn compares_output_with_wildcards() {
    let check = |expected: &str, actual: &str, is_right: bool| {
        let expected: Vec<String> = expected.lines().map(str::to_owned).collect();
        let actual: Vec<&str> = actual.lines().collect();
        assert_eq!(fits(&expected, &actual), is_right, "{expected:?} {actual:?}");
    };
    check("", "", true);
    check("", "a", false);
    check("a", "", false);
    check("sha256:… b…", "sha256:12 b", true);
    check("sha256:… b", "sha256:12 c", false);
    check("a\n…\nc", "a\nb\nb\nc", true);
    check("a\n…\nc", "a\nc", true);
    check("a\n…\nc", "a\nb", false);
}
