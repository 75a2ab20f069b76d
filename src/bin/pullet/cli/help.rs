//! Help texts, made from the tables of commands and options.

use std::ffi::OsStr;

use super::command::{Command, CommandLine, Family, Selected, Table};
use super::common::COMMON;
use super::options::{Spec, specs};

/// Columns of a line.
const WIDTH: usize = 80;
/// The column where the descriptions of options begin.
const OPTION_COLUMN: usize = 25;
/// The column where the descriptions of commands begin.
const COMMAND_COLUMN: usize = 14;

/// The last part of the program's help.
const END: &str = "
`pullet COMMAND --help` shows the options of a command.

Exit codes:
  0  done, or up to date            6  rate limited: try again later
  1  internal error                 7  TLS: certificate, name, time
  2  bad option or name             8  digest, size or diff_id mismatch
  3  not found                      9  disk: space, permission, in the way
  4  not authorised                10  media type or platform not supported
  5  network: try again            11  unsafe content, or a limit exceeded
                                  130  interrupted (143: by SIGTERM)
";

/// The help of what was selected.
pub(crate) fn of(line: &CommandLine) -> String {
    let table = line.table;
    match line.selected {
        Selected::Command(command) => of_command(command, table),
        Selected::Family(family) => of_family(family, table),
        Selected::Nothing | Selected::Unbuilt(_) => of_program(table),
    }
}

/// The help of the program. It does not list commands that are not compiled in.
fn of_program(table: &Table) -> String {
    let mut text =
        "pullet: a docker pull for small machines\n\nUsage: pullet COMMAND [OPTION]… [ARGUMENT]…\n".to_owned();
    for section in table.sections {
        if section.commands.is_empty() {
            continue;
        }
        push_heading(&mut text, section.heading);
        for command in section.commands {
            push_entry(&mut text, command.name, command.summary, COMMAND_COLUMN);
        }
    }
    if !table.families.is_empty() {
        push_heading(&mut text, "Groups");
    }
    for family in table.families {
        push_entry(&mut text, family.name, family.summary, COMMAND_COLUMN);
    }
    push_heading(&mut text, COMMON.heading);
    push_options(&mut text, specs(&COMMON));
    text.push_str(END);
    text
}

/// The help of a word before commands. It does not list commands that are not compiled in.
fn of_family(family: &Family, table: &Table) -> String {
    let name = family.name;
    let mut text = format!(
        "Each word is another name of a command, which has its own help.\n\n\
         Usage: pullet {name} COMMAND [OPTION]… [ARGUMENT]…\n"
    );
    push_heading(&mut text, "Commands");
    for (word, name) in family.words {
        if let Some(command) = table.command(OsStr::new(name)) {
            push_entry(&mut text, word, &format!("`pullet {name}`: {}", command.summary), COMMAND_COLUMN);
        }
    }
    text
}

/// The help of one command.
fn of_command(command: &Command, table: &Table) -> String {
    let mut text = String::new();
    push_paragraph(&mut text, command.about);
    text.push_str(&format!("\nUsage: pullet {} [OPTION]… {}", command.name, command.arguments));
    text.truncate(text.trim_end().len());
    text.push('\n');
    for definitions in command.definitions {
        push_heading(&mut text, definitions.heading);
        for (word, meaning) in definitions.words {
            push_entry(&mut text, word, meaning, OPTION_COLUMN);
        }
    }
    let mut heading = "";
    for group in command.groups {
        // Groups that follow each other under the same heading are shown as one.
        if group.heading() != heading {
            heading = group.heading();
            push_heading(&mut text, heading);
        }
        push_options(&mut text, specs(*group));
    }
    push_heading(&mut text, COMMON.heading);
    push_options(&mut text, specs(&COMMON).filter(|spec| table.accepts(command.name, spec)));
    for note in command.notes {
        text.push('\n');
        push_paragraph(&mut text, note);
    }
    text
}

fn push_heading(text: &mut String, heading: &str) {
    text.push_str(&format!("\n{heading}:\n"));
}

fn push_options(text: &mut String, options: impl Iterator<Item = &'static Spec>) {
    for Spec { usage, help } in options {
        // Long names are aligned, with or without a short one before them.
        let indent = if usage.starts_with("--") { "    " } else { "" };
        push_entry(text, &format!("{indent}{usage}"), help, OPTION_COLUMN);
    }
}

/// A word with its description, which begins on the next line if the word is long.
fn push_entry(text: &mut String, word: &str, description: &str, column: usize) {
    let mut at = 2 + word.chars().count();
    text.push_str("  ");
    text.push_str(word);
    // Two blanks at least between a word and its description.
    if at + 2 > column {
        text.push('\n');
        at = 0;
    }
    text.extend(std::iter::repeat_n(' ', column - at));
    push_wrapped(text, description, column);
}

fn push_paragraph(text: &mut String, paragraph: &str) {
    push_wrapped(text, paragraph, 0);
}

/// Words, from `column` of the current line up to [`WIDTH`]; further lines begin at the same column.
fn push_wrapped(text: &mut String, words: &str, column: usize) {
    let mut at = column;
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if at > column && at + 1 + length > WIDTH {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', column));
            at = column;
        }
        if at > column {
            text.push(' ');
            at += 1;
        }
        text.push_str(word);
        at += length;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_descriptions_in_their_column() {
        let mut text = String::new();
        push_entry(&mut text, "short", "one two", 10);
        push_entry(&mut text, "longer-word", "one", 10);
        push_entry(&mut text, "w", &"word ".repeat(16), 10);
        let words = ["word"; 14].join(" ");
        assert_eq!(
            text,
            format!("  short   one two\n  longer-word\n          one\n  w       {words}\n          word word\n")
        );
    }
}
