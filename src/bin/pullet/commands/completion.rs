//! `pullet completion`: prints the script that completes command lines in a shell. The scripts are short, because they ask
//! pullet for the words: `pullet completion words -- WORD…` prints what can be the last word, one a line, with a
//! description behind a tab, or `/files` for the names of files.

use std::ffi::OsString;

use pullet::{Reference, Sandbox};

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::completion::{Typed, Wanted};
use crate::exit::Failure;
use crate::report::Reporter;
use crate::{sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "completion",
    arguments: "bash|zsh|fish",
    summary: "print the script that completes commands in a shell",
    about: "Print the script that completes commands, options and names of images in the store. For bash, write it to \
            ~/.local/share/bash-completion/completions/pullet; for zsh, to the file _pullet in a folder of $fpath; for fish, to \
            ~/.config/fish/completions/pullet.fish. Packages of pullet install these files.",
    definitions: &[],
    groups: &[],
    notes: &[],
    run,
};

const SCRIPTS: [(&str, &str); 3] = [
    ("bash", include_str!("../../../../share/bash-completion/completions/pullet")),
    ("zsh", include_str!("../../../../share/zsh/site-functions/_pullet")),
    ("fish", include_str!("../../../../share/fish/vendor_completions.d/pullet.fish")),
];

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let operands = line.all_operands();
    if let [first, words @ ..] = operands
        && first == "words"
    {
        return text::print(complete(words, line, common, reporter));
    }
    let [shell] = line.operands()?;
    match SCRIPTS.iter().find(|(name, _)| shell == *name) {
        Some((_, script)) => text::print(script),
        None => Err(line.misused(format!("unknown shell {shell:?}: expected bash, zsh or fish"))),
    }
}

/// The lines for the words before the cursor. Errors are not reported, because they would appear in the command line.
fn complete(words: &[OsString], line: &CommandLine, common: &Common, reporter: &Reporter) -> String {
    let typed = Typed::parse(words, line.table);
    let candidates = match typed.wanted() {
        Wanted::Words(words) => words,
        Wanted::Names => stored(&typed, common, reporter, Reference::familiar),
        Wanted::Repositories => stored(&typed, common, reporter, Reference::familiar_repository),
        Wanted::Files => return "/files\n".to_owned(),
    };
    let mut text = String::new();
    for (word, about) in candidates.iter().filter(|(word, _)| word.starts_with(&typed.current)) {
        text.push_str(word);
        if !about.is_empty() {
            text.push('\t');
            text.push_str(about);
        }
        text.push('\n');
    }
    text
}

/// Names in the store that the command line or the environment names.
fn stored(
    typed: &Typed,
    common: &Common,
    reporter: &Reporter,
    shown: fn(&Reference) -> String,
) -> Vec<(String, &'static str)> {
    let mut stated = Common::new(common.cancel.clone());
    let _ = typed.line.store(&mut stated);
    let Ok(store) = stated.store() else { return Vec::new() };
    sandbox::enter(&Sandbox::new().stored(&store).offline(), reporter);
    let images = store.images().unwrap_or_default();
    let mut names: Vec<_> =
        images.iter().filter_map(|image| image.name().parse().ok()).map(|name| (shown(&name), "")).collect();
    names.sort();
    names.dedup();
    names
}
