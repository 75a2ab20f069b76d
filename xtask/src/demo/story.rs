//! How the demo tells what it does: numbered sections, a tick for each claim that was proven.

use std::process::Command;
use std::time::Instant;

use crate::{Result, shell, show};

pub struct Story {
    section: usize,
    start: Instant,
}

impl Story {
    pub fn begin(about: &str) -> Self {
        println!("{}  {about}", show::bold("pullet"));
        Self { section: 0, start: Instant::now() }
    }

    pub fn section(&mut self, title: &str) {
        self.section += 1;
        println!("\n{} {}", show::bold(self.section), show::bold(title));
    }

    pub fn say(&self, text: &str) {
        println!("  {text}");
    }

    pub fn detail(&self, text: &str) {
        println!("    {}", show::dim(text));
    }

    pub fn command(&self, command: &Command) {
        println!("  {}", show::bold(format!("$ {}", shell::words(command))));
    }

    /// What a program or a file says, without what would move the terminal.
    pub fn quote(&self, text: &str) {
        let tame = |line: &str| line.replace(char::is_control, "\u{fffd}");
        text.lines().for_each(|line| self.detail(&tame(line)));
    }

    /// Something that was seen to be so.
    pub fn tick(&self, claim: &str) {
        println!("  {} {claim}", show::green("✓"));
    }

    /// A tick, or the end of the story.
    pub fn claim(&self, holds: bool, claim: &str) -> Result {
        if holds {
            self.tick(claim);
            return Ok(());
        }
        println!("  {} {claim}", show::red("✗"));
        Err(format!("not so: {claim}"))
    }

    pub fn end(self, next: &[(&str, &str)]) {
        println!("\n{} in {}. Next:", show::bold("Done"), show::seconds(self.start.elapsed()));
        for (command, about) in next {
            println!("  {command}\n    {}", show::dim(about));
        }
    }
}
