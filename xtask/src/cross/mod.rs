//! `cargo xtask cross`: pullet as one static file for each target of cross.toml, on a machine that need have nothing but
//! Rust; with `--test` the core of the integration tests with each of them, under qemu-user where it is foreign.

mod elf;
mod suite;
mod targets;
mod toml;
mod toolchain;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, cargo, debian, disk, mem, shell, show};
use elf::Linking;
use targets::{Flavour, Target, Targets};
use toolchain::Way;

/// A binary that was built, and what was found out about it.
struct Built<'a> {
    target: &'a Target,
    way: Way,
    path: PathBuf,
    bytes: u64,
    budget: Option<u64>,
    ran: String,
}

/// What the command line asks for.
#[derive(Debug, PartialEq)]
struct Asked<'a> {
    targets: Vec<&'a str>,
    flavour: &'a str,
    way: Option<Way>,
    is_test: bool,
}

pub fn run(words: &[&str]) -> Result {
    let asked = parse(words)?;
    let list = targets::read()?;
    let chosen = match asked.targets[..] {
        [] => list.targets.iter().collect(),
        ref words => words.iter().map(|word| list.target(word)).collect::<Result<Vec<_>>>()?,
    };
    build_and_test(&list, &chosen, &asked)
}

/// What CI does: the first tier, built and tested.
pub fn first_tier() -> Result {
    let list = targets::read()?;
    let chosen: Vec<&Target> = list.targets.iter().filter(|target| target.tier == 1).collect();
    build_and_test(&list, &chosen, &Asked { is_test: true, ..Asked::default() })
}

impl Default for Asked<'_> {
    fn default() -> Self {
        Self { targets: Vec::new(), flavour: "full", way: None, is_test: false }
    }
}

/// The whole pullet for one target, built where it is not up to date.
pub fn one(word: &str) -> Result<PathBuf> {
    let list = targets::read()?;
    let target = list.target(word)?;
    prepare(&[target])?;
    let built = build(target, list.flavour("full")?, None)?;
    write_sums()?;
    Ok(built.path)
}

fn parse<'a>(words: &[&'a str]) -> Result<Asked<'a>> {
    let mut asked = Asked::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--test" => asked.is_test = true,
            "--flavour" => asked.flavour = words.next().ok_or("--flavour: a name is missing")?,
            "--way" => asked.way = Some(Way::of(words.next().ok_or("--way: a letter is missing")?)?),
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            target => asked.targets.push(target),
        }
    }
    Ok(asked)
}

fn build_and_test(list: &Targets, chosen: &[&Target], asked: &Asked) -> Result {
    let flavour = list.flavour(asked.flavour)?;
    prepare(chosen)?;
    let built = chosen.iter().map(|target| build(target, flavour, asked.way)).collect::<Result<Vec<_>>>()?;
    write_sums()?;
    show_table(&built, flavour);
    if asked.is_test {
        for Built { target, path, .. } in &built {
            suite::run(target, flavour, path)?;
            // An emulator's memory is not ours.
            if target.emulator.is_none() && flavour.has("default") {
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
    if chosen.iter().any(|target| target.emulator.is_some()) {
        debian::need_packages(&["qemu-user"])?;
    }
    disk::create_folder(&dist()?)
}

fn build<'a>(target: &'a Target, flavour: &Flavour, asked: Option<Way>) -> Result<Built<'a>> {
    let way = toolchain::way(target, flavour, asked)?;
    println!("{} ({}), {}: {}", show::bold(&target.triple), flavour.name, way.letter(), way.name());
    let binary = toolchain::build(target, flavour, way)?;
    let suffix = if flavour.name == "full" { String::new() } else { format!("-{}", flavour.name) };
    let path = dist()?.join(format!("pullet-{}{suffix}", target.triple));
    disk::named("copy", &path, std::fs::copy(&binary, &path))?;
    let bytes = disk::named("read", &path, std::fs::read(&path))?;
    match elf::linking(&bytes).map_err(|why| format!("{}: {why}", path.display()))? {
        Linking::Static => {}
        Linking::Dynamic(how) => return Err(format!("{}: not static: {how}", path.display())),
    }
    let budget = target.budgets.get(&flavour.name).copied();
    let ran = run_once(target, &path)?;
    Ok(Built { target, way, path, bytes: bytes.len() as u64, budget, ran })
}

/// Lets it say its version, which is more than it seems: relocation, start-up and output all work.
fn run_once(target: &Target, path: &Path) -> Result<String> {
    let mut command = command(target, path);
    let said = shell::read(command.arg("--version"))?;
    if !said.starts_with("pullet ") {
        return Err(format!("{}: said {said:?}", shell::words(&command)));
    }
    Ok(target.emulator.as_ref().map_or("here".into(), |[program, cpu]| format!("{program}, {cpu}")))
}

/// The program, under its emulator if it needs one.
fn command(target: &Target, path: &Path) -> Command {
    let Some([program, cpu]) = &target.emulator else { return Command::new(path) };
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

/// Where what may be given to others lies.
fn dist() -> Result<PathBuf> {
    Ok(cargo::target()?.join("dist"))
}

/// The sums of all that lies there, in the form of sha256sum.
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
    fn what_is_asked_for() {
        assert_eq!(parse(&[]), Ok(Asked::default()));
        let some = Asked { targets: vec!["armv7", "i686"], flavour: "tiny", way: Some(Way::Debian), is_test: true };
        assert_eq!(parse(&["armv7", "--flavour", "tiny", "--test", "--way", "C", "i686"]), Ok(some));
        assert!(parse(&["--way", "D"]).is_err());
        assert!(parse(&["--flavour"]).is_err());
        assert!(parse(&["--tets"]).is_err());
    }

    #[test]
    fn a_foreign_program_runs_under_its_emulator() {
        let list = targets::read().unwrap();
        let words = |word| shell::words(&command(list.target(word).unwrap(), Path::new("/p")));
        assert_eq!(words("x86_64"), "/p");
        assert!(words("armv5te").ends_with("qemu-arm -cpu arm926 /p"), "{}", words("armv5te"));
    }
}
