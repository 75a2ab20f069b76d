//! `cargo xtask mutants`: breaks pullet's promises one by one and checks that a test notices each. A mutation is a
//! change of one place in `src`, with the test that must fail because of it. SECURITY.md lists the promises.
//!
//! The mutations are applied to a copy of the source tree in `target/mutants`, with a target folder of its own, so a
//! mutation costs one incremental build of the program. The tests are those of the unchanged tree. They run in a mount
//! namespace in which only their temporary folder is writable, because a mutated program may write anywhere.
//!
//! A new mutation is a line in `list`. Its search text must occur exactly once in its file.

mod list;
mod tree;

use std::path::{Path, PathBuf};
use std::time::Instant;

use kit::noise::Noise;

use self::list::{Mutation, NoticedBy, mutations};
use self::tree::Tree;
use crate::{Result, cargo, crash, debian, disk, shell, show};

/// The number of mutations that `cargo xtask test` tries.
const SAMPLE: usize = 5;
const USAGE: &str = "cargo xtask mutants [--sample COUNT [--seed SEED]] [NAME...]";
/// Makes everything but the folder `$1` read-only, uses it for temporary files, and runs the rest of the arguments.
const CONFINED: &str = "\
set -e
mount -t tmpfs -o mode=1777 tmpfs \"$1\"
mount -o remount,bind,ro /
TMPDIR=$1
export TMPDIR
shift
exec \"$@\"";

pub fn run(words: &[&str]) -> Result {
    let chosen = choose(words)?;
    debian::need_for_tests()?;
    let start = Instant::now();
    let bench = Bench::new()?;
    bench.check_unchanged(&chosen)?;
    println!("{:<36}{:>8}  noticed by", "mutation", "seconds");
    let mut failures = Vec::new();
    for mutation in &chosen {
        let start = Instant::now();
        let outcome = bench.try_out(mutation);
        let by = match &outcome {
            Ok(true) => mutation.noticed_by.to_string(),
            Ok(false) => format!("NOT by {}", mutation.noticed_by),
            Err(_) => "could not be tried".to_owned(),
        };
        println!("{:<36}{:>8.1}  {by}", mutation.name, start.elapsed().as_secs_f64());
        match outcome {
            Ok(true) => {}
            Ok(false) => failures.push(format!("{}: not noticed: {}", mutation.name, mutation.promise)),
            Err(reason) => failures.push(format!("{}: {reason}", mutation.name)),
        }
    }
    let (all, noticed) = (chosen.len(), chosen.len() - failures.len());
    println!("{noticed} of {all} mutations were noticed, in {}", show::seconds(start.elapsed()));
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// Tries the sample of `cargo xtask test`. Every day has another one.
pub fn sample() -> Result {
    run(&["--sample", &SAMPLE.to_string()])
}

/// The named mutations, a sample, or all of them.
fn choose(words: &[&str]) -> Result<Vec<&'static Mutation>> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is not a number\nusage: {USAGE}"));
    let (count, seed) = match words {
        ["--sample", count] => (number(count)?, day()),
        ["--sample", count, "--seed", seed] => (number(count)?, number(seed)?),
        [] => return Ok(mutations().collect()),
        names => {
            let find = |name: &&str| mutations().find(|mutation| mutation.name == *name);
            return names
                .iter()
                .map(|name| find(name).ok_or_else(|| format!("no mutation {name:?}\nusage: {USAGE}")))
                .collect();
        }
    };
    println!("a sample of {count} mutations, chosen by --seed {seed}");
    let (mut all, mut noise): (Vec<_>, _) = (mutations().collect(), Noise::new(seed));
    let mut chosen = Vec::new();
    while (chosen.len() as u64) < count && !all.is_empty() {
        chosen.push(all.swap_remove(noise.below(all.len() as u64) as usize));
    }
    Ok(chosen)
}

/// The number of days since 1970.
fn day() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs() / 86_400)
}

/// The copy of the source tree, and the tests of the unchanged one.
struct Bench {
    tree: Tree,
    /// The integration tests.
    tests: PathBuf,
    /// For the temporary files of the tests.
    temporary: PathBuf,
}

impl Bench {
    fn new() -> Result<Self> {
        let folder = cargo::target()?.join("mutants");
        let temporary = folder.join("tmp");
        disk::create_folder(&temporary)?;
        let mut tests = cargo::command(&["test", "--quiet", "--no-run", "--all-features", "--test", "it"]);
        let built = shell::read(tests.arg("--message-format=json-render-diagnostics"))?;
        Ok(Self { tree: Tree::copy(&folder)?, tests: cargo::executable(&built, "it-")?, temporary })
    }

    /// Checks that the tests pass without a mutation, because a test that always fails notices nothing.
    fn check_unchanged(&self, mutations: &[&Mutation]) -> Result {
        let binary = self.tree.build()?;
        let mut checks: Vec<NoticedBy> = mutations.iter().map(|mutation| mutation.noticed_by).collect();
        checks.sort();
        checks.dedup();
        for check in checks {
            self.check(check, &binary)?.map_err(|reason| format!("{check} fails without a mutation: {reason}"))?;
        }
        Ok(())
    }

    /// True if the test notices the mutation.
    fn try_out(&self, mutation: &Mutation) -> Result<bool> {
        let changed = self.tree.change(mutation)?;
        let outcome = self.tree.build().and_then(|binary| self.check(mutation.noticed_by, &binary));
        // Also if it does not build, because the next mutation would not build either.
        changed.restore()?;
        Ok(outcome?.is_err())
    }

    /// Runs a test with this program. The inner result is that of the test.
    fn check(&self, check: NoticedBy, binary: &Path) -> Result<Result> {
        match check {
            NoticedBy::Trace(scenario) => {
                crash::find_scenario(scenario).map(|()| crash::check_traces(binary, Some(scenario)))
            }
            NoticedBy::Test(name) => self.run_test(name, binary),
        }
    }

    fn run_test(&self, name: &str, binary: &Path) -> Result<Result> {
        let mut command = shell::program("unshare");
        if !debian::is_root()? {
            command.arg("--map-root-user");
        }
        command.args(["--mount", "--propagation", "private", "sh", "-c", CONFINED, "sh"]).arg(&self.temporary);
        command.arg(&self.tests).args(["--exact", name]).env("PULLET_BINARY", binary).current_dir(cargo::root());
        let output = shell::try_output(&mut command)?;
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        if !text.contains("running 1 test\n") {
            return Err(format!("there is no test {name}: {text}"));
        }
        Ok(if output.status.success() { Ok(()) } else { Err(text.into_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The names are arguments, and every place is still there.
    #[test]
    fn every_mutation_has_a_name_and_a_place() {
        let names: BTreeSet<&str> = mutations().map(|mutation| mutation.name).collect();
        assert_eq!(names.len(), mutations().count());
        for mutation in mutations() {
            let text = disk::read(&cargo::root().join("src").join(mutation.file)).unwrap();
            assert_eq!(text.matches(mutation.old).count(), 1, "{}: {}", mutation.name, mutation.old);
            assert_ne!(mutation.old, mutation.new, "{}", mutation.name);
            if let NoticedBy::Trace(scenario) = mutation.noticed_by {
                assert_eq!(crash::find_scenario(scenario), Ok(()));
            }
        }
    }

    #[test]
    fn chooses_by_name_and_by_seed() {
        assert_eq!(choose(&[]).unwrap().len(), mutations().count());
        assert_eq!(choose(&["digest-ignored"]).unwrap()[0].name, "digest-ignored");
        assert!(choose(&["no such mutation"]).is_err());
        let sample = |seed| -> Vec<_> {
            choose(&["--sample", "3", "--seed", seed]).unwrap().iter().map(|mutation| mutation.name).collect()
        };
        assert_eq!((sample("7").len(), sample("7") == sample("7")), (3, true));
        assert_ne!(sample("7"), sample("8"));
    }
}
