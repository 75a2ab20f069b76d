//! `pullet tags`: the tags of a repository, one a line.

use pullet::Sandbox;

use crate::args::Tags;
use crate::commands::pull;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::{sandbox, text};

/// Prints them in the registry's order, when all pages are there.
pub(crate) fn run(tags: &Tags, reporter: &Reporter) -> Result<(), Failure> {
    let client = pull::client(&tags.registry)?;
    client.find_credentials(&tags.repository, reporter);
    sandbox::enter(&Sandbox::new(), reporter);
    let tags = client.tags(&tags.repository, reporter)?;
    text::print(tags.iter().map(|tag| format!("{tag}\n")).collect::<String>())
}
