//! The tables of options in docs/options.md: one for each heading of the help, and a row for each option with the commands
//! that have it.

use super::Command;
use super::help::{COMMON, Entry, Page};
use crate::Result;

/// The lines around the tables.
const BEGIN: &str = "<!-- The tables of options are made by `cargo xtask docs`. -->\n";
const END: &str = "<!-- End of the tables of options. -->\n";

/// An option, and the commands that have it.
struct Row {
    heading: String,
    entry: Entry,
    commands: Vec<String>,
}

/// The document with new tables.
pub fn replaced(document: &str, overview: &Page, commands: &[Command]) -> Result<String> {
    let parts = document.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or("docs/options.md has no place for the tables of options")?;
    let mut text = format!("{before}{BEGIN}");
    for section in overview.sections.iter().filter(|section| section.heading == COMMON) {
        text.push_str("\n### Options of every command\n\n| option | meaning |\n|---|---|\n");
        for entry in &section.entries {
            text.push_str(&format!("| {} | {} |\n", names(&entry.word), cell(&entry.text)));
        }
    }
    let rows = rows(commands);
    let mut headings: Vec<&str> = Vec::new();
    for row in &rows {
        if !headings.contains(&row.heading.as_str()) {
            headings.push(&row.heading);
        }
    }
    for heading in headings {
        let title = if heading == "Options" { "Options of single commands" } else { heading };
        text.push_str(&format!("\n### {title}\n\n| option | commands | meaning |\n|---|---|---|\n"));
        for Row { entry, commands, .. } in rows.iter().filter(|row| row.heading == heading) {
            let commands: Vec<String> = commands.iter().map(|name| format!("`{name}`")).collect();
            text.push_str(&format!("| {} | {} | {} |\n", names(&entry.word), commands.join(", "), cell(&entry.text)));
        }
    }
    Ok(format!("{text}\n{END}{after}"))
}

fn rows(commands: &[Command]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for Command { name, page, .. } in commands {
        let sections = page.sections.iter().filter(|section| section.is_about_options() && section.heading != COMMON);
        for (heading, entry) in
            sections.flat_map(|section| section.entries.iter().map(|entry| (&section.heading, entry)))
        {
            match rows.iter_mut().find(|row| row.heading == *heading && row.entry == *entry) {
                Some(row) => row.commands.push(name.clone()),
                None => rows.push(Row { heading: heading.clone(), entry: entry.clone(), commands: vec![name.clone()] }),
            }
        }
    }
    rows
}

/// The names of an option as code.
fn names(word: &str) -> String {
    let names: Vec<String> = word.split(", ").map(|name| format!("`{}`", name.replace('|', "\\|"))).collect();
    names.join(", ")
}

/// A description. Options, variables and paths become code.
fn cell(text: &str) -> String {
    let mut out = String::new();
    for (index, piece) in text.split('`').enumerate() {
        if index % 2 == 1 {
            out.push_str(&format!("`{piece}`"));
            continue;
        }
        for word in piece.split_inclusive(' ') {
            let start = word.find(|c| c != '(').unwrap_or_default();
            let end = word.trim_end_matches([' ', ',', ';', ':', '.', ')']).len().max(start);
            let is_code = ["--", "$", "/", "~/"].iter().any(|prefix| word[start..end].starts_with(prefix));
            if is_code {
                out.push_str(&format!("{}`{}`{}", &word[..start], &word[start..end], &word[end..]));
            } else {
                out.push_str(&word.replace('*', "\\*").replace('<', "&lt;"));
            }
        }
    }
    out.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_code_in_descriptions() {
        for (text, expected) in [
            ("the file (default: $X, else ~/y.z.)", "the file (default: `$X`, else `~/y.z`.)"),
            ("needs --replace; `a|b`", "needs `--replace`; `a\\|b`"),
        ] {
            assert_eq!(cell(text), expected);
        }
        assert_eq!(names("-j, --kind a|b"), "`-j`, `--kind a\\|b`");
    }
}
