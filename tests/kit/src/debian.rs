//! Runs Debian's programs, such as skopeo, umoci, docker-registry, debootstrap and tar, which tests compare pullet with.
//!
//! A test that needs a missing program fails and names the command that installs it. No test is skipped.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The programs that tests run, and the packages that have them.
pub const PACKAGES: &[(&str, &str)] = &[
    ("bash", "bash"),
    ("blockdev", "util-linux"),
    ("buildah", "buildah"),
    ("cp", "coreutils"),
    ("crun", "crun"),
    ("debootstrap", "debootstrap"),
    // The file that tests need of bash-completion is no program.
    ("dh_bash-completion", "bash-completion"),
    ("docker-registry", "docker-registry"),
    ("faketime", "faketime"),
    ("fish", "fish"),
    ("gpg", "gpg"),
    ("gzip", "gzip"),
    ("ip", "iproute2"),
    ("ldd", "libc-bin"),
    ("losetup", "mount"),
    ("man", "man-db"),
    ("mandoc", "mandoc"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mknod", "coreutils"),
    ("mount", "mount"),
    ("nginx", "nginx-light"),
    ("openssl", "openssl"),
    ("podman", "podman"),
    ("runc", "runc"),
    ("script", "bsdutils"),
    ("setfattr", "attr"),
    ("setpriv", "util-linux"),
    ("sh", "dash"),
    ("skopeo", "skopeo"),
    ("strace", "strace"),
    ("stty", "coreutils"),
    ("tar", "tar"),
    ("tmux", "tmux"),
    ("umoci", "umoci"),
    ("umount", "mount"),
    ("unshare", "util-linux"),
    ("zsh", "zsh"),
    ("zstd", "zstd"),
];

/// After this time a wait for a server counts as hung. No server takes a tenth of it.
const TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Returns the path of a program. Panics with the command that installs it if it is missing.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .map(|folder| Path::new(folder).join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| missing(name))
}

/// Returns a command for [`run`].
pub fn command(name: &str) -> Command {
    Command::new(program(name))
}

/// What a program left when it ended.
pub struct Output {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    shown: String,
}

/// Runs a command to its end, with an empty standard input.
pub fn run(command: &mut Command) -> Output {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("run {shown}: {e}"));
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Output { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr), shown }
}

impl Output {
    /// Asserts the exit code, and shows all output if it is another one.
    #[track_caller]
    pub fn expect(self, code: i32) -> Output {
        if self.code != Some(code) {
            let Output { shown, stdout, stderr, code: found } = &self;
            panic!("{shown}\nexit {found:?}, expected {code}\n--- stdout\n{stdout}--- stderr\n{stderr}---");
        }
        self
    }
}

/// A folder that is removed when the test process ends, however it ends.
///
/// It is for statics, which are not dropped: a shell waits for the end of its standard input and then removes the folder.
pub struct Scratch {
    /// The path of the folder.
    pub path: PathBuf,
    keeper: Child,
}

impl Scratch {
    /// Creates the folder in the system's temporary folder, which every user can reach.
    pub fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("pullet-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap_or_else(|e| panic!("create {}: {e}", path.display()));
        let keeper = command("sh")
            .args(["-c", "read _; chmod -R u+rwx \"$1\" 2>/dev/null; rm -rf \"$1\"", "keeper"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Scratch { path, keeper }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Debian's docker-registry on a free port of loopback, without TLS and without accounts.
///
/// It stops when the value is dropped or the test process ends.
pub struct Registry {
    /// `127.0.0.1:PORT`.
    pub host: String,
    /// The folder with the log, and with the blobs unless another folder has them.
    pub folder: PathBuf,
    _server: Server,
}

impl Registry {
    /// Starts a registry that keeps its blobs and its log in `folder`.
    pub fn start(folder: &Path) -> Registry {
        Registry::start_with(folder, &folder.join("blobs"), "")
    }

    /// Starts a registry with these blobs, which another registry may use too, and with more in its configuration.
    pub fn start_with(folder: &Path, blobs: &Path, more: &str) -> Registry {
        fs::create_dir_all(folder).unwrap();
        let (server, port) = Server::start("docker-registry", folder, |port, file| {
            fs::write(file, configuration(port, blobs) + more).unwrap();
            vec!["serve".to_owned(), file.to_str().unwrap().to_owned()]
        });
        Registry { host: format!("127.0.0.1:{port}"), folder: folder.to_owned(), _server: server }
    }

    /// Returns pullet's requests to one repository since the log had this length, such as `GET /v2/a/manifests/b`.
    ///
    /// The requests of other programs are left out, because a push to another repository looks here for blobs to mount.
    ///
    /// The registry logs a request after its response. So this sends a request of its own first and waits for it in the log.
    pub fn requests(&self, since: usize, repository: &str) -> Vec<String> {
        let marker = format!("/v2/marker{}/tags/list", self.position());
        self.send_request(&marker);
        let started = Instant::now();
        while !self.read_log().contains(&marker) {
            assert!(started.elapsed() < TIMEOUT, "docker-registry writes no access log");
            thread::sleep(POLL);
        }
        let prefix = format!("/v2/{repository}/");
        let log = self.read_log();
        // Apache's combined format: the request, the referrer and the user agent are in quotes.
        let quoted = log[since..].lines().map(|line| line.split('"').skip(1).step_by(2).collect::<Vec<_>>());
        let ours = quoted.filter(|fields| fields.last().is_some_and(|agent| agent.starts_with("pullet/")));
        let requests = ours.filter_map(|fields| fields[0].rsplit_once(" HTTP/").map(|(line, _)| line.to_owned()));
        requests.filter(|line| line.contains(&prefix)).collect()
    }

    /// Returns the length of the access log.
    pub fn position(&self) -> usize {
        self.read_log().len()
    }

    fn send_request(&self, path: &str) {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.host).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    }

    fn read_log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("log")).unwrap()).into_owned()
    }
}

/// A server of Debian on a free port of loopback.
///
/// It is started by a shell that ends it when its own standard input ends: when the value is dropped, or at the latest when
/// the test process ends.
pub struct Server {
    keeper: Child,
}

impl Server {
    /// Starts a program and waits until it listens. Returns the server and its port.
    ///
    /// `configure` gets a port and the path `folder/config`, and returns the arguments. The output goes to `folder/log`.
    pub fn start(name: &str, folder: &Path, configure: impl Fn(u16, &Path) -> Vec<String>) -> (Server, u16) {
        // Another process may take the free port before the server does; the server then ends, and the next port is tried.
        for _ in 0..5 {
            let port = free_port();
            let words = configure(port, &folder.join("config"));
            if let Some(server) = Server::start_once(name, folder, &words, port) {
                return (server, port);
            }
        }
        panic!("{name} does not start:\n{}", fs::read_to_string(folder.join("log")).unwrap_or_default());
    }

    fn start_once(name: &str, folder: &Path, words: &[String], port: u16) -> Option<Server> {
        let log = folder.join("log");
        let out = File::create(&log).unwrap();
        let keeper = command("sh")
            .args(["-c", "\"$@\" & child=$!; read _; kill $child; wait $child", "keeper"])
            .arg(program(name))
            .args(words)
            .stdin(Stdio::piped())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        let server = Server { keeper };
        let started = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let said = fs::read_to_string(&log).unwrap().to_lowercase();
            if said.contains("address already in use") || started.elapsed() > TIMEOUT {
                return None;
            }
            thread::sleep(POLL);
        }
        Some(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Returns a port of loopback that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn configuration(port: u16, blobs: &Path) -> String {
    let mut text = String::from("version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: false\n");
    writeln!(text, "storage:\n  filesystem:\n    rootdirectory: {}", blobs.display()).unwrap();
    writeln!(text, "http:\n  addr: 127.0.0.1:{port}").unwrap();
    text
}

fn missing(name: &str) -> ! {
    let package = PACKAGES.iter().find(|(program, _)| *program == name).map_or(name, |(_, package)| *package);
    let all: Vec<&str> = PACKAGES.iter().map(|(_, package)| *package).collect();
    panic!(
        "this test needs {name}: apt-get install --no-install-recommends {package}\n(all that the tests need: apt-get install \
         --no-install-recommends {})",
        all.join(" ")
    );
}
