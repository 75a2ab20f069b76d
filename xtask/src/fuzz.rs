//! `cargo xtask fuzz`: the targets of `fuzz/`, one after the other, each for so many seconds; or files, each with the
//! target that its folder is named after.
//!
//! The targets are libFuzzer's, from the crate `libfuzzer-sys`, and are built here with cargo and rustc's flags for
//! coverage, which are stable. cargo-fuzz sets the same flags, but its sanitizer needs a nightly compiler, and it would
//! be one more program to install. A sanitizer finds what safe code cannot have: pullet has no `unsafe`. What is looked
//! for is found without one: panics, overflows, hangs, memory, and files outside of the target.
//!
//! Each runs in a mount namespace of its own where all but its folders is read-only and images are unpacked into a tmpfs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, cargo, debian, disk, shell, show};

/// The targets are a workspace of their own.
pub const MANIFEST: &str = "fuzz/Cargo.toml";

const NEEDED: &[(&str, &str)] = &[("g++", "g++"), ("unshare", "util-linux")];

/// What libFuzzer needs to see which way an input went.
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

/// An input that takes longer is a finding.
const SLOWEST: u32 = 5;
/// Bytes of an input. A hundredth of it would do to find a panic; what is quadratic shows at such a length.
const LONGEST: u32 = 64 << 10;

/// Everything in the folder of a target becomes read-only, and `tmpfs` in it a file system of its own.
const CONFINED: &str = "\
set -e
mount --bind \"$1\" \"$1\"
mount -t tmpfs -o nosuid,nodev,size=256m,mode=755 tmpfs \"$1/tmpfs\"
mount -o remount,bind,ro /
cd \"$1\"
shift
exec \"$@\"";

/// What a target's run came to.
struct Outcome {
    runs: u64,
    coverage: u64,
    finding: Option<String>,
}

pub fn run(words: &[&str]) -> Result {
    let (seconds, words) = match words {
        ["--seconds", seconds, rest @ ..] => (seconds.parse().map_err(|_| format!("{seconds}: no number"))?, rest),
        rest => (60, rest),
    };
    let all = targets()?;
    let chosen = match words.is_empty() {
        true => all.iter().map(|target| (target.clone(), None)).collect(),
        false => words.iter().map(|word| choice(word, &all)).collect::<Result<Vec<_>>>()?,
    };
    debian::need(NEEDED)?;
    let binaries = build()?;
    println!("{:<16}{:>9}{:>12}{:>10}   finding", "target", "seconds", "runs", "edges");
    let mut findings = 0;
    for (target, file) in chosen {
        let outcome = fuzz(&binaries, &target, file.as_deref(), seconds)?;
        findings += usize::from(outcome.finding.is_some());
        let finding = outcome.finding.as_deref().unwrap_or("none");
        println!("{target:<16}{seconds:>9}{:>12}{:>10}   {finding}", outcome.runs, outcome.coverage);
    }
    if findings == 0 { Ok(()) } else { Err(show::count(findings, "finding")) }
}

/// Lints the targets, and with them compiles the door to what is not public. libFuzzer is not built for that.
pub fn lint() -> Result<Command> {
    let mut command = cargo::command(&["clippy", "--quiet", "--locked", "--manifest-path", MANIFEST]);
    command.args(["--no-default-features", "--target-dir"]).arg(cargo::target()?.join("fuzz"));
    command.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", FLAGS[0]).args(["--", "-D", "warnings"]);
    Ok(command)
}

/// Their names, as the seeds have them.
fn targets() -> Result<Vec<String>> {
    let folders = disk::list(&cargo::root().join("fuzz/seeds"))?;
    let names = folders.iter().filter_map(|folder| folder.file_name()?.to_str().map(str::to_owned));
    Ok(names.collect())
}

/// A target, or a file with the target that its folder is named after.
fn choice(word: &str, all: &[String]) -> Result<(String, Option<PathBuf>)> {
    if all.iter().any(|target| target == word) {
        return Ok((word.to_owned(), None));
    }
    let path = std::path::absolute(word).map_err(|e| format!("{word}: {e}"))?;
    let folder = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    match path.is_file() && all.contains(&folder) {
        true => Ok((folder, Some(path))),
        false => Err(format!("{word} is no target ({}), nor a file in a folder of that name", all.join(", "))),
    }
}

/// Builds all targets and gives the folder of the binaries.
fn build() -> Result<PathBuf> {
    let version = shell::read(Command::new("rustc").arg("-vV").current_dir(cargo::root()))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).ok_or("rustc -vV names no host")?;
    let target = cargo::target()?.join("fuzz");
    let mut command = cargo::command(&["build", "--quiet", "--release", "--locked", "--manifest-path", MANIFEST]);
    // With a target named, the flags are not for build scripts.
    command.args(["--target", host, "--target-dir"]).arg(&target);
    command.env_remove("RUSTFLAGS").env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    shell::run(&mut command)?;
    Ok(target.join(host).join("release"))
}

/// Runs a target on its seeds and on from there, or on one file.
fn fuzz(binaries: &Path, target: &str, file: Option<&Path>, seconds: u32) -> Result<Outcome> {
    let folder = cargo::target()?.join("fuzz/runs").join(target);
    for name in ["corpus", "tmpfs"] {
        disk::create_folder(&folder.join(name))?;
    }
    let findings = cargo::target()?.join("fuzz/findings").join(target);
    let _ = std::fs::remove_dir_all(folder.join(target));
    disk::create_folder(&folder.join(target))?;
    let mut command = confined(&folder, &binaries.join(target))?;
    match file {
        Some(file) => drop(command.arg(file)),
        None => {
            command.arg("corpus").arg(cargo::root().join("fuzz/seeds").join(target));
            // No time at all means no end; no runs mean the corpus alone.
            let end = if seconds == 0 { "-runs=0".to_owned() } else { format!("-max_total_time={seconds}") };
            command.args([end, format!("-max_len={LONGEST}")]);
        }
    }
    command.args([format!("-timeout={SLOWEST}"), format!("-artifact_prefix={target}/")]);
    command.args(["-print_final_stats=1", "-rss_limit_mb=512"]);
    let output = shell::try_output(&mut command)?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    disk::write(&folder.join("log"), &log)?;
    let mut outcome = read(&log, output.status.success());
    if outcome.finding.is_some() {
        outcome.finding =
            Some(keep(&log, &folder, &findings, file).unwrap_or_else(|| cargo::shown(&folder.join("log"))));
    }
    Ok(outcome)
}

/// A command in a mount namespace, with root's rights over it.
fn confined(folder: &Path, binary: &Path) -> Result<Command> {
    let mut command = shell::program("unshare");
    if !debian::is_root()? {
        command.arg("--map-root-user");
    }
    command.args(["--mount", "--propagation", "private", "sh", "-c", CONFINED, "sh"]).arg(folder).arg(binary);
    command.env("PULLET_FUZZ_FOLDER", folder.join("tmpfs"));
    Ok(command)
}

/// What libFuzzer says of a run.
fn read(log: &str, has_succeeded: bool) -> Outcome {
    let number = |text: &str| text.split_whitespace().next().and_then(|word| word.parse().ok());
    let runs = log.lines().find_map(|line| number(line.strip_prefix("stat::number_of_executed_units:")?));
    let coverage = log.lines().rev().find_map(|line| number(line.split_once(" cov: ")?.1));
    let finding = (!has_succeeded).then(|| "it ended in failure".to_owned());
    Outcome { runs: runs.unwrap_or(0), coverage: coverage.unwrap_or(0), finding }
}

/// Puts the input that failed where the next run leaves it, and names it with what was said.
fn keep(log: &str, folder: &Path, findings: &Path, file: Option<&Path>) -> Option<String> {
    let said = log.lines().find(|line| line.contains("panicked at") || line.contains("ERROR: libFuzzer"))?;
    let said = said.trim_start_matches("==").trim_start_matches(|c: char| c.is_ascii_digit() || c == '=');
    let path = match file {
        Some(file) => file.to_owned(),
        None => {
            let written =
                log.lines().find_map(|line| line.split_once("Test unit written to ").map(|(_, path)| path))?;
            let kept = findings.join(Path::new(written).file_name()?);
            disk::create_folder(findings).ok()?;
            std::fs::rename(folder.join(written), &kept).ok()?;
            kept
        }
    };
    Some(format!("{}: {}", cargo::shown(&path), said.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_read() {
        let log = "#2\tINITED cov: 7 ft: 8\n#9\tDONE   cov: 636 ft: 1660 corp: 4/1b\nstat::number_of_executed_units: 281988\n";
        let outcome = read(log, true);
        assert_eq!((outcome.runs, outcome.coverage, outcome.finding), (281_988, 636, None));
        assert!(read(log, false).finding.is_some());
    }

    #[test]
    fn a_target_is_chosen_by_name_or_by_a_file_of_its_folder() {
        let all = targets().expect("there are seeds");
        assert_eq!(choice("names", &all), Ok(("names".to_owned(), None)));
        let seed = cargo::root().join("fuzz/seeds/unpack/links");
        let chosen = choice(&seed.display().to_string(), &all);
        assert_eq!(chosen, Ok(("unpack".to_owned(), Some(seed))));
        assert!(choice("no-such-target", &all).is_err());
    }
}
