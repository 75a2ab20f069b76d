//! The sandbox that each command enters before it reads untrusted data. A kernel without support is reported with `-v`
//! and stops nothing.

use pullet::Sandbox;
use rustix::fs::Mode;
use rustix::process::umask;

use crate::report::Reporter;

/// Gives up all rights but those of `sandbox`.
pub(crate) fn enter(sandbox: &Sandbox, reporter: &Reporter) {
    // Root without capabilities cannot use its own files if the umask takes away the owner's rights.
    let mask = umask(Mode::RWXU);
    umask(mask.difference(Mode::RWXU));
    match sandbox.enter() {
        Ok(()) => reporter.note_verbosely(&format!("sandbox: {}", describe(sandbox))),
        Err(error) => reporter.note_verbosely(&format!("no sandbox: {error}")),
    }
}

fn describe(sandbox: &Sandbox) -> String {
    let folders: Vec<String> = sandbox.folders().map(|folder| folder.display().to_string()).collect();
    if folders.is_empty() {
        return "nothing can be written".to_owned();
    }
    format!("nothing can be written except in {}", folders.join(", "))
}
