//! The root filesystem that the images are made of: Debian's minimal base as root, real files of the machine as an ordinary user.
//!
//! debootstrap takes the packages from the mirror in the apt configuration of the machine. It needs root, and so do device nodes and
//! other owners. Without root the tests use files that an ordinary user can create, and compare them just as strictly.

use kit::debian::{self, run};
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that every Debian machine has and every user may read.
const READABLE: [&str; 4] = ["usr/share/base-files", "usr/share/common-licenses", "usr/share/perl5", "usr/lib/init"];
/// Folders that debootstrap fills and that an image does not need.
const LEFT_OVER: [&str; 2] = ["var/cache/apt/archives", "var/lib/apt/lists"];

/// Makes a root filesystem in a folder that does not exist yet.
pub(crate) fn make_root(root: &Path) {
    if kit::process::is_root() {
        bootstrap(root);
    } else {
        eprintln!("not root: the image is made of {} instead of a debootstrap", READABLE.join(", "));
        copy_readable(root);
    }
}

fn bootstrap(root: &Path) {
    let (mirror, suite) = mirror();
    run(debian::command("debootstrap").args(["--variant=minbase", &suite]).arg(root).arg(mirror)).expect(0);
    for folder in LEFT_OVER.map(|folder| root.join(folder)) {
        fs::remove_dir_all(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
    }
}

fn copy_readable(root: &Path) {
    fs::create_dir(root).unwrap();
    let mut cp = debian::command("cp");
    cp.args(["-r", "--parents", "--preserve=mode,timestamps,links"]).args(READABLE).arg(root);
    run(cp.current_dir("/")).expect(0);
}

/// The archive that apt uses for the release of this machine, and the name of the release.
fn mirror() -> (String, String) {
    let release = fs::read_to_string("/etc/os-release").unwrap();
    let suite = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .expect("VERSION_CODENAME in /etc/os-release");
    let found = apt_sources().iter().find_map(|source| archive_of(&fs::read_to_string(source).unwrap(), suite));
    let mirror =
        found.unwrap_or_else(|| panic!("no archive of {suite} in /etc/apt/sources.list or /etc/apt/sources.list.d"));
    (mirror, suite.to_owned())
}

fn apt_sources() -> Vec<PathBuf> {
    let folder = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten();
    let mut sources: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    sources.push(PathBuf::from("/etc/apt/sources.list"));
    sources.retain(|path| path.is_file() && path.extension().is_some_and(|name| name == "list" || name == "sources"));
    sources.sort();
    sources
}

/// The first URI of a `deb` source with exactly this suite, in either of apt's two formats.
fn archive_of(source: &str, suite: &str) -> Option<String> {
    source
        .lines()
        .find_map(|line| one_line(line, suite))
        .or_else(|| source.split("\n\n").find_map(|text| stanza(text, suite)))
}

/// `deb [options] URI SUITE COMPONENT…`
fn one_line(line: &str, suite: &str) -> Option<String> {
    let rest = line.strip_prefix("deb ")?.trim_start();
    let rest = if rest.starts_with('[') { rest.split_once(']')?.1 } else { rest };
    let mut words = rest.split_whitespace();
    let uri = words.next()?;
    (words.next()? == suite).then(|| uri.to_owned())
}

/// `Types:`, `URIs:` and `Suites:` lines in one paragraph.
fn stanza(text: &str, suite: &str) -> Option<String> {
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().split_whitespace();
    let fits = field("Types:").any(|word| word == "deb") && field("Suites:").any(|word| word == suite);
    field("URIs:").next().filter(|_| fits).map(str::to_owned)
}
