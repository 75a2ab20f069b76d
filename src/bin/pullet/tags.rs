//! `pullet tags`: the tags of a repository, one a line.

use crate::args::Tags;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::{pull, text};

/// Prints them in the registry's order, when all pages are there.
pub(crate) fn run(tags: &Tags, reporter: &Reporter) -> Result<(), Failure> {
    let tags = pull::client(&tags.registry)?.tags(&tags.repository, reporter)?;
    text::print(tags.iter().map(|tag| format!("{tag}\n")).collect::<String>())
}
