//! `--format json` of the commands that print lists or facts and have no templates.

use serde_json::Value as Json;

use super::options::{Group, Opt};
use crate::json;

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

/// Objects as lines of JSON.
pub(crate) fn lines(objects: impl Iterator<Item = Json>) -> String {
    objects.map(|object| format!("{}\n", json::compact(&object))).collect()
}
