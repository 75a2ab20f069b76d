//! `cargo xtask filesystems`: runs the tests of stores and trees on ext4, tmpfs and overlayfs, as root and as an
//! ordinary user, and without openat2. Each run mounts a new file system.

use std::process::Command;

use crate::{Result, cargo, debian, disk, shell};

/// The modules of `tests/it` that depend on the file system.
const TOPICS: &[&str] =
    &["artifact::", "hardening::", "hostile::", "merge::", "metadata::", "store::", "unpack::", "user::", "whiteout::"];

struct Row {
    name: &'static str,
    /// A script that mounts a file system at `$1`, an empty folder in a tmpfs.
    mount: &'static str,
    /// The command that runs the tests.
    wrapper: &'static [&'static str],
}

const NOBODY: &[&str] = &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
const NO_OPENAT2: &[&str] = &[
    "strace",
    "-f",
    "-qq",
    "-o",
    "/dev/null",
    "--seccomp-bpf",
    "-e",
    "trace=openat2",
    "-e",
    "inject=openat2:error=ENOSYS",
    "--",
];
const EXT4: &str = "truncate -s 1G \"$1.image\"; mkfs.ext4 -q \"$1.image\"; mount -o loop \"$1.image\" \"$1\"";
const TMPFS: &str = "mount -t tmpfs tmpfs \"$1\"";
const OVERLAYFS: &str = "mkdir \"$1.lower\" \"$1.upper\" \"$1.work\"; \
    mount -t overlay -o \"lowerdir=$1.lower,upperdir=$1.upper,workdir=$1.work\" overlay \"$1\"";

const ROWS: &[Row] = &[
    Row { name: "ext4, root", mount: EXT4, wrapper: &[] },
    Row { name: "ext4, ordinary user", mount: EXT4, wrapper: NOBODY },
    Row { name: "tmpfs, root", mount: TMPFS, wrapper: &[] },
    Row { name: "tmpfs, ordinary user", mount: TMPFS, wrapper: NOBODY },
    Row { name: "overlayfs, root", mount: OVERLAYFS, wrapper: &[] },
    Row { name: "overlayfs, ordinary user", mount: OVERLAYFS, wrapper: NOBODY },
    Row { name: "tmpfs, root, no openat2", mount: TMPFS, wrapper: NO_OPENAT2 },
];

pub fn run() -> Result {
    if !debian::is_root()? {
        return Err("only root can mount file systems".into());
    }
    debian::need_for_tests()?;
    let build = ["test", "--quiet", "--all-features", "--test", "it", "--no-run", "--message-format=json"];
    let tests = cargo::executable(&shell::read(&mut cargo::command(&build))?, "it-")?;
    let folder = disk::Temporary::new(std::env::temp_dir().join(format!("pullet-filesystems-{}", std::process::id())))?;
    let mut failed = Vec::new();
    for Row { name, mount, wrapper } in ROWS {
        // The mounts disappear with the namespace.
        let script = format!(
            "set -e; mount -t tmpfs tmpfs \"$1\"; chmod 755 \"$1\"; set -- \"$1/place\" \"$@\"; mkdir \"$1\"; {mount}; \
             chmod 1777 \"$1\"; export TMPDIR=\"$1\" HOME=\"$1\"; shift 2; exec \"$@\""
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]).arg(folder.path());
        command.args(*wrapper).arg(&tests).args(TOPICS).args(["--quiet", "--skip", "real::"]);
        let output = shell::try_output(&mut command)?;
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let result = text.lines().rfind(|line| line.starts_with("test result")).unwrap_or("no result");
        println!("{name:<26} {result}");
        if !output.status.success() {
            println!("{}", text.trim_end());
            failed.push(*name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("failed on {}", failed.join("; "))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tests_that_exist() {
        for topic in TOPICS {
            let file = cargo::root().join("tests/it").join(topic.trim_end_matches(':')).with_extension("rs");
            assert!(file.is_file(), "{topic}");
        }
    }
}
