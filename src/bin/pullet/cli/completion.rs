//! Which words can follow on a command line, found in the tables of commands and options.

use std::ffi::{OsStr, OsString};

use super::command::{CommandLine, Selected, Table};
use super::options::Spec;

/// What can follow.
#[derive(Debug, PartialEq)]
pub(crate) enum Wanted {
    /// Words, each with a description.
    Words(Vec<(String, &'static str)>),
    /// Names of images in the store.
    Names,
    /// Names of repositories in the store.
    Repositories,
    Files,
}

/// The words of a command line before the cursor, without the program.
pub(crate) struct Typed {
    /// The complete words.
    pub(crate) line: CommandLine,
    /// The last complete word.
    last: OsString,
    /// The word at the cursor, which may be empty.
    pub(crate) current: String,
}

impl Typed {
    pub(crate) fn parse(words: &[OsString], table: &'static Table) -> Self {
        let (current, complete) =
            words.split_last().map_or((OsStr::new(""), words), |(last, rest)| (last.as_os_str(), rest));
        let (line, _) = CommandLine::parse(complete.iter().cloned(), table);
        let last = complete.last().cloned().unwrap_or_default();
        Self { line, last, current: current.to_string_lossy().into_owned() }
    }

    /// The words that can follow at the cursor, whatever part of one is typed.
    pub(crate) fn wanted(&self) -> Wanted {
        let table = self.line.table;
        if let Some(spec) = self.line.find(&self.last.to_string_lossy()).filter(|spec| spec.has_value()) {
            return by_placeholder(spec.placeholder(), "", table);
        }
        if let Some((option, _)) = self.current.split_once('=')
            && let Some(spec) = self.line.find(option)
        {
            return by_placeholder(spec.placeholder(), &format!("{option}="), table);
        }
        if self.current.starts_with('-') {
            return Wanted::Words(self.line.specs().map(|spec| (spec.long().to_owned(), first_clause(spec))).collect());
        }
        match self.line.selected {
            Selected::Nothing => commands(table),
            Selected::Command(command) => {
                let mut places = command.arguments.split(' ');
                let last = places.clone().next_back().filter(|place| place.ends_with('…'));
                let place = places.nth(self.line.all_operands().len()).or(last);
                by_placeholder(place.unwrap_or_default(), "", table)
            }
            Selected::Family(family) => {
                let words = family.words.iter().filter_map(|(word, name)| Some((*word, table.command(name.as_ref())?)));
                Wanted::Words(words.map(|(word, command)| (word.to_owned(), command.summary)).collect())
            }
            Selected::Unbuilt(_) => Wanted::Words(Vec::new()),
        }
    }
}

/// All commands.
fn commands(table: &Table) -> Wanted {
    Wanted::Words(table.entries().map(|(name, summary)| (name.to_owned(), summary)).collect())
}

/// What can stand for a placeholder of a usage line.
fn by_placeholder(placeholder: &'static str, before: &str, table: &Table) -> Wanted {
    let placeholder = placeholder.trim_start_matches('[');
    let name = placeholder.split(|c: char| !c.is_ascii_uppercase()).next().unwrap_or_default();
    match name {
        "FILE" | "DIR" | "PEM" => Wanted::Files,
        "NAME" | "SOURCE" => Wanted::Names,
        "REPOSITORY" => Wanted::Repositories,
        "COMMAND" => commands(table),
        "" if placeholder.contains('|') => {
            Wanted::Words(placeholder.split('|').map(|choice| (format!("{before}{choice}"), "")).collect())
        }
        _ => Wanted::Words(Vec::new()),
    }
}

/// The beginning of the help of an option.
fn first_clause(spec: &Spec) -> &'static str {
    spec.help.split([';', ':', '(', ',']).next().unwrap_or_default().trim_end()
}
