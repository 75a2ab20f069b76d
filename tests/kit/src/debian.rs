//! Debian's own programs as the other side of a test: skopeo, umoci, docker-registry, debootstrap, tar.
//!
//! A test that needs one of them fails without it and names the command that installs it; it never passes by not running.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Every program that the tests run, and the package that has it.
const PACKAGES: [(&str, &str); 10] = [
    ("debootstrap", "debootstrap"),
    ("docker-registry", "docker-registry"),
    ("gzip", "gzip"),
    ("nginx", "nginx-light"),
    ("script", "bsdutils"),
    ("sh", "dash"),
    ("skopeo", "skopeo"),
    ("tar", "tar"),
    ("umoci", "umoci"),
    ("zstd", "zstd"),
];

/// How long a registry may take until it listens, and a line until it is in its log: far above what either needs.
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Where the program lies; without it the test fails, and says what to install.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .map(|folder| Path::new(folder).join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| missing(name))
}

/// A command for [`run`].
pub fn command(name: &str) -> Command {
    Command::new(program(name))
}

/// What a finished program left.
pub struct Ran {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    shown: String,
}

/// Runs the command to its end with nothing on stdin.
pub fn run(command: &mut Command) -> Ran {
    let shown = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("run {shown}: {e}"));
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr), shown }
}

impl Ran {
    /// Panics with everything that the program said unless it ended with this code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Ran {
        if self.code != Some(code) {
            let Ran { shown, stdout, stderr, code: found } = &self;
            panic!("{shown}\nexit {found:?}, expected {code}\n--- stdout\n{stdout}--- stderr\n{stderr}---");
        }
        self
    }
}

/// A folder that goes away with the test process, however that ends.
///
/// Statics are not dropped, so the folder is kept by a shell that waits for the end of its stdin and then removes it.
pub struct Scratch {
    pub path: PathBuf,
    keeper: Child,
}

impl Scratch {
    /// Under the system's folder for temporary files, which every user can reach.
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

/// Debian's docker-registry on a loopback port of its own, without TLS and without accounts.
pub struct Registry {
    /// `127.0.0.1:PORT`.
    pub host: String,
    /// Its log, and its blobs unless they are another one's.
    pub folder: PathBuf,
    _server: Server,
}

impl Registry {
    /// Starts one that keeps its blobs and its log in `folder`, and waits until it answers.
    ///
    /// It ends with this value, and with the test process too: the shell that started it ends it when its own stdin does.
    pub fn start(folder: &Path) -> Registry {
        Registry::start_with(folder, &folder.join("blobs"), "")
    }

    /// As [`Registry::start`], with blobs that may be another one's, and with more in its configuration.
    pub fn start_with(folder: &Path, blobs: &Path, more: &str) -> Registry {
        fs::create_dir_all(folder).unwrap();
        let (server, port) = Server::start("docker-registry", folder, |port, file| {
            fs::write(file, configuration(port, blobs) + more).unwrap();
            vec!["serve".to_owned(), file.to_str().unwrap().to_owned()]
        });
        Registry { host: format!("127.0.0.1:{port}"), folder: folder.to_owned(), _server: server }
    }

    /// What pullet asked of one repository since the log was this long, such as `GET /v2/a/manifests/b`.
    ///
    /// Other programs' requests do not count: a push elsewhere looks here for blobs that it could mount. The log is written after
    /// the answer, so a marker is asked for and waited for first.
    pub fn requests(&self, since: usize, repository: &str) -> Vec<String> {
        let marker = format!("/v2/marker{}/tags/list", self.position());
        self.ask(&marker);
        let started = Instant::now();
        while !self.read_log().contains(&marker) {
            assert!(started.elapsed() < PATIENCE, "docker-registry writes no access log");
            thread::sleep(POLL);
        }
        let prefix = format!("/v2/{repository}/");
        let log = self.read_log();
        // Apache's combined format: the request, the referrer and the user agent are in quotes.
        let quoted = log[since..].lines().map(|line| line.split('"').skip(1).step_by(2).collect::<Vec<_>>());
        let ours = quoted.filter(|fields| fields.last().is_some_and(|agent| agent.starts_with("pullet/")));
        let asked = ours.filter_map(|fields| fields[0].rsplit_once(" HTTP/").map(|(asked, _)| asked.to_owned()));
        asked.filter(|asked| asked.contains(&prefix)).collect()
    }

    /// How long the access log is now.
    pub fn position(&self) -> usize {
        self.read_log().len()
    }

    fn ask(&self, path: &str) {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.host).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    }

    fn read_log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("log")).unwrap()).into_owned()
    }
}

/// One of Debian's servers on a loopback port of its own; it ends with this value, and with the test process too.
pub struct Server {
    keeper: Child,
}

impl Server {
    /// Starts the program with the words that `configure` gives for a port and the file `folder/config`, and waits until
    /// it listens there. What it says goes to `folder/log`.
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
            if said.contains("address already in use") || started.elapsed() > PATIENCE {
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

/// A port of loopback that nobody listened at a moment ago.
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
