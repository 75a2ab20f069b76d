//! Uses strace to list the system calls of a run that change the disk, and to inject a fault into one of them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};

use kit::digest::sha256;

use super::events::{self, Event};
use super::place::Place;
use crate::{Result, disk, shell};

/// The system calls that can change a file, a name or metadata. A question mark: not on every architecture.
const CALLS: &[&str] = &[
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "?pwritev2",
    "copy_file_range",
    "sendfile",
    "splice",
    "fsync",
    "fdatasync",
    "syncfs",
    "?sync_file_range",
    "?rename",
    "?renameat",
    "renameat2",
    "?link",
    "linkat",
    "?unlink",
    "unlinkat",
    "?rmdir",
    "?mkdir",
    "mkdirat",
    "?symlink",
    "symlinkat",
    "?mknod",
    "mknodat",
    "?open",
    "openat",
    "openat2",
    "?creat",
    "ftruncate",
    "truncate",
    "fallocate",
    "?chmod",
    "fchmod",
    "fchmodat",
    "?fchmodat2",
    "?chown",
    "fchown",
    "?lchown",
    "fchownat",
    "utimensat",
    "?utimes",
    "?futimesat",
    "?utime",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
];

/// What happens instead of a system call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    Kill,
    Error(&'static str),
}

pub const FAULTS: [Fault; 4] = [Fault::Kill, Fault::Error("ENOSPC"), Fault::Error("EIO"), Fault::Error("EINTR")];

/// The n-th call of its name in its thread, counted from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub name: String,
    pub nth: usize,
    /// Counts only the calls with this path, for a run with several threads: strace counts the calls of each thread, so
    /// without a path only the busiest thread would ever reach a high number. Relative to the folder of the run.
    pub path: Option<String>,
    /// The line of the trace, for messages.
    pub line: String,
}

/// A call of a scenario, with a fault.
#[derive(Clone, Debug)]
pub struct Point {
    pub scenario: usize,
    pub call: Call,
    pub fault: Fault,
}

/// The result of a run under strace.
pub struct Traced {
    pub status: ExitStatus,
    pub stderr: String,
    /// True if the fault occurred.
    pub has_fired: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill => write!(out, "SIGKILL"),
            Self::Error(name) => write!(out, "{name}"),
        }
    }
}

/// Runs pullet and returns the calls of the trace.
pub fn record(pullet: &Command, log: &Path) -> Result<Vec<Event>> {
    let expression = format!("trace={}", CALLS.join(","));
    shell::run(&mut strace(pullet, log, &["--seccomp-bpf", "-y", "-e", &expression]))?;
    Ok(events::read(&disk::read(log)?))
}

/// Runs pullet in its folder and injects the fault into the call.
pub fn inject(pullet: &Command, below: &Path, call: &Call, fault: Fault, log: &Path) -> Result<Traced> {
    let Call { name, nth, path, .. } = call;
    let effect = match fault {
        Fault::Kill => "signal=KILL".to_owned(),
        Fault::Error(error) => format!("error={error}"),
    };
    let (trace, inject) = (format!("trace={name}"), format!("inject={name}:{effect}:when={nth}"));
    let mut options = vec!["-e", &trace, "-e", &inject];
    let hash = target_hash(&below.display().to_string());
    let path = path.as_ref().map(|path| below.join(path.replace(HASH, &hash)).display().to_string());
    if let Some(path) = &path {
        options.extend(["-P", path]);
    }
    if fault != Fault::Kill {
        // Faster, but strace cannot inject signals with it.
        options.push("--seccomp-bpf");
    }
    let mut command = strace(pullet, log, &options);
    let output = shell::try_output(&mut command)?;
    let has_fired = match fault {
        Fault::Kill => output.status.signal() == Some(9),
        Fault::Error(_) => disk::read(log)?.contains("(INJECTED)"),
    };
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(Traced { status: output.status, stderr, has_fired })
}

fn strace(pullet: &Command, log: &Path, options: &[&str]) -> Command {
    let mut command = shell::program("strace");
    command.args(["-f", "-s", "80", "-o"]).arg(log).args(options).arg("--");
    command.arg(pullet.get_program()).args(pullet.get_args()).env_clear();
    for (key, value) in pullet.get_envs() {
        if let Some(value) = value {
            command.env(key, value);
        }
    }
    command
}

/// Stands for the hash of the target's path in a `Call`, because each run has its target in another folder.
const HASH: &str = "HASH-OF-THE-TARGET";

/// The name of the store's record of the target in this folder.
fn target_hash(below: &str) -> String {
    let target = Place::target_in(Path::new(below)).display().to_string();
    sha256(target.as_bytes()).replace("sha256:", "")
}

/// The calls that change something below the folder, each once. With several threads, they are counted by path.
pub fn calls(events: &[Event], below: &str, has_threads: bool) -> Vec<Call> {
    let mut counts: HashMap<(&str, &str, Option<&str>), usize> = HashMap::new();
    let (mut known, mut calls) = (HashSet::new(), Vec::new());
    let hash = target_hash(below);
    for event in events {
        let below_path = event.first_path(below);
        let path = if has_threads { below_path } else { None };
        let nth = counts.entry((&event.thread, &event.name, path)).or_default();
        *nth += 1;
        let opens = event.name.starts_with("open");
        let changes = !opens || ["O_CREAT", "O_TRUNC", "O_TMPFILE"].iter().any(|flag| event.line.contains(flag));
        if changes && below_path.is_some() && known.insert((&event.name, *nth, path)) {
            let path = path.and_then(|path| path.strip_prefix(below)?.strip_prefix('/'));
            let path = path.map(|path| path.replace(&hash, HASH));
            let (name, line) = (event.name.clone(), event.line.replace(below, "").replace(&hash, HASH));
            calls.push(Call { name, nth: *nth, path, line });
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "7 openat(AT_FDCWD</w>, \"/t/lib\", O_RDONLY) = 3</t/lib>\n\
                       7 write(1<pipe:[9]>, \"x\", 1) = 1\n\
                       7 openat(AT_FDCWD</w>, \"/t/new\", O_WRONLY|O_CREAT, 0666) = 4</t/new>\n\
                       7 write(4</t/new>, \"x\", 1) = 1\n\
                       8 write(5</t/other>, \"x\", 1) = 1\n\
                       7 fsync(5</elsewhere>) = 0\n\
                       7 --- SIGCHLD {} ---\n\
                       7 +++ exited with 0 +++\n";

    fn listed(has_threads: bool) -> Vec<(String, usize, Option<String>)> {
        let calls = calls(&events::read(LOG), "/t", has_threads);
        calls.into_iter().map(|call| (call.name, call.nth, call.path)).collect()
    }

    #[test]
    fn counts_all_calls_and_lists_those_that_change_the_folder() {
        assert_eq!(listed(false), [("openat".into(), 2, None), ("write".into(), 2, None), ("write".into(), 1, None)]);
    }

    #[test]
    fn the_name_of_a_record_does_not_depend_on_the_folder() {
        let log = format!("7 symlink(\"/t/targets/root\", \"/t/store/{}\") = 0\n", target_hash("/t"));
        let calls = calls(&events::read(&log), "/t", true);
        assert_eq!(calls[0].path.as_deref(), Some("store/HASH-OF-THE-TARGET"));
        assert!(calls[0].line.contains("/store/HASH-OF-THE-TARGET"), "{}", calls[0].line);
    }

    #[test]
    fn counts_the_calls_of_several_threads_by_path() {
        let path = |path: &str| Some(path.to_owned());
        let expected =
            [("openat".into(), 1, path("new")), ("write".into(), 1, path("new")), ("write".into(), 1, path("other"))];
        assert_eq!(listed(true), expected);
    }
}
