//! `pullet verify`: the store, read back.

use pullet::{Check, Sandbox};

use crate::args::{Common, Verify};
use crate::exit::Failure;
use crate::report::Reporter;
use crate::{report, sandbox, text};

/// Checks the blobs of the named images, or all, and tells of each that is not what it promises as it comes.
pub(crate) fn run(common: &Common, verify: Verify, reporter: &Reporter) -> Result<(), Failure> {
    let store = report::store(common)?;
    let sandbox = Sandbox::new();
    sandbox::enter(&if verify.remove_corrupt { sandbox.store(&store) } else { sandbox }, reporter);
    let (mut good, mut bad, mut told) = (0, 0, Ok(()));
    let mut take = |check: &Check| match &check.fault {
        None => good += 1,
        Some(fault) => {
            bad += 1;
            if told.is_ok() && !common.is_quiet {
                told = text::print(format!("{}: {fault}\n", check.digest));
            }
        }
    };
    store.verify(&verify.names, verify.remove_corrupt, &common.cancel, &mut take)?;
    told?;
    if !common.is_quiet {
        let removed = if verify.remove_corrupt && bad > 0 { ", removed" } else { "" };
        text::print(format!("{good} blobs verified, {bad} corrupt or missing{removed}\n"))?;
    }
    match bad {
        0 => Ok(()),
        _ if verify.remove_corrupt => Ok(()),
        count => Err(Failure::Corrupt(count)),
    }
}
