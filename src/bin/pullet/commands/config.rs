//! `pullet config`: what would be used for a name, and what says so.

use pullet::Sandbox;

use crate::args::{Common, Config};
use crate::commands::pull;
use crate::exit::Failure;
use crate::report::{self, Reporter};
use crate::{sandbox, text};

/// Prints the store, and what the library knows of the name.
pub(crate) fn run(common: &Common, config: &Config, reporter: &Reporter) -> Result<(), Failure> {
    let store = report::store(common)?;
    let client = pull::client(&config.registry)?;
    sandbox::enter(&Sandbox::new(), reporter);
    let configuration = client.configuration(&config.name, reporter)?;
    text::print(format!("store: {}\n{configuration}", pullet::Escaped(&store.folder().display().to_string())))
}
