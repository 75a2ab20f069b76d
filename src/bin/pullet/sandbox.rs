//! The sandbox of each command: entered before it reads what is foreign. What the kernel does not have is told with `-v`
//! and stops nothing.

use pullet::Sandbox;

use crate::report::Reporter;

/// Gives up what `sandbox` does not have.
pub(crate) fn enter(sandbox: &Sandbox, reporter: &Reporter) {
    match sandbox.enter() {
        Ok(()) => reporter.tell_verbosely(&format!("sandbox: {}", described(sandbox))),
        Err(error) => reporter.tell_verbosely(&format!("no sandbox: {error}")),
    }
}

fn described(sandbox: &Sandbox) -> String {
    let folders: Vec<String> = sandbox.folders().map(|folder| folder.display().to_string()).collect();
    match folders.is_empty() {
        true => "nothing can be written".to_owned(),
        false => format!("nothing can be written but in {}", folders.join(", ")),
    }
}
