//! Files of certificates and keys that are named on the command line.

use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::exit::Failure;

/// The most bytes of a file of certificates or keys. No bundle of certificate authorities is that large.
const PEM_LIMIT: u64 = 8 << 20;

/// Reads a file that was named on the command line.
pub(super) fn read_pem(path: &Path, hint: &str) -> Result<Vec<u8>, Failure> {
    let refuse = |why: &dyn Display| Failure::usage(format!("read {}: {why}", path.display())).hint(hint);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|e| refuse(&e))?;
    let count = file.take(PEM_LIMIT + 1).read_to_end(&mut bytes).map_err(|e| refuse(&e))?;
    if count as u64 > PEM_LIMIT {
        return Err(refuse(&format!("more than {PEM_LIMIT} bytes")));
    }
    Ok(bytes)
}
