//! Entry points for the fuzz targets: the parser of the kernel command line.

use super::cmdline::Parameters;
use crate::error::Result;

/// Parses a kernel command line. Returns the image and the init program.
pub fn boot_line(bytes: &[u8]) -> Result<(String, Option<String>)> {
    Parameters::parse(bytes).map(|parameters| (parameters.image, parameters.init))
}
