//! `--format json` of the commands that print lists or facts and have no templates.

use serde_json::Value as Json;

use super::options::{Group, Opt};
use crate::exit::Failure;
use crate::{json, text};

/// The form of the output.
#[derive(Default)]
pub(crate) struct Format {
    pub(crate) is_json: bool,
}

pub(crate) static FORMAT: Group<Format> = Group {
    heading: "Output",
    options: &[Opt::value("--format json", "print JSON, one object a line", |format, value| {
        format.is_json = value.choice(&[("json", true)])?;
        Ok(())
    })],
};

/// Prints an object for programs, or a line for people.
pub(crate) fn print(is_json: bool, object: Json, line: String) -> Result<(), Failure> {
    let line = if is_json { json::compact(&object) } else { line };
    text::print(format!("{line}\n"))
}

/// Objects as lines of JSON.
pub(crate) fn lines(objects: impl Iterator<Item = Json>) -> String {
    objects.map(|object| format!("{}\n", json::compact(&object))).collect()
}
