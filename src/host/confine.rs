//! Gives up rights of the calling thread, before it reads untrusted input.

use std::fmt::Display;

use super::capabilities::limit;
use super::landlock::restrict;
use super::rights::Rights;
use crate::error::{Error, ErrorKind, Result};

/// Restricts this thread, and the threads and programs that it starts, to `rights`: nothing can be executed, and a
/// set-user-ID program grants no privileges. Open files stay open. After a failure, the other restrictions apply.
pub(crate) fn confine(rights: &Rights) -> Result<()> {
    // Kernels without Landlock support this part.
    rustix::thread::set_no_new_privs(true).map_err(|e| unsupported("restrict privileges", &e))?;
    let limited = limit(rights).map_err(|e| unsupported("give up capabilities", &e));
    restrict(rights).map_err(|e| unsupported("restrict file system access", &e))?;
    limited
}

fn unsupported(action: &str, cause: &dyn Display) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{action}: {cause}"))
}
