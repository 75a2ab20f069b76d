//! `cargo xtask fuzz`: runs the targets of `fuzz/` one after the other for a number of seconds each, or runs single
//! inputs, each with the target that its folder is named after.
//!
//! The targets use libFuzzer through the crate `libfuzzer-sys`. They are built with cargo and rustc's flags for
//! coverage, which work on stable. cargo-fuzz sets the same flags, but it would have to be installed, and its sanitizer
//! needs a nightly compiler. A sanitizer is not needed, because pullet has no `unsafe`: panics, overflows, hangs,
//! memory use and files outside the target are found without one.
//!
//! Each target runs in its own mount namespace, where everything but its folder is read-only. It unpacks images into a
//! tmpfs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, cargo, debian, disk, shell, show};

/// The targets are a separate workspace.
pub const MANIFEST: &str = "fuzz/Cargo.toml";

const NEEDED: &[(&str, &str)] = &[("g++", "g++"), ("unshare", "util-linux")];

/// The flags with which libFuzzer sees the coverage of an input.
const FLAGS: &[&str] = &[
    "--cfg=fuzzing",
    "-Ccodegen-units=1",
    "-Clink-dead-code",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Seconds. An input that takes longer is a finding.
const SLOWEST: u32 = 5;
/// The most bytes of an input. A hundredth of this is enough to find panics, but quadratic time shows only in long
/// inputs.
const LONGEST: u32 = 64 << 10;

/// Makes everything but the folder `$1` read-only, mounts a tmpfs at `tmpfs` in it, and runs the rest of the arguments.
const CONFINED: &str = "\
set -e
mount --bind \"$1\" \"$1\"
mount -t tmpfs -o nosuid,nodev,size=256m,mode=755 tmpfs \"$1/tmpfs\"
mount -o remount,bind,ro /
cd \"$1\"
shift
exec \"$@\"";

/// The result of a run.
struct Outcome {
    runs: u64,
    coverage: u64,
    finding: Option<String>,
}

pub fn run(words: &[&str]) -> Result {
    let (seconds, words) = match words {
        ["--seconds", seconds, rest @ ..] => {
            (seconds.parse().map_err(|_| format!("--seconds {seconds}: expected a number"))?, rest)
        }
        rest => (60, rest),
    };
    let all = targets()?;
    let jobs = if words.is_empty() {
        all.iter().map(|target| Job { target: target.clone(), input: None }).collect()
    } else {
        words.iter().map(|word| Job::parse(word, &all)).collect::<Result<Vec<_>>>()?
    };
    debian::need(NEEDED)?;
    let binaries = build()?;
    println!("{:<16}{:>9}{:>12}{:>10}   finding", "target", "seconds", "runs", "edges");
    let mut findings = 0;
    for Job { target, input } in jobs {
        let outcome = fuzz(&binaries, &target, input.as_deref(), seconds)?;
        findings += usize::from(outcome.finding.is_some());
        let finding = outcome.finding.as_deref().unwrap_or("none");
        println!("{target:<16}{seconds:>9}{:>12}{:>10}   {finding}", outcome.runs, outcome.coverage);
    }
    if findings == 0 { Ok(()) } else { Err(show::count(findings, "finding")) }
}

/// Lints the targets, and with them the functions of pullet that exist only for fuzzing. Does not build libFuzzer.
pub fn lint() -> Result<Command> {
    let mut command = cargo::command(&["clippy", "--quiet", "--locked", "--manifest-path", MANIFEST]);
    command.args(["--no-default-features", "--target-dir"]).arg(cargo::target()?.join("fuzz"));
    command.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", FLAGS[0]).args(["--", "-D", "warnings"]);
    Ok(command)
}

/// The names of the targets: each has a folder of seeds.
fn targets() -> Result<Vec<String>> {
    let folders = disk::list(&cargo::root().join("fuzz/seeds"))?;
    let names = folders.iter().filter_map(|folder| folder.file_name()?.to_str().map(str::to_owned));
    Ok(names.collect())
}

/// A target to fuzz, or to run with one input.
#[derive(Debug, PartialEq)]
struct Job {
    target: String,
    input: Option<PathBuf>,
}

impl Job {
    /// Parses the name of a target, or the path of an input in a folder with the name of a target.
    fn parse(word: &str, all: &[String]) -> Result<Self> {
        if all.iter().any(|target| target == word) {
            return Ok(Self { target: word.to_owned(), input: None });
        }
        let path = std::path::absolute(word).map_err(|e| format!("{word}: {e}"))?;
        let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        let target = folder.unwrap_or_default().to_owned();
        if path.is_file() && all.contains(&target) {
            return Ok(Self { target, input: Some(path) });
        }
        Err(format!("{word}: expected a target ({}) or a file in a folder with its name", all.join(", ")))
    }
}

/// Builds all targets and returns the folder of the binaries.
fn build() -> Result<PathBuf> {
    let version = shell::read(Command::new("rustc").arg("-vV").current_dir(cargo::root()))?;
    let host =
        version.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc -vV does not name the host")?;
    let target = cargo::target()?.join("fuzz");
    let mut command = cargo::command(&["build", "--quiet", "--release", "--locked", "--manifest-path", MANIFEST]);
    // With `--target`, cargo does not pass the flags to build scripts.
    command.args(["--target", host, "--target-dir"]).arg(&target);
    command.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    shell::run(&mut command)?;
    Ok(target.join(host).join("release"))
}

/// Fuzzes a target from its seeds, or runs it with one input.
fn fuzz(binaries: &Path, target: &str, input: Option<&Path>, seconds: u32) -> Result<Outcome> {
    let folder = cargo::target()?.join("fuzz/runs").join(target);
    for name in ["corpus", "tmpfs"] {
        disk::create_folder(&folder.join(name))?;
    }
    let findings = cargo::target()?.join("fuzz/findings").join(target);
    let _ = std::fs::remove_dir_all(folder.join(target));
    disk::create_folder(&folder.join(target))?;
    let mut command = confined(&folder, &binaries.join(target))?;
    if let Some(input) = input {
        command.arg(input);
    } else {
        command.arg("corpus").arg(cargo::root().join("fuzz/seeds").join(target));
        // To libFuzzer a time of 0 means no end, and 0 runs mean the known inputs only.
        let end = if seconds == 0 { "-runs=0".to_owned() } else { format!("-max_total_time={seconds}") };
        command.args([end, format!("-max_len={LONGEST}")]);
    }
    command.args([format!("-timeout={SLOWEST}"), format!("-artifact_prefix={target}/")]);
    command.args(["-print_final_stats=1", "-rss_limit_mb=512"]);
    let output = shell::try_output(&mut command)?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    disk::write(&folder.join("log"), &log)?;
    let mut outcome = read(&log, output.status.success());
    if outcome.finding.is_some() {
        outcome.finding =
            Some(keep(&log, &folder, &findings, input).unwrap_or_else(|| cargo::shown(&folder.join("log"))));
    }
    Ok(outcome)
}

/// A command in a mount namespace, as root of that namespace.
fn confined(folder: &Path, binary: &Path) -> Result<Command> {
    let mut command = shell::program("unshare");
    if !debian::is_root()? {
        command.arg("--map-root-user");
    }
    command.args(["--mount", "--propagation", "private", "sh", "-c", CONFINED, "sh"]).arg(folder).arg(binary);
    command.env("PULLET_FUZZ_FOLDER", folder.join("tmpfs"));
    Ok(command)
}

/// Reads the log of libFuzzer.
fn read(log: &str, has_succeeded: bool) -> Outcome {
    let number = |text: &str| text.split_whitespace().next().and_then(|word| word.parse().ok());
    let runs = log.lines().find_map(|line| number(line.strip_prefix("stat::number_of_executed_units:")?));
    let coverage = log.lines().rev().find_map(|line| number(line.split_once(" cov: ")?.1));
    let finding = (!has_succeeded).then(|| "the run failed".to_owned());
    Outcome { runs: runs.unwrap_or(0), coverage: coverage.unwrap_or(0), finding }
}

/// Moves the failing input to a folder that the next run keeps. Returns its path with the message of the failure.
fn keep(log: &str, folder: &Path, findings: &Path, input: Option<&Path>) -> Option<String> {
    let message = log.lines().find(|line| line.contains("panicked at") || line.contains("ERROR: libFuzzer"))?;
    let message = message.trim_start_matches("==").trim_start_matches(|c: char| c.is_ascii_digit() || c == '=');
    let path = match input {
        Some(input) => input.to_owned(),
        None => {
            let written =
                log.lines().find_map(|line| line.split_once("Test unit written to ").map(|(_, path)| path))?;
            let kept = findings.join(Path::new(written).file_name()?);
            disk::create_folder(findings).ok()?;
            std::fs::rename(folder.join(written), &kept).ok()?;
            kept
        }
    };
    Some(format!("{}: {}", cargo::shown(&path), message.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_log() {
        let log = "#2\tINITED cov: 7 ft: 8\n#9\tDONE   cov: 636 ft: 1660 corp: 4/1b\nstat::number_of_executed_units: 281988\n";
        let outcome = read(log, true);
        assert_eq!((outcome.runs, outcome.coverage, outcome.finding), (281_988, 636, None));
        assert!(read(log, false).finding.is_some());
    }

    #[test]
    fn parses_targets_and_inputs() {
        let all = targets().expect("there are seeds");
        assert_eq!(Job::parse("names", &all), Ok(Job { target: "names".to_owned(), input: None }));
        let seed = cargo::root().join("fuzz/seeds/unpack/links");
        let job = Job::parse(&seed.display().to_string(), &all);
        assert_eq!(job, Ok(Job { target: "unpack".to_owned(), input: Some(seed) }));
        assert!(Job::parse("no-such-target", &all).is_err());
    }
}
