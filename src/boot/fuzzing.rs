//! Entry points for the fuzz targets: the parser of the kernel command line.

use super::cmdline::Parameters;
use crate::error::Result;

/// What a kernel's command line says of the system to be booted: its image and its init.
pub fn boot_line(bytes: &[u8]) -> Result<(String, Option<String>)> {
    Parameters::parse(bytes).map(|found| (found.image, found.init))
}
