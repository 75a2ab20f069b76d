//! Reads the help that pullet prints: paragraphs, a usage line, and sections of words with their descriptions.

use crate::Result;

/// The help of the program or of a command.
#[derive(Debug, PartialEq)]
pub struct Page {
    /// The paragraphs above the usage line.
    pub about: Vec<String>,
    /// What follows `Usage: `.
    pub usage: String,
    pub sections: Vec<Section>,
    /// The paragraphs below the sections.
    pub notes: Vec<String>,
    /// The exit codes with their meanings.
    pub exit_codes: Vec<Entry>,
}

/// Words under a heading.
#[derive(Debug, PartialEq)]
pub struct Section {
    pub heading: String,
    pub entries: Vec<Entry>,
}

/// A word, or an option with its value, and its description.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub word: String,
    pub text: String,
}

/// The heading of the options that every command has.
pub const COMMON: &str = "Common options";
/// The column where the right half of the exit codes begins.
const RIGHT_HALF: usize = 34;

impl Page {
    pub fn parse(text: &str) -> Result<Self> {
        let mut page = Self {
            about: Vec::new(),
            usage: String::new(),
            sections: Vec::new(),
            notes: Vec::new(),
            exit_codes: Vec::new(),
        };
        for block in text.trim_matches('\n').split("\n\n") {
            let (first, rest) = block.split_once('\n').unwrap_or((block, ""));
            if let Some(usage) = block.strip_prefix("Usage: ") {
                page.usage = joined(usage);
            } else if first == "Exit codes:" {
                page.exit_codes = exit_codes(rest)?;
            } else if let Some(heading) = first.strip_suffix(':').filter(|_| rest.starts_with("  ")) {
                page.sections.push(Section { heading: heading.to_owned(), entries: entries(rest)? });
            } else if page.usage.is_empty() {
                page.about.push(joined(block));
            } else {
                page.notes.push(joined(block));
            }
        }
        if page.usage.is_empty() { Err(format!("help without a usage line:\n{text}")) } else { Ok(page) }
    }
}

impl Section {
    pub fn is_about_options(&self) -> bool {
        self.entries.iter().any(|entry| entry.word.starts_with('-'))
    }
}

/// Undoes the wrapping.
fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The entries of a section. A description begins behind two blanks, or on the next line; its further lines are indented
/// more than any word.
fn entries(lines: &str) -> Result<Vec<Entry>> {
    const DEEPEST_WORD: usize = 6;
    let mut entries: Vec<Entry> = Vec::new();
    for line in lines.lines() {
        let words = line.trim_start();
        if line.len() - words.len() > DEEPEST_WORD {
            let Some(entry) = entries.last_mut() else { return Err(format!("a description without a word: {line}")) };
            entry.text.push(' ');
            entry.text.push_str(words);
            continue;
        }
        let (word, text) = words.split_once("  ").unwrap_or((words, ""));
        entries.push(Entry { word: word.to_owned(), text: text.to_owned() });
    }
    for entry in &mut entries {
        entry.text = joined(&entry.text);
    }
    Ok(entries)
}

/// The exit codes, which help prints in two columns.
fn exit_codes(lines: &str) -> Result<Vec<Entry>> {
    let halves = |line: &str| {
        let (left, right) = line.split_at_checked(RIGHT_HALF).unwrap_or((line, ""));
        [left.to_owned(), right.to_owned()]
    };
    let rows: Vec<[String; 2]> = lines.lines().map(halves).collect();
    let mut codes = Vec::new();
    for half in 0..2 {
        for cell in rows.iter().map(|row| row[half].trim()).filter(|cell| !cell.is_empty()) {
            let Some((code, meaning)) = cell.split_once("  ") else { return Err(format!("no exit code: {cell}")) };
            codes.push(Entry { word: code.to_owned(), text: meaning.to_owned() });
        }
    }
    Ok(codes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "\
Cut wood
to size.

Usage: pullet cut [OPTION]… WOOD

Options:
  -d, --depth N          how
                         deep
      --kind a|b|c|d|e|f|g|h|i
                         which: a or b
  -l                     long

Exit codes:
  0  done, or up to date            6  rate limited: try again later
                                  130  interrupted

A note.
";

    #[test]
    fn reads_what_help_prints() {
        let entry = |word: &str, text: &str| Entry { word: word.to_owned(), text: text.to_owned() };
        let expected = Page {
            about: vec!["Cut wood to size.".to_owned()],
            usage: "pullet cut [OPTION]… WOOD".to_owned(),
            sections: vec![Section {
                heading: "Options".to_owned(),
                entries: vec![
                    entry("-d, --depth N", "how deep"),
                    entry("--kind a|b|c|d|e|f|g|h|i", "which: a or b"),
                    entry("-l", "long"),
                ],
            }],
            notes: vec!["A note.".to_owned()],
            exit_codes: vec![
                entry("0", "done, or up to date"),
                entry("6", "rate limited: try again later"),
                entry("130", "interrupted"),
            ],
        };
        assert_eq!(Page::parse(HELP), Ok(expected));
        assert!(Page::parse("text\n").is_err());
    }
}
