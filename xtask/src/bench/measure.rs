//! Runs one tool on a fresh file system and measures all its processes together.

use std::path::{Path, PathBuf};

use crate::disk::Temporary;
use crate::{Result, debian, disk, shell};

/// The largest size of the file system. It uses memory only as it fills.
const SIZE: &str = "size=90%";

/// The figures of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    pub cpu: f64,
    pub wall: f64,
    /// Peak resident bytes of the largest process.
    pub rss: u64,
    /// Bytes passed to write calls, including those on pipes and sockets.
    pub written: u64,
}

/// A new tmpfs, or an empty folder if this process must not mount one.
pub struct Filesystem {
    folder: Temporary,
    is_mounted: bool,
}

impl Filesystem {
    pub fn fresh(folder: PathBuf) -> Result<Self> {
        // A killed run may have left its mount behind.
        while shell::succeeds(shell::program("mountpoint").arg("-q").arg(&folder)) {
            shell::run(shell::program("umount").arg(&folder))?;
        }
        let folder = Temporary::new(folder)?;
        let is_mounted = debian::is_root()?;
        if is_mounted {
            let mut mount = shell::program("mount");
            shell::run(mount.args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(folder.path()))?;
        }
        Ok(Self { folder, is_mounted })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Filesystem {
    fn drop(&mut self) {
        if self.is_mounted
            && let Err(reason) = shell::run(shell::program("umount").arg(self.folder.path()))
        {
            eprintln!("xtask: {reason}");
        }
    }
}

/// Bash measures the times of all its children in milliseconds, GNU time the peak memory, and the kernel counts the
/// bytes. The peak of a process includes the memory of the process that forked it, so that must be a small one.
const FRAME: &str = r#"
TIMEFORMAT='%R %U %S'
{ time "$1" --format=%M --output="$2/rss" sh -e -u -c "$4" sh "${@:5}" >"$2/out" 2>&1; } 2>"$2/times"
code=$?
while read -r line; do echo "$line"; done </proc/$$/io >"$2/io"
exit $code
"#;

/// Runs the script in the folder, with `words` as `$1` and so on. Its temporary files are there too.
pub fn run(folder: &Path, notes: &Path, script: &str, words: &[String]) -> Result<Sample> {
    disk::fresh(notes)?;
    let time = shell::find("time").ok_or("time is missing")?;
    let mut bash = shell::program("bash");
    bash.args(["-c", FRAME, "bash"]).arg(time).arg(notes).arg(folder).arg(script).args(words);
    bash.current_dir(folder).env("TMPDIR", folder).env("HOME", folder).env_remove("REGISTRY_AUTH_FILE");
    shell::run(&mut bash).map_err(|reason| {
        let output = disk::read(&notes.join("out")).unwrap_or_default();
        format!("{reason}\n{}", output.trim_end())
    })?;
    let times = numbers(&disk::read(&notes.join("times"))?);
    let rss = numbers(&disk::read(&notes.join("rss"))?);
    let written = field(&disk::read(&notes.join("io"))?, "wchar:");
    match (&times[..], &rss[..], written) {
        ([wall, user, system], [.., kib], Some(written)) => {
            Ok(Sample { cpu: user + system, wall: *wall, rss: *kib as u64 * 1024, written })
        }
        other => Err(format!("read the figures of a run: {other:?}")),
    }
}

/// The median of each figure.
pub fn median(samples: &[Sample]) -> Sample {
    let of = |figure: fn(&Sample) -> f64| {
        let mut figures: Vec<f64> = samples.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        match (figures.get(figures.len().saturating_sub(1) / 2), figures.get(figures.len() / 2)) {
            (Some(low), Some(high)) => (low + high) / 2.0,
            _ => 0.0,
        }
    };
    let (cpu, wall) = (of(|sample| sample.cpu), of(|sample| sample.wall));
    let (rss, written) = (of(|sample| sample.rss as f64), of(|sample| sample.written as f64));
    Sample { cpu, wall, rss: rss as u64, written: written as u64 }
}

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_median_of_each_figure() {
        let sample = |cpu: f64, rss: u64| Sample { cpu, wall: 1.0, rss, written: 8 };
        let three = [sample(3.0, 10), sample(1.0, 30), sample(2.0, 20)];
        assert_eq!(median(&three), sample(2.0, 20));
        assert_eq!(median(&three[..2]), sample(2.0, 20));
    }

    #[test]
    fn measures_all_processes_of_a_run() {
        let folder = Temporary::new(std::env::temp_dir().join(format!("pullet-bench-{}", std::process::id()))).unwrap();
        let notes = folder.path().join("notes");
        let script = "head -c 5000000 /dev/zero | cat >\"$1\"";
        let sample = run(folder.path(), &notes, script, &["zero".into()]).unwrap();
        assert_eq!(disk::size(&folder.path().join("zero")).unwrap(), 5_000_000);
        assert!(sample.written >= 10_000_000 && sample.rss > 0, "{sample:?}");
        let failed = run(folder.path(), &notes, "echo output; exit 3", &[]).unwrap_err();
        assert!(failed.contains("output"), "{failed}");
    }
}
