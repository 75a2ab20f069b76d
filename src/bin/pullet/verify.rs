//! `pullet verify`: the store, read back.

use pullet::{Cancel, Check};

use crate::args::{Common, Verify};
use crate::exit::Failure;
use crate::{report, text};

/// Checks the blobs of the named images, or all.
pub(crate) fn run(common: &Common, verify: Verify) -> Result<(), Failure> {
    let store = report::store(common)?;
    let (mut good, mut bad) = (0, Vec::new());
    let mut take = |check: &Check| match &check.fault {
        None => good += 1,
        Some(fault) => bad.push(format!("{}: {fault}\n", check.digest)),
    };
    let cancel = Cancel::default();
    if verify.names.is_empty() {
        store.verify(verify.remove_corrupt, &cancel, &mut take)?;
    }
    for name in &verify.names {
        store.image(name)?.verify(verify.remove_corrupt, &cancel, &mut take)?;
    }
    if !common.is_quiet {
        text::print(bad.concat())?;
        let removed = if verify.remove_corrupt && !bad.is_empty() { ", removed" } else { "" };
        text::print(format!("{good} blobs verified, {} corrupt{removed}\n", bad.len()))?;
    }
    match bad.len() {
        0 => Ok(()),
        _ if verify.remove_corrupt => Ok(()),
        count => Err(Failure::Corrupt(count)),
    }
}
