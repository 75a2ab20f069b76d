//! `pullet watch`: polls the digest of a name, and runs a command when it changes.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use pullet::{Cancel, Digest, ErrorKind, Reference, WatchOptions, WatchOutcome};
use rustix::event::{Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::{Common, STORE_OPTION};
use crate::cli::options::{Group, Opt};
use crate::cli::registry::{NAME_NOTE, REGISTRY, RegistryOptions, SETTINGS_NOTE, TRANSFER, TRUST};
use crate::cli::value::name;
use crate::exit::Failure;
use crate::report::Reporter;

pub(super) static COMMAND: Command = Command {
    name: "watch",
    arguments: "NAME",
    summary: "run a command when the digest of a name changes",
    about: "Poll the digest that NAME points to, and run CMD when it is one that neither succeeded nor failed before. A poll is \
            one conditional HEAD request, which Docker Hub does not count as a pull, and no request is repeated without \
            --retries. After an error the next poll follows, and not before the time that the registry asks for. Nothing is \
            fetched or verified here: CMD does that, as with `pullet pull`. pullet watch may be killed at any time.",
    definitions: &[],
    groups: &[&OPTIONS, &REGISTRY, &TRUST, &TRANSFER],
    notes: &[
        "CMD is run by /bin/sh -c, with $PULLET_NAME, the full name; $PULLET_DIGEST, the new digest; $PULLET_IMAGE, the \
         repository with this digest, as other commands take it; and an empty standard input. Exit status 0: the digest is \
         done. 5, 6 or 75: a failure that passes, so CMD is run again after the next poll. 126 or 127: CMD cannot be run, so the \
         watch ends. Ended by a signal, or status 129 to 192: run again after the next poll, ten times at most, also if it is \
         this machine that dies each time. Any other status: the digest has failed, and CMD is not run for it again until the \
         record is removed.",
        "SIGINT and SIGTERM end the watch within a second: CMD gets SIGTERM, and SIGKILL if it goes on. It is run again by the \
         next watch.",
        SETTINGS_NOTE,
        NAME_NOTE,
    ],
    run,
};

/// How long CMD may go on after the watch was cancelled.
const GRACE: Duration = Duration::from_millis(600);
/// How often the end of CMD and the cancel flag are looked for.
const INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

#[derive(Default)]
struct Options {
    command: Option<OsString>,
    interval: Option<Duration>,
    state: Option<PathBuf>,
    is_once: bool,
}

static OPTIONS: Group<Options> = Group {
    heading: "Options",
    options: &[
        Opt::value("--exec CMD", "run this command of the shell (required)", |options, value| {
            options.command = Some(value.text.to_owned());
            Ok(())
        }),
        Opt::value(
            "--interval TIME",
            "the time between two polls, such as 30s, 5m or 1h, of which up to a quarter is added or taken at random (default: \
             5m)",
            |options, value| {
                options.interval = Some(value.duration()?);
                Ok(())
            },
        ),
        Opt::value(
            "--state FILE",
            "keep in FILE which digest is done and which ones failed (default: a file in the store)",
            |options, value| {
                options.state = Some(value.path()?);
                Ok(())
            },
        ),
        Opt::flag("--once", "poll once, then exit with the status of CMD, or with 0 if it need not run", |options| {
            options.is_once = true;
        }),
    ],
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let options: Options = line.options()?;
    let mut registry = RegistryOptions::parse(line, common)?;
    let [word] = line.operands()?;
    let name = name(word)?;
    let Some(command) = options.command else { return Err(line.missing("--exec CMD")) };
    let record = match options.state {
        Some(_) if line.is_given(STORE_OPTION) => {
            return Err(line.misused("--store has no effect: --state names the only file"));
        }
        Some(file) => WatchOptions::new(file),
        None => WatchOptions::in_store(&common.store()?, &name),
    };
    let mut watch = record.once(options.is_once);
    if let Some(interval) = options.interval {
        watch = watch.interval(interval);
    }
    registry.never_retry();
    let client = registry.client()?;
    // No sandbox, because the command would inherit it.
    let mut handler = Handler { command, name, cancel: common.cancel.clone(), failure: None, status: 0 };
    let full_name = handler.name.clone();
    client.watch(&full_name, &watch, reporter, &mut |digest| handler.handle(digest))?;
    match handler.failure {
        Some(failure) => Err(failure),
        None if handler.status != 0 => Err(Failure::of_command(handler.status)),
        None => Ok(()),
    }
}

/// Runs the command.
struct Handler {
    command: OsString,
    name: Reference,
    cancel: Cancel,
    /// Why the watch must end.
    failure: Option<Failure>,
    /// The last exit status.
    status: u8,
}

impl Handler {
    fn handle(&mut self, digest: &Digest) -> WatchOutcome {
        match self.execute(digest) {
            Ok(outcome) => outcome,
            Err(failure) => {
                self.failure = Some(failure);
                WatchOutcome::Stopped
            }
        }
    }

    fn execute(&mut self, digest: &Digest) -> Result<WatchOutcome, Failure> {
        let mut process = Process::new("/bin/sh");
        process.arg("-c").arg(&self.command).stdin(Stdio::null());
        // In a new process group, so that a signal to the group also ends what the shell has started.
        process.process_group(0);
        process.env("PULLET_NAME", self.name.to_string());
        process.env("PULLET_DIGEST", digest.to_string());
        process.env("PULLET_IMAGE", format!("{}@{digest}", self.name.repository()));
        let mut child = process.spawn().map_err(|e| failed("start", &e))?;
        let Some(status) = self.wait(&mut child)? else { return Ok(WatchOutcome::Stopped) };
        self.status = status;
        match status {
            0 => Ok(WatchOutcome::Done),
            5 | 6 | 75 => Ok(WatchOutcome::Later),
            126 | 127 => Err(Failure::usage(format!("the command cannot be run: exit status {status}"))),
            129..=192 => Ok(WatchOutcome::Cut),
            _ => Ok(WatchOutcome::Failed),
        }
    }

    /// Waits for the end of the command. Returns its exit status as a shell has it, or `None` if the watch was cancelled.
    fn wait(&self, child: &mut Child) -> Result<Option<u8>, Failure> {
        let mut ending: Option<Instant> = None;
        loop {
            let status = child.try_wait().map_err(|e| failed("wait for", &e))?;
            match (status, ending) {
                (Some(status), None) => return Ok(Some(of_shell(status))),
                (Some(_), Some(_)) => return Ok(None),
                (None, None) if self.cancel.is_cancelled() => {
                    let _ = kill_process_group(Pid::from_child(child), Signal::TERM);
                    ending = Some(Instant::now() + GRACE);
                }
                (None, Some(end)) if Instant::now() >= end => {
                    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
                    let _ = child.wait();
                    return Ok(None);
                }
                _ => {}
            }
            let _ = poll(&mut [], Some(&INTERVAL));
        }
    }
}

/// The exit status, or 128 and the number of the signal that ended the command.
fn of_shell(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

fn failed(verb: &str, error: &std::io::Error) -> Failure {
    Failure::new(ErrorKind::Disk, format!("{verb} /bin/sh: {error}"))
}
