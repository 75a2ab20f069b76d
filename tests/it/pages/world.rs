//! The world of a page: its own network, `/etc`, `/root`, `/srv` and so on, in namespaces of the kernel, so that the names and
//! paths of a page are real there and nothing outside changes.
//!
//! The test runs its own program again in the namespaces. Loopback is the only network, and `/etc/hosts` leads the names of
//! the page to it: the servers have the usual ports, such as 443.

use std::fs;
use std::path::Path;
use std::process::Command;

use kit::authority::Authority;
use kit::debian::{command, program, run};
use kit::home::TempDir;
use kit::process::is_root;
use kit::proxy::Proxy;
use kit::registry::Registry;
use kit::signature::Signer;

use super::page::{Page, Step, fits};

/// Tells the program that it runs inside, and in which folder its files are.
const INSIDE: &str = "PULLET_TEST_PAGE";

/// With this variable and `--nocapture`, a test shows what the commands of its page print.
const SHOW: &str = "PULLET_SHOW_PAGE";

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes the namespaces ready. `$1` is a folder, `$2` the program of the tests, `$3` pullet, and then the arguments follow.
///
/// `/etc` has only what the programs of the machine need, so that its configuration is not the page's.
///
/// The programs may be in a folder that is hidden here, so they are mounted in the first folder, which stays visible.
const SETUP: &str = r#"
set -e
folder=$1 test=$2 pullet=$3; shift 3
ip link set lo up
mount --bind "$folder" "$folder"
mount --bind "$test" "$folder/test"
mount --bind "$pullet" "$folder/bin/pullet"
mkdir "$folder/etc"
mount -t tmpfs none "$folder/etc"
(cd /etc; cp -a alternatives group ld.so.cache mtab passwd "$folder/etc")
mount --bind "$folder/etc" /etc
mount -o remount,bind,ro /
for hidden in /mnt /root /run /srv /var/lib /var/tmp; do mount -t tmpfs none "$hidden"; done
cd /root
exec "$folder/test" "$@"
"#;

/// Servers and files that a page needs. They exist while the page runs.
pub struct World {
    authority: Authority,
    registries: Vec<Registry>,
    proxies: Vec<Proxy>,
    hosts: String,
    /// The hosts that only the proxies reach, and their addresses.
    routes: Vec<(String, String)>,
}

/// Runs a page: `test` is the name of the test that calls this.
pub fn run_page(test: &str, path: &str, prepare: fn(&mut World)) {
    match std::env::var_os(INSIDE) {
        Some(folder) => run_inside(Path::new(&folder), path, prepare),
        None => run_again_inside(test, path),
    }
}

fn run_again_inside(test: &str, path: &str) {
    let folder = TempDir::new();
    let place = |name: &str| folder.path().join(name);
    fs::create_dir(place("bin")).unwrap();
    fs::write(place("bin/pullet"), "").unwrap();
    fs::write(place("test"), "").unwrap();
    fs::copy(super::root().join(path), place("page.md")).unwrap();
    let map_root: &[&str] = if is_root() { &[] } else { &["--map-root-user"] };
    let mut unshare = command("unshare");
    unshare.args(map_root).args(["--mount", "--net", "--propagation", "private", "sh", "-c", SETUP, "sh"]);
    unshare.arg(folder.path()).arg(std::env::current_exe().unwrap()).arg(kit::process::program());
    unshare.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(INSIDE, folder.path());
    unshare.env("PATH", PATH).env("TMPDIR", folder.path()).env("PULLET_BINARY", place("bin/pullet"));
    let ended = run(&mut unshare);
    let is_one = ended.stdout.contains("1 passed");
    if std::env::var_os(SHOW).is_some() {
        println!("{}", ended.stdout);
    }
    assert!(ended.code == Some(0) && is_one, "{}\n{}\n{}", path, ended.stdout, ended.stderr);
}

fn run_inside(folder: &Path, path: &str, prepare: fn(&mut World)) {
    let page = Page::parse(&fs::read_to_string(folder.join("page.md")).unwrap());
    let mut world = World::new();
    prepare(&mut world);
    world.write_configuration();
    world.run(folder, path, &page);
}

impl World {
    fn new() -> World {
        World {
            authority: Authority::new(),
            registries: Vec::new(),
            proxies: Vec::new(),
            hosts: "127.0.0.1 localhost\n".to_owned(),
            routes: Vec::new(),
        }
    }

    /// Starts a registry at these names, over HTTPS with a certificate that the machine trusts.
    pub fn registry(&mut self, hosts: &[&str]) -> &Registry {
        let address = self.name(hosts);
        let registry = Registry::tls_on(&format!("{address}:443"), &self.authority, hosts);
        self.keep(registry)
    }

    /// Starts a registry that only the proxies reach.
    pub fn distant_registry(&mut self, host: &str) -> &Registry {
        let address = self.address();
        self.routes.push((host.to_owned(), address.clone()));
        let registry = Registry::tls_on(&format!("{address}:443"), &self.authority, &[host]);
        self.keep(registry)
    }

    /// Starts a registry whose certificate the machine does not trust, and writes the authority's to this file.
    pub fn private_registry(&mut self, hosts: &[&str], certificate: &str) -> &Registry {
        let authority = Authority::new();
        self.write(certificate, &authority.pem());
        let address = self.name(hosts);
        let registry = Registry::tls_on(&format!("{address}:443"), &authority, hosts);
        self.keep(registry)
    }

    fn keep(&mut self, registry: Registry) -> &Registry {
        self.registries.push(registry);
        self.registries.last().unwrap()
    }

    /// Starts a proxy on port 3128 of this name.
    pub fn proxy(&mut self, host: &str) {
        let address = self.name(&[host]);
        self.proxies.push(Proxy::connect_on(&format!("{address}:3128"), self.routes.clone()));
    }

    /// Makes a key pair, writes the public key to this file, and returns the pair.
    pub fn signer(&self, public: &str) -> Signer {
        let signer = Signer::new("p256");
        self.write(public, &fs::read_to_string(signer.key()).unwrap());
        signer
    }

    /// Writes a file.
    pub fn write(&self, path: &str, text: &str) {
        let path = Path::new("/root").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Gives the next address of loopback these names.
    fn name(&mut self, hosts: &[&str]) -> String {
        let address = self.address();
        self.hosts += &format!("{address} {}\n", hosts.join(" "));
        address
    }

    /// Writes the policy that Debian installs for podman and skopeo, which do not work without one.
    pub fn accept_everything(&self) {
        self.write("/etc/containers/policy.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#);
    }

    /// The next address of loopback.
    fn address(&self) -> String {
        format!("127.0.0.{}", 2 + self.registries.len() + self.proxies.len())
    }

    fn write_configuration(&self) {
        fs::write("/etc/hosts", &self.hosts).unwrap();
        fs::write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n").unwrap();
        let bundle = Path::new("/etc/ssl/certs/ca-certificates.crt");
        fs::create_dir_all(bundle.parent().unwrap()).unwrap();
        let _ = fs::remove_file(bundle);
        fs::write(bundle, self.authority.pem()).unwrap();
    }

    fn run(&self, folder: &Path, path: &str, page: &Page) {
        assert!(page.complaints.is_empty() && !page.steps.is_empty(), "{path}: {:?}", page.complaints);
        fs::write(folder.join("script"), script(page)).unwrap();
        let output = folder.join("output");
        let out = fs::File::create(&output).unwrap();
        let status = Command::new(program("bash"))
            .arg(folder.join("script"))
            .env_clear()
            .env("PATH", format!("{}:{PATH}", folder.join("bin").display()))
            .env("HOME", "/root")
            .env("TMPDIR", "/var/tmp")
            .env("LC_ALL", "C.UTF-8")
            .current_dir("/root")
            .stdin(std::process::Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .status()
            .unwrap();
        let output = String::from_utf8_lossy(&fs::read(output).unwrap()).into_owned();
        assert!(status.success(), "{path}: {status}\n{output}");
        println!("{output}");
        compare(path, page, &output);
    }
}

/// A script that does all steps in one shell. After each command it writes a line `\x01CODE`.
fn script(page: &Page) -> String {
    let mut script = "mark() { local code=$?; printf '\\001%d\\n' $code; return $code; }\n".to_owned();
    for (number, step) in page.steps.iter().enumerate() {
        match step {
            Step::File { path, text } => {
                script +=
                    &format!("mkdir -p -- \"$(dirname {path})\"\ncat > {path} <<'END{number}'\n{text}END{number}\n");
            }
            Step::Command { text, .. } => script += &format!("{text}\nmark\n"),
        }
    }
    script + "exit 0\n"
}

/// Compares the output of each command with what the page shows. A command must succeed unless `echo $?` comes next.
fn compare(path: &str, page: &Page, output: &str) {
    let commands: Vec<&Step> = page.steps.iter().filter(|step| matches!(step, Step::Command { .. })).collect();
    let mut rest = output;
    for (at, step) in commands.iter().enumerate() {
        let Step::Command { line, text, output: expected } = step else { continue };
        let (printed, after) =
            rest.split_once('\x01').unwrap_or_else(|| panic!("{path}:{line}: no end of {text:?}\n{rest}"));
        let (code, after) = after.split_once('\n').unwrap();
        let next_is_code = matches!(commands.get(at + 1), Some(Step::Command { text, .. }) if text == "echo $?");
        let actual: Vec<&str> = printed.lines().collect();
        assert!(
            fits(expected, &actual) && (code == "0" || next_is_code),
            "{path}:{line}: $ {text}\n--- the page shows\n{}\n--- the command printed (exit {code})\n{printed}---",
            expected.join("\n")
        );
        rest = after;
    }
}
