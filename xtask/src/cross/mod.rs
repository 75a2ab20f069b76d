//! `cargo xtask cross`: builds pullet as one static file for each target of cross.toml. With `--test` it also runs the
//! core of the integration tests with each binary, under qemu-user if this machine cannot run it.

mod suite;
mod targets;
mod toolchain;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, cargo, debian, disk, mem, shell, show};
use targets::{Emulation, Flavour, Target, Targets};
use toolchain::Way;

/// A binary that was built.
struct Built<'a> {
    target: &'a Target,
    way: Way,
    path: PathBuf,
    bytes: u64,
    budget: Option<u64>,
    /// Where it ran: `here`, or the emulator.
    ran: String,
}

#[derive(Debug, PartialEq)]
struct Options<'a> {
    /// The targets to build; none means all.
    targets: Vec<&'a str>,
    flavour: &'a str,
    way: Option<Way>,
    is_test: bool,
}

pub fn run(words: &[&str]) -> Result {
    let options = parse(words)?;
    let list = targets::read()?;
    build_and_test(&list, &choose(&list, &options.targets)?, &options)
}

/// The targets with these names, or all if there are none.
fn choose<'a>(list: &'a Targets, words: &[&str]) -> Result<Vec<&'a Target>> {
    if words.is_empty() {
        return Ok(list.targets.iter().collect());
    }
    words.iter().map(|word| list.target(word)).collect()
}

/// Builds and tests the first tier, as CI does.
pub fn first_tier() -> Result {
    let list = targets::read()?;
    let chosen: Vec<&Target> = list.targets.iter().filter(|target| target.tier == 1).collect();
    build_and_test(&list, &chosen, &Options { is_test: true, ..Options::default() })
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self { targets: Vec::new(), flavour: "full", way: None, is_test: false }
    }
}

/// A finished binary of the full flavour.
pub struct Binary {
    pub triple: String,
    pub path: PathBuf,
    pub features: Vec<String>,
    /// The version of the compiler, and so of the standard library.
    pub compiler: String,
    is_emulated: bool,
}

impl Binary {
    fn of(built: &Built, flavour: &Flavour) -> Result<Self> {
        let Built { target, way, path, .. } = built;
        Ok(Self {
            triple: target.triple.clone(),
            path: path.clone(),
            features: target.features(flavour).into_iter().map(str::to_owned).collect(),
            compiler: way.compiler()?,
            is_emulated: target.emulation().is_some(),
        })
    }
}

/// The first binary that this machine runs without an emulator.
pub fn runs_here(binaries: &[Binary]) -> Option<&Binary> {
    binaries.iter().find(|binary| !binary.is_emulated)
}

/// Builds the full flavour for one target and returns the path of the binary.
pub fn one(word: &str) -> Result<PathBuf> {
    let mut binaries = full(&[word])?;
    Ok(binaries.remove(0).path)
}

/// Builds the full flavour for these targets, or for all if there are none.
pub fn full(words: &[&str]) -> Result<Vec<Binary>> {
    let list = targets::read()?;
    let chosen = choose(&list, words)?;
    prepare(&chosen)?;
    let flavour = list.flavour("full")?;
    let built = chosen.iter().map(|target| build(target, flavour, None)).collect::<Result<Vec<_>>>()?;
    write_sums()?;
    built.iter().map(|built| Binary::of(built, flavour)).collect()
}

/// The triples of all targets.
#[cfg(test)]
pub fn triples() -> Result<Vec<String>> {
    Ok(targets::read()?.targets.into_iter().map(|target| target.triple).collect())
}

fn parse<'a>(words: &[&'a str]) -> Result<Options<'a>> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--test" => options.is_test = true,
            "--flavour" => options.flavour = words.next().ok_or("--flavour: missing name")?,
            "--way" => options.way = Some(Way::of(words.next().ok_or("--way: missing letter")?)?),
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            target => options.targets.push(target),
        }
    }
    Ok(options)
}

fn build_and_test(list: &Targets, chosen: &[&Target], options: &Options) -> Result {
    let flavour = list.flavour(options.flavour)?;
    prepare(chosen)?;
    let built = chosen.iter().map(|target| build(target, flavour, options.way)).collect::<Result<Vec<_>>>()?;
    write_sums()?;
    show_table(&built, flavour);
    if options.is_test {
        for Built { target, path, .. } in &built {
            suite::run(target, flavour, path)?;
            // Under an emulator, the memory is mostly the emulator's.
            if target.emulation().is_none() && flavour.has("default") {
                mem::of(path)?;
                mem::confined(path)?;
            }
        }
    }
    let above = built.iter().filter(|built| built.budget.is_some_and(|budget| built.bytes > budget));
    let above: Vec<&str> = above.map(|built| built.target.triple.as_str()).collect();
    if above.is_empty() { Ok(()) } else { Err(format!("above the budget: {}", above.join(", "))) }
}

fn prepare(chosen: &[&Target]) -> Result {
    debian::need(&[("readelf", "binutils")])?;
    if chosen.iter().any(|target| target.emulation().is_some()) {
        debian::need_packages(&["qemu-user"])?;
    }
    disk::create_folder(&dist()?)
}

fn build<'a>(target: &'a Target, flavour: &Flavour, way: Option<Way>) -> Result<Built<'a>> {
    let way = toolchain::choose(target, flavour, way)?;
    println!("{} ({}), {}: {}", show::bold(&target.triple), flavour.name, way.letter(), way.name());
    let binary = toolchain::build(target, flavour, way)?;
    let suffix = if flavour.name == "full" { String::new() } else { format!("-{}", flavour.name) };
    let path = dist()?.join(format!("pullet-{}{suffix}", target.triple));
    disk::named("copy", &path, std::fs::copy(&binary, &path))?;
    check_static(&path)?;
    let budget = target.budgets.get(&flavour.name).copied();
    let ran = run_once(target, &path)?;
    let bytes = disk::size(&path)?;
    Ok(Built { target, way, path, bytes, budget, ran })
}

/// Fails if the file needs a dynamic loader or shared libraries.
fn check_static(path: &Path) -> Result {
    let headers = shell::read(shell::program("readelf").args(["--program-headers", "--wide"]).arg(path))?;
    let is_dynamic = |line: &str| matches!(line.split_whitespace().next(), Some("DYNAMIC" | "INTERP"));
    match headers.lines().find(|line| is_dynamic(line)) {
        Some(line) => Err(format!("{}: not static: {}", path.display(), line.trim())),
        None => Ok(()),
    }
}

/// Runs `--version`, which proves that relocation, start-up and output work.
fn run_once(target: &Target, path: &Path) -> Result<String> {
    let mut command = command(target, path);
    let output = shell::read(command.arg("--version"))?;
    if !output.starts_with("pullet ") {
        return Err(format!("{}: unexpected output {output:?}", shell::words(&command)));
    }
    Ok(target.emulation().map_or("here".into(), |Emulation { program, cpu }| format!("{program}, {cpu}")))
}

/// A command that runs the program, under its emulator if it needs one.
fn command(target: &Target, path: &Path) -> Command {
    let Some(Emulation { program, cpu }) = target.emulation() else { return Command::new(path) };
    let mut command = shell::program(program);
    command.args(["-cpu", cpu]).arg(path);
    command
}

fn show_table(built: &[Built], flavour: &Flavour) {
    println!("\n{:<33}{:<12}{:<5}{:>9}{:>11}  {:<8}ran", "target", "flavour", "way", "bytes", "budget", "linked");
    for Built { target, way, bytes, budget, ran, .. } in built {
        let budget = budget.map_or("-".into(), |budget| budget.to_string());
        let (triple, way) = (&target.triple, way.letter());
        println!("{triple:<33}{:<12}{way:<5}{bytes:>9}{budget:>11}  {:<8}{ran}", flavour.name, "static");
    }
    println!();
}

/// The folder of the finished binaries.
fn dist() -> Result<PathBuf> {
    Ok(cargo::target()?.join("dist"))
}

/// Writes the checksums of all finished binaries, in the format of sha256sum.
fn write_sums() -> Result {
    let folder = dist()?;
    let names: Vec<PathBuf> = disk::list(&folder)?.into_iter().filter(|path| !path.ends_with(SUMS)).collect();
    let names = names.iter().filter_map(|path| path.file_name());
    let sums = shell::read(Command::new("sha256sum").current_dir(&folder).arg("--").args(names))?;
    disk::write(&folder.join(SUMS), &sums)
}

const SUMS: &str = "SHA256SUMS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_options() {
        assert_eq!(parse(&[]), Ok(Options::default()));
        let some = Options { targets: vec!["armv7", "i686"], flavour: "tiny", way: Some(Way::Debian), is_test: true };
        assert_eq!(parse(&["armv7", "--flavour", "tiny", "--test", "--way", "C", "i686"]), Ok(some));
        assert!(parse(&["--way", "D"]).is_err());
        assert!(parse(&["--flavour"]).is_err());
        assert!(parse(&["--tets"]).is_err());
    }

    #[test]
    fn runs_other_architectures_under_an_emulator() {
        let list = targets::read().unwrap();
        let words = |word| shell::words(&command(list.target(word).unwrap(), Path::new("/p")));
        assert_eq!(words("x86_64"), "/p");
        assert!(words("armv5te").ends_with("qemu-arm -cpu arm926 /p"), "{}", words("armv5te"));
    }
}
