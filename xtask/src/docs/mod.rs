//! `cargo xtask docs`: makes the man pages in share/man and the table of options in docs/options.md from the help that
//! pullet prints, which comes from its tables of commands and options. So the program needs no second form of them.

mod help;
mod options;
mod roff;

use std::path::PathBuf;

use self::help::{Entry, Page};
use crate::{Result, cargo, disk, shell};

/// The folder of the man pages.
const MAN: &str = "share/man/man1";

/// A file that is made from the help.
struct Made {
    path: PathBuf,
    text: String,
}

pub fn run(arguments: &[&str]) -> Result {
    match arguments {
        [] => write(),
        ["--check"] => check(),
        _ => Err("usage: cargo xtask docs [--check]".to_owned()),
    }
}

fn write() -> Result {
    let made = make()?;
    disk::fresh(&cargo::root().join(MAN))?;
    for Made { path, text } in &made {
        disk::write(path, text)?;
    }
    println!("docs: {} files written", made.len());
    Ok(())
}

/// Fails if a file differs from what the help says.
pub fn check() -> Result {
    let made = make()?;
    let mut wrong: Vec<String> = Vec::new();
    for Made { path, text } in &made {
        if disk::read(path).ok().as_deref() != Some(text) {
            wrong.push(cargo::shown(path));
        }
    }
    for path in disk::list(&cargo::root().join(MAN))? {
        if !made.iter().any(|made| made.path == path) {
            wrong.push(cargo::shown(&path));
        }
    }
    if wrong.is_empty() {
        println!("docs: {} files as the help says", made.len());
        return Ok(());
    }
    Err(format!("not as the help says: {}\nhint: cargo xtask docs writes them", wrong.join(", ")))
}

fn make() -> Result<Vec<Made>> {
    let program = Program::build()?;
    let overview = Page::parse(&program.print(&["--help"])?)?;
    let mut commands = Vec::new();
    for section in &overview.sections {
        if section.is_about_options() {
            continue;
        }
        for Entry { word, text } in &section.entries {
            let page = Page::parse(&program.print(&[word, "--help"])?)?;
            commands.push(Command { name: word.clone(), summary: text.clone(), page });
        }
    }
    let origin = roff::Origin {
        version: program.print(&["version", "--format", "{{.Version}}"])?.trim().to_owned(),
        date: program.print(&["version", "--format", "{{.Date}}"])?.chars().take(10).collect(),
    };
    let man = |name: &str| cargo::root().join(MAN).join(format!("{name}.1"));
    let mut made = vec![Made { path: man("pullet"), text: roff::of_program(&overview, &origin)? }];
    for command in &commands {
        let text = roff::of_command(command, &origin)?;
        made.push(Made { path: man(&format!("pullet-{}", command.name)), text });
    }
    let path = cargo::root().join("docs/options.md");
    let text = options::replaced(&disk::read(&path)?, &overview, &commands)?;
    made.push(Made { path, text });
    Ok(made)
}

/// A command with its help.
struct Command {
    name: String,
    summary: String,
    page: Page,
}

/// pullet with the default features.
struct Program {
    path: PathBuf,
}

impl Program {
    /// Builds it as the tests do, so that a run of all checks builds it once.
    fn build() -> Result<Self> {
        // The date in the pages is the release's, not that of a distribution's build.
        let mut command = cargo::command(&["build", "--quiet", "--package=pullet", "--bin=pullet", "--all-features"]);
        command.arg("--message-format=json-render-diagnostics").env_remove("SOURCE_DATE_EPOCH");
        Ok(Self { path: cargo::executable(&shell::read(&mut command)?, "pullet")? })
    }

    fn print(&self, arguments: &[&str]) -> Result<String> {
        shell::read(shell::program(&self.path.display().to_string()).args(arguments))
    }
}
