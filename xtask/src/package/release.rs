//! What all packages of one release have in common: names from Cargo.toml, the date, and the folder for the results.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::{Result, cargo, disk, shell};

pub struct Release {
    /// The repository.
    pub root: PathBuf,
    pub version: String,
    pub homepage: String,
    /// The time of all files, in seconds since 1970.
    pub epoch: u64,
    /// The folder for the packages.
    pub out: PathBuf,
    /// A folder for intermediate files, which is removed at the end.
    pub work: PathBuf,
}

impl Release {
    pub fn new(out: PathBuf, work: PathBuf) -> Result<Self> {
        let root = cargo::root();
        let manifest = disk::read(&root.join("Cargo.toml"))?;
        let manifest: toml::Table = manifest.parse().map_err(|error| format!("Cargo.toml: {error}"))?;
        let field = |name: &str| {
            let value = manifest.get("package").and_then(|package| package.get(name)?.as_str());
            value.map(str::to_owned).ok_or_else(|| format!("Cargo.toml: no package.{name}"))
        };
        Ok(Self { version: field("version")?, homepage: field("repository")?, epoch: epoch()?, root, out, work })
    }

    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.epoch)
    }

    /// A command that takes the release's date for the present, in a fixed language and time zone.
    pub fn command(&self, program: &str) -> Command {
        let mut command = shell::program(program);
        command.env("SOURCE_DATE_EPOCH", self.epoch.to_string()).env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
        command
    }

    /// Replaces `@NAME@` by its value. A name without a value is an error.
    pub fn fill(&self, template: &str, values: &[(&str, &str)]) -> Result<String> {
        let common = [("VERSION", self.version.as_str()), ("HOMEPAGE", self.homepage.as_str())];
        let mut text = template.to_owned();
        for (name, value) in common.iter().chain(values) {
            text = text.replace(&format!("@{name}@"), value);
        }
        match unfilled(&text) {
            Some(name) => Err(format!("no value for {name}")),
            None => Ok(text),
        }
    }
}

/// `SOURCE_DATE_EPOCH`, or the time of the last commit.
fn epoch() -> Result<u64> {
    let seconds = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(value) => value,
        Err(_) => {
            let mut git = shell::program("git");
            shell::read(git.args(["log", "-1", "--format=%ct"]).current_dir(cargo::root()))?
        }
    };
    seconds.trim().parse().map_err(|error| format!("SOURCE_DATE_EPOCH: {seconds:?}: {error}"))
}

/// The first word of capital letters between two `@`.
fn unfilled(text: &str) -> Option<&str> {
    let mut rest = text;
    while let Some(start) = rest.find('@') {
        let after = &rest[start + 1..];
        let length = after.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(after.len());
        if length > 0 && after[length..].starts_with('@') {
            return Some(&rest[start..start + length + 2]);
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_names_without_a_value() {
        assert_eq!(unfilled("a@b.invalid @x@ @A"), None);
        assert_eq!(unfilled("mail@example @SIZE@ @B@"), Some("@SIZE@"));
    }
}
