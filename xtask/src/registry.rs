//! Debian's docker-registry on a free port of loopback, stopped however the task ends.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kit::link::{Conditions, Link};

use crate::{Result, disk, shell};

pub struct Registry {
    process: Child,
    address: SocketAddr,
    access_log: PathBuf,
}

const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

impl Registry {
    /// Starts a registry that keeps its blobs, its configuration and its logs in the folder.
    pub fn start(folder: &Path) -> Result<Self> {
        Self::launch(folder, &storage(folder), "")
    }

    /// Starts one that speaks TLS, for the blobs of the one in the folder `other`. Its authority is `ca.pem` in its own.
    pub fn start_tls(folder: &Path, other: &Path) -> Result<Self> {
        disk::fresh(folder)?;
        make_certificate(folder)?;
        let file = |name: &str| folder.join(name).display().to_string();
        let tls = format!("  tls:\n    certificate: {}\n    key: {}\n", file("registry.pem"), file("registry.key"));
        Self::launch(folder, &storage(other), &tls)
    }

    fn launch(folder: &Path, storage: &Path, tls: &str) -> Result<Self> {
        disk::create_folder(folder)?;
        let address = free_address()?;
        let configuration = folder.join("config.yml");
        disk::write(&configuration, self::configuration(storage, address) + tls)?;
        let access_log = folder.join("access.log");
        let mut command = shell::program("docker-registry");
        command.arg("serve").arg(&configuration).stdin(Stdio::null());
        // Its settings can be overridden by the environment, which is not ours to trust.
        command.env_clear().stdout(disk::create(&access_log)?).stderr(disk::create(&folder.join("error.log"))?);
        let process = command.spawn().map_err(|e| format!("start docker-registry: {e}"))?;
        let mut registry = Self { process, address, access_log };
        registry.wait_until_it_listens(&folder.join("error.log"))?;
        Ok(registry)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A link to the registry, which lasts as long as this process.
    pub fn link(&self, conditions: Conditions) -> Result<Link> {
        Link::start(self.address, conditions).map_err(|e| format!("listen on loopback: {e}"))
    }

    /// How many reading requests the registry has answered so far. It writes a request's line after the last byte,
    /// so a client may be done before the line is there: waits until as many as expected are.
    pub fn reads(&self, expected: usize) -> Result<usize> {
        self.lines(expected, |line| line.contains("\"GET ") || line.contains("\"HEAD "))
    }

    /// How many ranges of blobs it has given so far, likewise.
    pub fn ranges(&self, expected: usize) -> Result<usize> {
        self.lines(expected, |line| line.contains("/blobs/") && line.contains("\" 206 "))
    }

    fn lines(&self, expected: usize, is_one: impl Fn(&str) -> bool) -> Result<usize> {
        let start = Instant::now();
        loop {
            let log = disk::read(&self.access_log)?;
            let lines = log.lines().filter(|line| is_one(line)).count();
            if lines >= expected || start.elapsed() > PATIENCE {
                return Ok(lines);
            }
            sleep(PAUSE);
        }
    }

    fn wait_until_it_listens(&mut self, error_log: &Path) -> Result {
        let start = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            let ended = self.process.try_wait().map_err(|e| format!("wait for docker-registry: {e}"))?;
            if ended.is_some() || start.elapsed() > PATIENCE {
                let said = disk::read(error_log)?;
                return Err(format!("docker-registry does not answer on {}\n{}", self.address, said.trim_end()));
            }
            sleep(PAUSE);
        }
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let stopped = self.process.kill().and_then(|()| self.process.wait());
        if let Err(e) = stopped {
            eprintln!("xtask: stop docker-registry: {e}");
        }
    }
}

/// An address that nobody listens on now.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    listener.map_err(|e| format!("find a free port: {e}"))
}

fn storage(folder: &Path) -> PathBuf {
    folder.join("storage")
}

/// An authority, and a certificate for loopback that it has signed, also by the address that QEMU's guests have for it.
fn make_certificate(folder: &Path) -> Result {
    let settings = folder.join("openssl.cnf");
    disk::write(&settings, "[req]\ndistinguished_name=name\n[name]\n")?;
    let openssl = |words: &str| {
        let mut openssl = shell::program("openssl");
        openssl.args("req -x509 -config openssl.cnf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes".split(' '));
        shell::run(openssl.args(words.split(' ')).current_dir(folder))
    };
    openssl("-subj /CN=authority -keyout ca.key -out ca.pem")?;
    openssl(
        "-subj /CN=registry -addext subjectAltName=IP:127.0.0.1,IP:10.0.2.2 -CA ca.pem -CAkey ca.key -keyout registry.key \
         -out registry.pem",
    )
}

/// The access log is on standard output and on by default. A secret keeps the registry from warning that it has none.
fn configuration(storage: &Path, address: SocketAddr) -> String {
    format!(
        "version: 0.1\n\
         log:\n  level: warn\n\
         storage:\n  filesystem:\n    rootdirectory: {}\n\
         http:\n  addr: {address}\n  secret: loopback\n",
        storage.display()
    )
}
