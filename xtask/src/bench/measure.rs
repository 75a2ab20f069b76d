//! Runs one tool once on a fresh file system and takes its figures: of all of its processes together.

use std::path::{Path, PathBuf};

use crate::disk::Temporary;
use crate::{Result, debian, disk, shell};

/// The file system's size at most. Memory is taken as it fills.
const SIZE: &str = "size=90%";

/// What one run took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    pub cpu: f64,
    pub wall: f64,
    /// Peak resident bytes of the largest process.
    pub rss: u64,
    /// Bytes given to write calls, those of pipes and sockets too.
    pub written: u64,
}

/// A folder on a file system of its own in memory, where this process may mount one; else an empty folder.
pub struct Ground {
    folder: Temporary,
    is_mounted: bool,
}

impl Ground {
    pub fn fresh(folder: PathBuf) -> Result<Self> {
        // One that a run left behind which was killed.
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

impl Drop for Ground {
    fn drop(&mut self) {
        if self.is_mounted
            && let Err(reason) = shell::run(shell::program("umount").arg(self.folder.path()))
        {
            eprintln!("xtask: {reason}");
        }
    }
}

/// Bash counts the times of all that it waited for in milliseconds, GNU time has the peak, the kernel the bytes. The
/// peak counts from the fork, so the one that forks must be a small process.
const FRAME: &str = r#"
TIMEFORMAT='%R %U %S'
{ time "$1" --format=%M --output="$2/rss" sh -e -u -c "$4" sh "${@:5}" >"$2/out" 2>&1; } 2>"$2/times"
code=$?
while read -r line; do echo "$line"; done </proc/$$/io >"$2/io"
exit $code
"#;

/// Runs the script in `ground`, with `words` as `$1` and so on, and its temporary files there too.
pub fn run(ground: &Path, notes: &Path, script: &str, words: &[String]) -> Result<Sample> {
    disk::fresh(notes)?;
    let time = shell::find("time").ok_or("time is missing")?;
    let mut bash = shell::program("bash");
    bash.args(["-c", FRAME, "bash"]).arg(time).arg(notes).arg(ground).arg(script).args(words);
    bash.current_dir(ground).env("TMPDIR", ground).env("HOME", ground).env_remove("REGISTRY_AUTH_FILE");
    shell::run(&mut bash).map_err(|reason| {
        let said = disk::read(&notes.join("out")).unwrap_or_default();
        format!("{reason}\n{}", said.trim_end())
    })?;
    let times = numbers(&disk::read(&notes.join("times"))?);
    let rss = numbers(&disk::read(&notes.join("rss"))?);
    let written = field(&disk::read(&notes.join("io"))?, "wchar:");
    match (&times[..], &rss[..], written) {
        ([wall, user, system], [.., kib], Some(written)) => {
            Ok(Sample { cpu: user + system, wall: *wall, rss: *kib as u64 * 1024, written })
        }
        other => Err(format!("figures of a run: {other:?}")),
    }
}

/// The median of each figure on its own.
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
    fn the_median_is_of_each_figure() {
        let sample = |cpu: f64, rss: u64| Sample { cpu, wall: 1.0, rss, written: 8 };
        let three = [sample(3.0, 10), sample(1.0, 30), sample(2.0, 20)];
        assert_eq!(median(&three), sample(2.0, 20));
        assert_eq!(median(&three[..2]), sample(2.0, 20));
    }

    #[test]
    fn a_run_is_measured_with_all_its_processes() {
        let folder = Temporary::new(std::env::temp_dir().join(format!("pullet-bench-{}", std::process::id()))).unwrap();
        let notes = folder.path().join("notes");
        let script = "head -c 5000000 /dev/zero | cat >\"$1\"";
        let sample = run(folder.path(), &notes, script, &["zero".into()]).unwrap();
        assert_eq!(disk::size(&folder.path().join("zero")).unwrap(), 5_000_000);
        assert!(sample.written >= 10_000_000 && sample.rss > 0, "{sample:?}");
        let failed = run(folder.path(), &notes, "echo said; exit 3", &[]).unwrap_err();
        assert!(failed.contains("said"), "{failed}");
    }
}
