//! `cargo xtask package`: makes the packages of a release from the static binaries of `cargo xtask cross`, into
//! target/package. packaging/ has their texts and the list of their files. The same commit gives the same bytes.

mod archive;
mod contents;
mod deb;
mod image;
mod lock;
mod release;
mod rpm;
mod sbom;
pub mod sign;
mod source;
mod tree;
mod trial;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::disk::Temporary;
use crate::{Result, cargo, cross, debian, disk, shell, show};
use contents::{Contents, Item, Kind, Names};
use release::Release;

/// The programs that make packages, with their Debian packages.
const PROGRAMS: &[(&str, &str)] =
    &[("dpkg-deb", "dpkg"), ("git", "git"), ("gzip", "gzip"), ("rpmbuild", "rpm"), ("tar", "tar")];
const SUMS: &str = "SHA256SUMS";

/// A target with its binary.
struct Target<'a> {
    triple: &'a str,
    binary: &'a Path,
    names: &'a Names,
    features: &'a [String],
    /// The version of the compiler.
    compiler: &'a str,
    maintainer: &'a str,
    contents: &'a Contents,
}

impl Target<'_> {
    fn items(&self, release: &Release, kind: Kind) -> Result<Vec<Item>> {
        self.contents.items(&release.root, self.binary, kind)
    }
}

#[derive(Debug, Default, PartialEq)]
struct Options<'a> {
    /// The targets; none means all.
    targets: Vec<&'a str>,
    /// The folder for the packages, if not target/package.
    out: Option<&'a str>,
    /// Try the packages of the first target that this machine runs.
    is_test: bool,
}

pub fn run(words: &[&str]) -> Result {
    let options = parse(words)?;
    debian::need(PROGRAMS)?;
    let out = match options.out {
        Some(folder) => std::env::current_dir().map_err(|e| format!("current folder: {e}"))?.join(folder),
        None => cargo::target()?.join("package"),
    };
    let binaries = cross::full(&options.targets)?;
    let files = make(&binaries, &out)?;
    for file in &files {
        println!("{:>9}  {}", disk::size(file)?, cargo::shown(file));
    }
    println!("{} in {}", show::count(files.len(), "file"), cargo::shown(&out));
    if options.is_test {
        test(&binaries, &out, &[trial::QUICK, trial::LONG].concat())?;
    }
    Ok(())
}

/// Makes and tries the packages of one target, as CI does.
pub fn sample() -> Result {
    debian::need(PROGRAMS)?;
    let out = cargo::target()?.join("package");
    let binaries = cross::full(&["x86_64"])?;
    make(&binaries, &out)?;
    test(&binaries, &out, trial::QUICK)
}

/// Makes the packages again in another folder, compares them, and tries those of the first binary that runs here.
fn test(binaries: &[cross::Binary], out: &Path, trials: &[trial::Trial]) -> Result {
    let start = Instant::now();
    let work = Temporary::new(out.with_extension("test"))?;
    let again = work.path().join("again");
    make(binaries, &again)?;
    expect_same(out, &again)?;
    println!("{} made again in another folder: the same bytes ({})", show::green("ok"), show::seconds(start.elapsed()));
    let release = Release::new(out.to_owned(), work.path().to_owned())?;
    let contents = contents::read(&release.root)?;
    let binary = cross::runs_here(binaries).ok_or("this machine runs none of the targets")?;
    let subject = trial::Subject {
        out,
        binary: &binary.path,
        names: contents.names(&binary.triple)?,
        triple: &binary.triple,
        version: &release.version,
        homepage: &release.homepage,
        image: &image::name(&release),
        work: work.path(),
    };
    trial::run(&subject, trials)
}

/// Fails if two folders do not have the same files.
fn expect_same(one: &Path, other: &Path) -> Result {
    let names = |folder: &Path| -> Result<Vec<String>> {
        let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(disk::list(folder)?.iter().map(name).collect())
    };
    let (here, there) = (names(one)?, names(other)?);
    if here != there {
        return Err(format!("two builds made different files: {here:?}, {there:?}"));
    }
    for name in here {
        if disk::read_bytes(&one.join(&name))? != disk::read_bytes(&other.join(&name))? {
            return Err(format!("two builds made different bytes of {name}"));
        }
    }
    Ok(())
}

fn parse<'a>(words: &[&'a str]) -> Result<Options<'a>> {
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--test" => options.is_test = true,
            "--out" => options.out = Some(words.next().ok_or("--out: missing folder")?),
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            target => options.targets.push(target),
        }
    }
    Ok(options)
}

/// Makes all packages for these binaries in an empty folder, and returns their paths.
fn make(binaries: &[cross::Binary], out: &Path) -> Result<Vec<PathBuf>> {
    disk::fresh(out)?;
    let work = Temporary::new(out.with_extension("work"))?;
    let release = Release::new(out.to_owned(), work.path().to_owned())?;
    let contents = contents::read(&release.root)?;
    let pullet = cross::runs_here(binaries).map_or_else(|| cargo::build("dev"), |binary| Ok(binary.path.clone()))?;
    let mut files = source::make(&release)?;
    for binary in binaries {
        let names = contents.names(&binary.triple)?;
        let target = Target {
            triple: &binary.triple,
            binary: &binary.path,
            names,
            features: &binary.features,
            compiler: &binary.compiler,
            maintainer: &contents.maintainer,
            contents: &contents,
        };
        files.push(archive::make(&release, &target)?);
        files.push(image::make(&release, &target, &pullet)?);
        files.push(sbom::make(&release, &target)?);
        files.extend(deb::make(&release, &target)?);
        files.extend(rpm::make(&release, &target)?);
    }
    files.push(write_sums(out)?);
    files.sort();
    Ok(files)
}

/// Writes the checksums of all packages, in the format of sha256sum.
fn write_sums(out: &Path) -> Result<PathBuf> {
    let paths = disk::list(out)?;
    let names = paths.iter().filter_map(|path| path.file_name());
    let sums = shell::read(Command::new("sha256sum").current_dir(out).arg("--").args(names))?;
    let file = out.join(SUMS);
    disk::write(&file, sums)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_options() {
        assert_eq!(parse(&[]), Ok(Options::default()));
        let some = Options { targets: vec!["x86_64", "armv7"], out: Some("p"), is_test: true };
        assert_eq!(parse(&["x86_64", "--out", "p", "--test", "armv7"]), Ok(some));
        assert!(parse(&["--out"]).is_err());
        assert!(parse(&["--tets"]).is_err());
    }
}
