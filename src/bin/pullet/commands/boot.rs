//! `pullet boot`: a new root for a machine that boots, and the line that goes on with it.

use std::num::NonZeroUsize;

use pullet::{BootParameters, UnpackOptions};

use crate::args::Boot;
use crate::commands::pull;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::words::name;
use crate::{sandbox, text};

/// Does what the kernel's command line says.
pub(crate) fn run(boot: Boot, reporter: &Reporter) -> Result<(), Failure> {
    let Boot { mut registry, cmdline, target } = boot;
    let shown = plain(&std::path::absolute(&target).unwrap_or(target.clone()).to_string_lossy(), "DIR")?;
    let parameters = BootParameters::read(cmdline.as_deref())?;
    let name = name(&parameters.image().into(), str::parse)?;
    registry.ca_file = parameters.ca_file().map(Into::into).or(registry.ca_file);
    let client = pull::client(&registry)?;
    client.find_credentials(&name, reporter);
    let mut options = UnpackOptions::new().limits(registry.limits.clone());
    options = options.cancel(registry.cancel.clone()).jobs(registry.jobs.unwrap_or(NonZeroUsize::MIN));
    let confine = |allowed: &_| sandbox::enter(allowed, reporter);
    let booted = client.boot((&name, &parameters), (&target, &options), &confine, reporter)?;
    if let Some(tally) = &booted.tally {
        let (entries, bytes) = (tally.entries, text::bytes(tally.bytes));
        reporter.tell(&format!("Unpacked {name}: {entries} entries, {bytes}"));
    }
    text::print(format!("switch_root {shown} {}\n", booted.init))
}

/// A word that a shell takes as one, and as it is: `exec $(pullet boot DIR)` must mean what was printed.
fn plain(word: &str, what: &str) -> Result<String, Failure> {
    let is_plain = |b: u8| b.is_ascii_graphic() && !b"*?[\\".contains(&b);
    match word.bytes().all(is_plain) {
        true => Ok(word.to_owned()),
        false => Err(Failure::Usage(
            format!("{what} {word:?} has characters that a shell would not leave as they are"),
            "see pullet boot --help".to_owned(),
        )),
    }
}
