//! Replaces signatures in a build without the feature `trust`. A key is refused, never ignored.

use crate::error::{Error, ErrorKind, Result};

/// What a caller demands of signatures. It can only be nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verification {
    is_demanded: bool,
}

/// What proves an image, which is never there.
#[derive(Debug)]
pub(crate) struct Evidence;

impl Verification {
    pub(crate) fn add_key(&mut self, _: &[u8]) -> Result<()> {
        Err(unsupported())
    }

    pub(crate) fn set_count(&mut self, _: usize) {
        self.is_demanded = true;
    }

    pub(crate) fn add_annotation(&mut self, _: String, _: String) {
        self.is_demanded = true;
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.is_demanded { Err(unsupported()) } else { Ok(()) }
    }
}

pub(super) fn unsupported() -> Error {
    let text = "verify signatures: not compiled in: this build does not have the feature \"trust\"";
    Error::new(ErrorKind::Unsupported, text)
}
