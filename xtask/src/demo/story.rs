//! The output of the demo: numbered sections, and a tick for each verified claim.

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

    /// Shows text of a program or a file, without control characters.
    pub fn quote(&self, text: &str) {
        for line in text.lines() {
            self.detail(&line.replace(char::is_control, "\u{fffd}"));
        }
    }

    /// Shows a verified claim.
    pub fn tick(&self, claim: &str) {
        println!("  {} {claim}", show::green("✓"));
    }

    /// Shows the claim with a tick, or fails.
    pub fn claim(&self, holds: bool, claim: &str) -> Result {
        if holds {
            self.tick(claim);
            return Ok(());
        }
        println!("  {} {claim}", show::red("✗"));
        Err(format!("false: {claim}"))
    }

    pub fn end(self, next: &[(&str, &str)]) {
        println!("\n{} in {}. Next:", show::bold("Done"), show::seconds(self.start.elapsed()));
        for (command, about) in next {
            println!("  {command}\n    {}", show::dim(about));
        }
    }
}
