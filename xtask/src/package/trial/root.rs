//! A clean Debian root, made by mmdebstrap from the archive of this machine's apt, in which packages are tried.

use std::path::{Path, PathBuf};
use std::process::Command;

use kit::tree::Tree;

use crate::{Result, disk, packages, shell};

/// Paths that dpkg itself changes, whatever the package, and folders that the trial mounts on.
const OF_DPKG: &[&str] = &["proc", "sys", "tmp", "var/cache", "var/lib/dpkg", "var/log", "var/lib/rpm"];

pub struct Root {
    pub path: PathBuf,
}

impl Root {
    /// Makes a root of Debian's essential packages and these ones.
    pub fn debian(path: PathBuf, more: &[&str]) -> Result<Self> {
        disk::clear(&path)?;
        let (mirror, suite) = packages::mirror()?;
        let mut mmdebstrap = shell::program("mmdebstrap");
        // apt's unprivileged download user may not reach the folder.
        let options = ["--aptopt=APT::Install-Recommends \"false\"", "--aptopt=APT::Sandbox::User \"root\""];
        mmdebstrap.args(["--quiet", "--variant=essential"]).args(options);
        if !more.is_empty() {
            mmdebstrap.arg(format!("--include={}", more.join(",")));
        }
        shell::run(mmdebstrap.arg(suite).arg(&path).arg(mirror))?;
        Ok(Self { path })
    }

    /// An empty root.
    pub fn empty(path: PathBuf) -> Result<Self> {
        disk::fresh(&path)?;
        Ok(Self { path })
    }

    /// A command that runs a program of the root in it, with /proc and, if it has the folder, /sys.
    pub fn command(&self, words: &[&str]) -> Command {
        let script = "mount -t proc proc \"$0/proc\" || exit
            [ ! -d \"$0/sys\" ] || mount -t sysfs sys \"$0/sys\" || exit
            exec chroot \"$0\" \"$@\"";
        let mut command = shell::program("unshare");
        command.args(["--mount", "--fork", "sh", "-c", script]).arg(&self.path).args(words);
        command.env_clear().envs([
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/root"),
            ("LC_ALL", "C.UTF-8"),
            ("DEBIAN_FRONTEND", "noninteractive"),
        ]);
        command
    }

    /// Runs a program of the root in it, and returns its standard output.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        shell::read(&mut self.command(words))
    }

    /// Copies a file to /tmp of the root, and returns its path there.
    pub fn take(&self, file: &Path) -> Result<String> {
        let name = file.file_name().and_then(|name| name.to_str()).ok_or("no file name")?;
        let folder = self.path.join("tmp");
        disk::create_folder(&folder)?;
        disk::named("copy", file, std::fs::copy(file, folder.join(name)))?;
        Ok(format!("/tmp/{name}"))
    }

    /// All files, without those that the package manager changes. Times of folders do not count.
    pub fn files(&self) -> Tree {
        Tree::read(&self.path).map(|path, node| {
            if node.kind == kit::tree::Kind::Dir {
                node.mtime = None;
            }
            let path = String::from_utf8_lossy(path);
            !OF_DPKG
                .iter()
                .any(|folder| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        })
    }

    /// Fails if the files are not the same as before.
    pub fn expect_unchanged(&self, before: &Tree) -> Result {
        let differences = before.differences(&self.files());
        if differences.is_empty() { Ok(()) } else { Err(format!("the package left:\n{}", differences.join("\n"))) }
    }
}
