//! Runs pullet as a user would, with a clean environment, and checks how it ended.
//!
//! [`Home::pullet`] returns a [`Pullet`], which is built up like a [`Command`] and then run to its end or started:
//!
//! ```no_run
//! # let home = kit::home::Home::new();
//! home.pullet(&["pull", "localhost:5000/app"]).env("HTTPS_PROXY", "localhost:3128").run().exits(0).prints("");
//! let running = home.pullet(&["pull", "localhost:5000/app"]).start();
//! running.signal(kit::process::Signal::TERM);
//! running.wait().exits(143);
//! ```

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

pub use rustix::process::Signal;

use crate::home::Home;

/// After this time a run counts as hung and fails its test. No run takes a tenth of it.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The `PATH` of programs that run pullet. pullet itself gets no `PATH`.
const SYSTEM_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// A command that runs pullet in a [`Home`].
///
/// The environment has `HOME` and `PULLET_STORE` only. Standard input is empty. `pull` and `unpack` get `--retries 0`
/// unless the arguments have `--retries` or `never`, because most tests are about the first failure.
#[must_use]
pub struct Pullet<'a> {
    home: &'a Home,
    args: Vec<OsString>,
    wrapper: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    stdin: Vec<u8>,
    stdout: Stdio,
    user: Option<u32>,
}

impl<'a> Pullet<'a> {
    pub(crate) fn new<S: AsRef<OsStr>>(home: &'a Home, args: &[S]) -> Pullet<'a> {
        Pullet {
            home,
            args: args.iter().map(|arg| arg.as_ref().to_owned()).collect(),
            wrapper: Vec::new(),
            variables: Vec::new(),
            stdin: Vec::new(),
            stdout: Stdio::piped(),
            user: None,
        }
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets several variables of the environment.
    pub fn envs(self, variables: &[(&str, &str)]) -> Self {
        variables.iter().fold(self, |pullet, (name, value)| pullet.env(name, value))
    }

    /// Writes these bytes to standard input and closes it.
    pub fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.stdin = bytes.as_ref().to_vec();
        self
    }

    /// Connects standard output to this file. [`Finished::stdout`] is empty then.
    pub fn stdout(mut self, file: impl Into<OwnedFd>) -> Self {
        self.stdout = file.into().into();
        self
    }

    /// Runs as this user, who becomes the owner of the home; `None` changes nothing.
    pub fn user(mut self, user: Option<u32>) -> Self {
        self.user = user;
        self
    }

    /// Runs pullet by another program, which gets the command line behind these words.
    pub fn under<S: AsRef<OsStr>>(mut self, words: &[S]) -> Self {
        self.wrapper.extend(words.iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// Runs pullet by a shell script, which gets the command line as `"$@"`.
    pub fn through_shell(self, script: &str) -> Self {
        self.under(&["sh", "-c", script, "sh"])
    }

    /// As [`Pullet::through_shell`], as root of a mount namespace. The namespace ends with the run, and nothing outside
    /// sees what the script mounts.
    pub fn in_mount_namespace(self, script: &str) -> Self {
        let map_root: &[&str] = if is_root() { &[] } else { &["--map-root-user"] };
        self.under(&["unshare"]).under(map_root).under(&["--mount", "--propagation", "private"]).through_shell(script)
    }

    /// Mounts this folder over `/etc` for the run. See [`Home::etc`].
    pub fn with_etc(self, folder: &str) -> Self {
        self.in_mount_namespace("mount --bind \"$1\" /etc && shift && exec \"$@\"").under(&[folder])
    }

    /// Runs pullet to its end.
    pub fn run(self) -> Finished {
        self.start().wait()
    }

    /// Starts pullet and returns at once.
    pub fn start(self) -> Running {
        let mut words = self.wrapper.clone();
        words.extend(runner().map(OsString::from));
        words.push(self.program().into());
        words.extend(self.args.iter().cloned());
        words.extend(self.no_retries().iter().map(OsString::from));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().current_dir(self.home.path(""));
        if !self.wrapper.is_empty() {
            command.env("PATH", SYSTEM_PATH);
        }
        command.env("HOME", self.home.path("home")).env("PULLET_STORE", self.home.store());
        command.envs(self.variables);
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.stdin(Stdio::piped()).stdout(self.stdout).stderr(Stdio::piped());
        let mut child = command.spawn().expect("pullet runs (and unshare: apt-get install util-linux)");
        // A command that is refused may end before it reads.
        let _ = child.stdin.take().unwrap().write_all(&self.stdin);
        let args = self.args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        Running { args, child }
    }

    /// The program to run. Another user can only run it from a folder that this user can reach, so it is copied there.
    fn program(&self) -> PathBuf {
        let Some(user) = self.user else { return program() };
        let copy = self.home.path("pullet");
        if !copy.exists() {
            // Copied by another process. If this one had the file open for writing, and another test forked at that
            // moment, running the copy would fail with ETXTBSY.
            assert!(Command::new("cp").arg(program()).arg(&copy).status().expect("cp runs").success());
        }
        std::os::unix::fs::chown(self.home.path(""), Some(user), Some(user)).unwrap();
        copy
    }

    fn no_retries(&self) -> &'static [&'static str] {
        let has = |words: &[&str]| self.args.iter().any(|arg| arg.to_str().is_some_and(|arg| words.contains(&arg)));
        if has(&["pull", "unpack"]) && !has(&["help", "--retries", "--", "never", "--pull=never"]) {
            &["--retries", "0"]
        } else {
            &[]
        }
    }
}

/// Returns the path of the program under test: `PULLET_BINARY`, or the pullet that Cargo built for these tests.
pub fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("PULLET_BINARY").or_else(|| std::env::var_os("CARGO_BIN_EXE_pullet")) {
        return named.into();
    }
    // Before version 1.94 Cargo does not set a variable at run time. Test programs are in `deps`, next to the program.
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(|deps| deps.parent()).expect("a test program in a folder of Cargo").join("pullet")
}

/// The words that run a program of another machine (`cargo xtask cross --test`). None for a program of this machine.
fn runner() -> impl Iterator<Item = String> {
    let words = std::env::var("PULLET_RUNNER").unwrap_or_default();
    words.split_whitespace().map(str::to_owned).collect::<Vec<_>>().into_iter()
}

/// Returns true if the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns the user for tests about ordinary users: Debian's `nobody` if the tests run as root, else no other user.
pub fn ordinary_user() -> Option<u32> {
    is_root().then_some(65534)
}

/// A run of pullet that has not been waited for.
#[must_use]
pub struct Running {
    args: Vec<String>,
    child: Child,
}

impl Running {
    /// Returns the process ID.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end of the run. Kills it and fails the test if that takes too long.
    pub fn wait(self) -> Finished {
        let Running { args, child } = self;
        let pid = rustix::process::Pid::from_child(&child);
        let (done, wait) = mpsc::channel();
        std::thread::spawn(move || done.send(child.wait_with_output()));
        let output = wait.recv_timeout(TIMEOUT).unwrap_or_else(|_| {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            panic!("pullet {args:?} hangs");
        });
        let output = output.unwrap();
        Finished {
            args,
            code: output.status.code().unwrap_or_else(|| -output.status.signal().unwrap_or_default()),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A run of pullet that has ended, with assertions about it. They can be chained, and show the whole run when they fail.
#[derive(Debug)]
pub struct Finished {
    args: Vec<String>,
    /// The exit code, or the negated number of the signal that ended the run.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Asserts the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Finished {
        assert!(self.code == code, "expected exit {code}, got {}\n{self}", self.code);
        self
    }

    /// As [`Finished::exits`], for one case of a table.
    #[track_caller]
    pub fn exits_in(self, case: &str, code: i32) -> Finished {
        assert!(self.code == code, "{case}: expected exit {code}, got {}\n{self}", self.code);
        self
    }

    /// Asserts that the exit code is one of these, for one case of a table.
    #[track_caller]
    pub fn exits_among(self, case: &str, codes: &[i32]) -> Finished {
        assert!(codes.contains(&self.code), "{case}: expected exit {codes:?}, got {}\n{self}", self.code);
        self
    }

    /// Asserts that standard error contains this text.
    #[track_caller]
    pub fn says(self, text: &str) -> Finished {
        assert!(self.stderr.contains(text), "expected {text:?} on standard error\n{self}");
        self
    }

    /// Asserts that neither standard output nor standard error contains this text.
    #[track_caller]
    pub fn hides(self, text: &str) -> Finished {
        let is_shown = self.stderr.contains(text) || self.stdout.contains(text);
        assert!(!is_shown, "unexpected {text:?} in the output\n{self}");
        self
    }

    /// Asserts that standard output is exactly this text.
    #[track_caller]
    pub fn prints(self, text: &str) -> Finished {
        assert!(self.stdout == text, "expected on standard output:\n{text}\n{self}");
        self
    }

    /// Asserts that standard error ends with one line `pullet: …`, and at most one more line, which is a hint.
    #[track_caller]
    pub fn fails_in_one_line(self) -> Finished {
        let errors = self.stderr.lines().filter(|line| line.starts_with("pullet: ")).count();
        assert!(errors == 1, "expected one line that starts with \"pullet: \"\n{self}");
        let last = self.stderr.lines().last().unwrap();
        let is_last = last.starts_with("pullet: ") || last.starts_with("hint: ");
        assert!(is_last, "expected the error last\n{self}");
        self
    }
}

/// Shows the command line, all output and the exit code, between rulers.
impl fmt::Display for Finished {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "$ pullet {}", self.args.join(" "))?;
        writeln!(out, "----- stdout -----\n{}----- stderr -----", self.stdout)?;
        write!(out, "{}----- exit {} -----", self.stderr, self.code)
    }
}
