//! The demonstrated binary, with its own store.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::story::Story;
use crate::{Result, cargo, shell};

pub struct Pullet {
    binary: PathBuf,
    store: PathBuf,
}

/// The output of a run, and its duration.
pub struct Run {
    pub output: String,
    pub time: Duration,
}

impl Pullet {
    pub fn new(binary: PathBuf, store: PathBuf) -> Self {
        Self { binary, store }
    }

    pub fn binary(&self) -> &Path {
        &self.binary
    }

    pub fn store(&self) -> &Path {
        &self.store
    }

    /// Runs pullet and shows its output.
    pub fn run(&self, story: &Story, words: &[&str]) -> Result<Run> {
        let mut command = self.command(words);
        story.command(&command);
        let start = Instant::now();
        let output = shell::try_output(&mut command)?;
        let time = start.elapsed();
        // Progress goes to standard error and comes first; then follows the result.
        let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        story.quote(&text);
        if !output.status.success() {
            return Err(format!("{}: {}", shell::words(&command), output.status));
        }
        Ok(Run { output: text.into_owned(), time })
    }

    /// Runs pullet with its output on this terminal, so that its progress is visible.
    pub fn watch(&self, story: &Story, words: &[&str]) -> Result<Duration> {
        let mut command = self.command(words);
        story.command(&command);
        let start = Instant::now();
        shell::watch(&mut command)?;
        Ok(start.elapsed())
    }

    /// The command as typed in the folder of the workspace.
    pub fn typed(&self, words: &[&str]) -> String {
        shell::words(&self.command(words))
    }

    fn command(&self, words: &[&str]) -> Command {
        let (first, rest) = words.split_first().map_or((&"", words), |split| split);
        let mut command = Command::new(cargo::shown(&self.binary));
        command.current_dir(cargo::root());
        command.args([first, "--store", &cargo::shown(&self.store)]).args(rest);
        command
    }
}
