//! Runs the binary as a user would, in a home of its own with a clean environment, and holds what came out against what should.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

/// No run of these tests takes a tenth of this; beyond it the binary hangs, and the test says so instead of hanging too.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the system's programs are; the tests' own environment is not given on.
const SYSTEM_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// A folder that goes with the test.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("pullet-it-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        // The real path: links on the way to the system's folder for temporary files are not what is tested.
        let path = std::env::temp_dir().canonicalize().unwrap().join(name);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        TempDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if fs::remove_dir_all(&self.0).is_err() {
            unlock(&self.0);
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

/// Gives an ordinary user back the folders that an image locked.
fn unlock(folder: &Path) {
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        unlock(&entry.path());
    }
}

/// A home, a store and a place for targets, all in one temporary folder.
pub struct Home {
    dir: TempDir,
}

impl Home {
    pub fn new() -> Home {
        let dir = TempDir::new();
        fs::create_dir(dir.path().join("home")).unwrap();
        Home { dir }
    }

    /// A path in the temporary folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as text, for an argument.
    pub fn arg(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_string()
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        fs::write(self.path(name), text).unwrap();
        self.arg(name)
    }

    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Runs pullet with these arguments, `PULLET_STORE` set, and nothing on its standard input.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Outcome {
        self.run_with(args, b"", None)
    }

    /// As [`Home::run`], with something on standard input and, if one is given, as another user.
    pub fn run_with<S: AsRef<OsStr>>(&self, args: &[S], stdin: &[u8], user: Option<u32>) -> Outcome {
        let mut command = self.pullet(user);
        command.args(args).args(no_retries(args));
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        self.finish(command, args, stdin, &[])
    }

    /// As [`Home::run`], with more variables in the environment.
    pub fn run_env<S: AsRef<OsStr>>(&self, args: &[S], variables: &[(&str, &str)]) -> Outcome {
        let mut command = self.pullet(None);
        command.args(args);
        self.finish(command, args, b"", variables)
    }

    /// As [`Home::run_env`], with something on standard input too.
    pub fn run_in<S: AsRef<OsStr>>(&self, variables: &[(&str, &str)], args: &[S], stdin: &[u8]) -> Outcome {
        let mut command = self.pullet(None);
        command.args(args).args(no_retries(args));
        self.finish(command, args, stdin, variables)
    }

    /// As [`Home::run`], started by another program that is given the command line behind its own words.
    pub fn run_under<S: AsRef<OsStr>>(&self, words: &[&str], args: &[S]) -> Outcome {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(self.binary(None)).args(args).args(no_retries(args));
        self.finish(command, args, b"", &[("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")])
    }

    /// A folder for [`Home::run_with_etc`] with these files, in which `registry.example` is loopback.
    pub fn etc(&self, files: &[(&str, &str)]) -> String {
        let etc = self.path("etc");
        let _ = fs::remove_dir_all(&etc);
        let hosts = [("hosts", "127.0.0.1 localhost registry.example\n"), ("nsswitch.conf", "hosts: files\n")];
        for (name, text) in hosts.iter().chain(files) {
            fs::create_dir_all(etc.join(name).parent().unwrap()).unwrap();
            fs::write(etc.join(name), text).unwrap();
        }
        self.arg("etc")
    }

    /// As [`Home::run_env`], with this folder in the place of `/etc`, in a mount namespace that ends with the run.
    pub fn run_with_etc<S: AsRef<OsStr>>(&self, etc: &str, args: &[S], variables: &[(&str, &str)]) -> Outcome {
        self.spawn_with_etc(etc, args, variables).wait()
    }

    /// As [`Home::run_with_etc`], without waiting for the end.
    pub fn start_with_etc<S: AsRef<OsStr>>(&self, etc: &str, args: &[S]) -> Running {
        self.spawn_with_etc(etc, args, &[])
    }

    fn spawn_with_etc<S: AsRef<OsStr>>(&self, etc: &str, args: &[S], variables: &[(&str, &str)]) -> Running {
        // What is above /etc stays as it is, so nobody else sees the mount.
        let mut command = namespace();
        command.args(["sh", "-c", "mount --bind \"$1\" /etc && shift && exec \"$@\"", "sh", etc]);
        command.args(runner()).arg(self.binary(None)).args(args);
        self.spawn(command, args, b"", &[&[("PATH", SYSTEM_PATH)], variables].concat())
    }

    /// Starts pullet, to do something to it while it runs.
    pub fn start<S: AsRef<OsStr>>(&self, args: &[S]) -> Running {
        let mut command = self.pullet(None);
        command.args(args).args(no_retries(args));
        self.spawn(command, args, b"", &[])
    }

    /// As [`Home::start`], with more variables in the environment.
    pub fn start_env<S: AsRef<OsStr>>(&self, args: &[S], variables: &[(&str, &str)]) -> Running {
        let mut command = self.pullet(None);
        command.args(args);
        self.spawn(command, args, b"", variables)
    }

    /// As [`Home::start`], with its standard output elsewhere.
    pub fn start_into<S: AsRef<OsStr>>(&self, args: &[S], output: OwnedFd) -> Running {
        let mut command = self.pullet(None);
        command.args(args);
        self.spawn_into(command, args, b"", &[], output.into())
    }

    /// Runs pullet through a shell that is given it as `"$@"`, so that it can be run under limits, under strace, or in a
    /// namespace of its own.
    pub fn run_through<S: AsRef<OsStr>>(&self, shell: &str, args: &[S]) -> Outcome {
        self.start_through(shell, args).wait()
    }

    /// As [`Home::run_through`], without waiting for the end.
    pub fn start_through<S: AsRef<OsStr>>(&self, shell: &str, args: &[S]) -> Running {
        let mut command = Command::new("sh");
        command.args(["-c", shell, "sh"]).args(runner()).arg(self.binary(None)).args(args).args(no_retries(args));
        self.spawn(command, args, b"", &[("PATH", SYSTEM_PATH)])
    }

    /// As [`Home::run_through`], as root of a mount namespace that ends with the run; what it mounts nobody else sees.
    pub fn run_in_mounts<S: AsRef<OsStr>>(&self, shell: &str, args: &[S]) -> Outcome {
        let mut command = namespace();
        command.args(["sh", "-c", shell, "sh"]);
        command.args(runner()).arg(self.binary(None)).args(args).args(no_retries(args));
        self.finish(command, args, b"", &[("PATH", SYSTEM_PATH)])
    }

    fn finish<S: AsRef<OsStr>>(
        &self,
        command: Command,
        args: &[S],
        stdin: &[u8],
        variables: &[(&str, &str)],
    ) -> Outcome {
        self.spawn(command, args, stdin, variables).wait()
    }

    fn spawn<S: AsRef<OsStr>>(
        &self,
        command: Command,
        args: &[S],
        stdin: &[u8],
        variables: &[(&str, &str)],
    ) -> Running {
        self.spawn_into(command, args, stdin, variables, Stdio::piped())
    }

    fn spawn_into<S: AsRef<OsStr>>(
        &self,
        mut command: Command,
        args: &[S],
        stdin: &[u8],
        variables: &[(&str, &str)],
        output: Stdio,
    ) -> Running {
        command.env_clear().current_dir(self.dir.path());
        command.env("HOME", self.path("home")).env("PULLET_STORE", self.store());
        command.envs(variables.iter().copied());
        command.stdin(Stdio::piped()).stdout(output).stderr(Stdio::piped());
        let mut child = command.spawn().expect("pullet runs (and unshare: apt-get install util-linux)");
        // A refused command may end before it reads.
        let _ = child.stdin.take().unwrap().write_all(stdin);
        Running { args: strings(args), child }
    }

    /// The manifests in the store's index.json; none while there is no store.
    pub fn index(&self) -> Vec<Value> {
        let Ok(bytes) = fs::read(self.store().join("index.json")) else { return Vec::new() };
        let index: Value = serde_json::from_slice(&bytes).expect("index.json is JSON");
        index["manifests"].as_array().expect("index.json has manifests").clone()
    }

    /// The names that the store's index gives its images.
    pub fn names(&self) -> Vec<String> {
        let name =
            |entry: &Value| entry["annotations"]["org.opencontainers.image.ref.name"].as_str().map(str::to_string);
        self.index().iter().filter_map(name).collect()
    }

    /// Where the store keeps a blob.
    pub fn blob(&self, digest: &str) -> PathBuf {
        self.store().join("blobs").join(digest.replacen(':', "/", 1))
    }

    /// The program that is tested, without arguments.
    fn pullet(&self, user: Option<u32>) -> Command {
        let runner = runner();
        let mut words = runner.iter().map(PathBuf::from).chain([self.binary(user)]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        command
    }

    /// Another user can run the binary only from a place that it can reach: a copy in a home that is open to it.
    fn binary(&self, user: Option<u32>) -> PathBuf {
        let built = program();
        let Some(user) = user else { return built };
        let copy = self.path("pullet");
        if !copy.exists() {
            // By another process: a file that this one had open for writing, and a test that forks at that moment, would
            // make the copy "busy" and not to be run.
            assert!(Command::new("cp").arg(&built).arg(&copy).status().expect("cp runs").success());
        }
        std::os::unix::fs::chown(self.dir.path(), Some(user), Some(user)).unwrap();
        copy
    }
}

/// A run that has not ended.
pub struct Running {
    args: Vec<String>,
    child: Child,
}

impl Running {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn wait(self) -> Outcome {
        let Running { args, child } = self;
        let pid = rustix::process::Pid::from_child(&child);
        let (done, wait) = mpsc::channel();
        std::thread::spawn(move || done.send(child.wait_with_output()));
        let output = wait.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            panic!("pullet {args:?} hangs");
        });
        let output = output.unwrap();
        Outcome {
            args,
            code: output.status.code().unwrap_or_else(|| -output.status.signal().unwrap_or_default()),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// A mount namespace for a program, in which it may mount.
fn namespace() -> Command {
    let mut command = Command::new("unshare");
    if !root() {
        command.arg("--map-root-user");
    }
    command.args(["--mount", "--propagation", "private"]);
    command
}

/// What runs a binary of another machine (`cargo xtask cross --test`); nothing for one of this machine.
fn runner() -> Vec<String> {
    let words = std::env::var("PULLET_RUNNER").unwrap_or_default();
    words.split_whitespace().map(str::to_owned).collect()
}

/// Most tests ask what one failure leads to: only those that name `--retries` have any.
fn no_retries<S: AsRef<OsStr>>(args: &[S]) -> &'static [&'static str] {
    let takes_it = args.iter().any(|arg| matches!(arg.as_ref().to_str(), Some("pull" | "unpack")));
    let is_told = args.iter().any(|arg| matches!(arg.as_ref().to_str(), Some("--retries" | "--")));
    if takes_it && !is_told { &["--retries", "0"] } else { &[] }
}

/// Returns the program under test: `PULLET_BINARY`, or the pullet that Cargo built for these tests.
pub fn program() -> PathBuf {
    // Newer versions of Cargo name it to the tests. For older ones: test programs lie in `deps`, one folder below it.
    let named = std::env::var_os("PULLET_BINARY").or_else(|| std::env::var_os("CARGO_BIN_EXE_pullet"));
    named.map_or_else(
        || std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("pullet"),
        PathBuf::from,
    )
}

/// Whether the tests run as root, who may do more than others when it unpacks.
pub fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// As whom a test about ordinary users runs pullet: Debian's `nobody` when the tests are root's, else who they are.
pub fn ordinary_user() -> Option<u32> {
    root().then_some(65534)
}

/// What a run left behind.
#[derive(Debug)]
pub struct Outcome {
    args: Vec<String>,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// The exit code, or the whole story.
    #[track_caller]
    pub fn exits(self, code: i32) -> Outcome {
        assert!(self.code == code, "expected exit {code}, got {}\n{}", self.code, self.story());
        self
    }

    /// As [`Outcome::exits`] with the case of a table named.
    #[track_caller]
    pub fn exits_in(self, case: &str, code: i32) -> Outcome {
        assert!(self.code == code, "{case}: expected exit {code}, got {}\n{}", self.code, self.story());
        self
    }

    /// One of several exit codes, where the contract leaves the choice.
    #[track_caller]
    pub fn exits_among(self, case: &str, codes: &[i32]) -> Outcome {
        assert!(codes.contains(&self.code), "{case}: expected exit {codes:?}, got {}\n{}", self.code, self.story());
        self
    }

    /// Standard error has this text.
    #[track_caller]
    pub fn says(self, text: &str) -> Outcome {
        assert!(self.stderr.contains(text), "expected {text:?} on standard error\n{}", self.story());
        self
    }

    /// Neither stream has this text.
    #[track_caller]
    pub fn hides(self, text: &str) -> Outcome {
        assert!(!self.stderr.contains(text) && !self.stdout.contains(text), "{text:?} shows\n{}", self.story());
        self
    }

    /// Standard output is exactly this.
    #[track_caller]
    pub fn prints(self, text: &str) -> Outcome {
        assert!(self.stdout == text, "expected on standard output:\n{text}\n{}", self.story());
        self
    }

    /// A failure as the command line promises it: `pullet: …`, one line, a second one at most and that a hint.
    #[track_caller]
    pub fn fails_in_one_line(self) -> Outcome {
        let errors = self.stderr.lines().filter(|line| line.starts_with("pullet: ")).count();
        assert!(errors == 1, "expected one line that starts with \"pullet: \"\n{}", self.story());
        let last = self.stderr.lines().last().unwrap();
        assert!(last.starts_with("pullet: ") || last.starts_with("hint: "), "the error is not last\n{}", self.story());
        self
    }

    /// Everything there is to see, between rulers.
    pub fn story(&self) -> String {
        let (args, code) = (self.args.join(" "), self.code);
        format!(
            "$ pullet {args}\n----- stdout -----\n{}----- stderr -----\n{}----- exit {code} -----",
            self.stdout, self.stderr
        )
    }
}

fn strings<S: AsRef<OsStr>>(args: &[S]) -> Vec<String> {
    args.iter().map(|arg| OsString::from(arg).to_string_lossy().into_owned()).collect()
}
