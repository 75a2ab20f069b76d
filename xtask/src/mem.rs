//! `cargo xtask mem [PROFILE]`: measures the peak memory of pull, unpack, export, save, load and blob: with a small layer, with one of 1 GiB over
//! plain HTTP and over TLS, with several jobs, and with the images of `cargo xtask bench` that exist. All must stay
//! within the budget, and the big layer must not need more memory than the small one. The CPU seconds are shown to
//! compare profiles; they have no budget.

use std::path::{Path, PathBuf};

use crate::archive;
use crate::disk::Temporary;
use crate::image::{Image, Layer};
use crate::registry::Registry;
use crate::{Result, bench, cargo, debian, disk, push, shell, show};

const MIB: u64 = 1024 * 1024;
/// Resident memory of a static binary. TLS includes the machine's CA certificates.
const STATIC: Budget = Budget { plain: 3 * MIB, tls: 4 * MIB };
/// The same for a dynamic binary, which also maps the C library and the loader. Pages of the program itself count too, so
/// its size is a part of these numbers.
const DYNAMIC: Budget = Budget { plain: 19 * MIB / 4, tls: 11 * MIB / 2 };
/// Additional memory for a zstd layer: its window.
const WINDOW: u64 = 8 * MIB;
/// Additional memory for an image that is written to a file or a device: its head, its window, and what it is compared with.
const RAW: u64 = 3 * MIB / 2;
/// The memory limit of a small machine, including the page cache of the files that pullet writes.
const CONFINED: u64 = 16 * MIB;
/// The most that the big layer may need above the small one: noise of pages and allocators.
const GROWTH: u64 = MIB;

/// Additional memory of an export for an image with [`MANY`] entries in two layers: 20 bytes for each, up to 12 for the table
/// of names while it grows, and what allocators keep.
const MERGED_TREE: u64 = 40 * MIB;
/// The entries of an image with many.
const MANY: u32 = 1_000_000;
const MANY_TAG: &str = "many";

/// Additional memory for each job after the first: a connection, a stack, and for one of them the buffers for inflating
/// ahead.
const JOB: u64 = 3 * MIB / 2;
/// The number of jobs to measure.
const JOBS: u64 = 4;

/// Change this with the content of the images, so that they are made again.
const VERSION: &str = "images-3";
const REPOSITORY: &str = "mem";
/// An image with several layers, so that jobs can work in parallel.
const LAYERED: &str = "layered";
const LAYERS: u8 = 12;
const SMALL: Subject = Subject { tag: "small", name: "1 MiB", size: MIB };
const BIG: Subject = Subject { tag: "big", name: "1 GiB", size: 1024 * MIB };

/// An image of one layer with one file.
struct Subject {
    tag: &'static str,
    name: &'static str,
    size: u64,
}

/// Peak resident memory of each command, in bytes.
type Peaks = Vec<(&'static str, u64)>;

#[derive(Clone, Copy)]
struct Budget {
    plain: u64,
    tls: u64,
}

/// A binary to measure.
struct Bench<'a> {
    binary: &'a Path,
    /// A command that runs the binary with its arguments; empty for none.
    wrapper: Vec<String>,
    folder: PathBuf,
    registry: Registry,
    budget: Budget,
}

/// An image to pull and unpack.
struct Case {
    about: String,
    name: String,
    /// Options for the command that pulls.
    options: Vec<String>,
    budget: u64,
}

pub fn run(words: &[&str]) -> Result {
    let profile = match words {
        [] => "release",
        [profile] => profile,
        _ => return Err("expected one profile at most".into()),
    };
    let binary = cargo::build(profile)?;
    let bench = Bench::new(&binary, DYNAMIC)?;
    bench.measure_both()?;
    bench.measure_images()
}

/// Measures an existing static binary, without the images of the benchmark.
pub fn of(binary: &Path) -> Result {
    Bench::new(binary, STATIC)?.measure_both()
}

/// Pulls and unpacks the big layer with limited memory: first the address space is limited, then a control group.
pub fn confined(binary: &Path) -> Result {
    let mut bench = Bench::new(binary, STATIC)?;
    let shell = |script: String| ["sh", "-c", &script, "sh"].map(str::to_owned).to_vec();
    println!("in an address space of {}", show::bytes(CONFINED));
    bench.wrapper = shell(format!("ulimit -v {} && exec \"$@\"", CONFINED / 1024));
    bench.measure(&bench.plain(&BIG))?;
    let Some(group) = Group::new() else {
        println!("skipped: cannot create a control group on this machine");
        return Ok(());
    };
    println!("in a control group of {}", show::bytes(CONFINED));
    bench.wrapper = shell(format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.0.display()));
    bench.measure(&bench.plain(&BIG)).map(drop)
}

/// A control group with a memory limit. It is removed on drop.
struct Group(PathBuf);

impl Group {
    /// Creates a group of cgroup version 1 or 2, or returns `None` if neither works.
    fn new() -> Option<Self> {
        let name = format!("pullet-{}", std::process::id());
        let versions = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        versions.into_iter().find_map(|(root, limit)| {
            let path = Path::new(root).join(&name);
            std::fs::create_dir(&path).ok()?;
            let group = Self(path);
            std::fs::write(group.0.join(limit), CONFINED.to_string()).ok()?;
            Some(group)
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir(&self.0) {
            eprintln!("xtask: remove {}: {error}", self.0.display());
        }
    }
}

/// A registry with the images. They are made once and kept, because the big one takes a minute.
fn registry_with_images(folder: &Path) -> Result<Registry> {
    let images = folder.join(VERSION);
    let complete = images.join("complete");
    if complete.exists() {
        return Registry::start(&images);
    }
    println!("making the images (only once)");
    disk::fresh(folder)?;
    let registry = Registry::start(&images)?;
    for subject in [SMALL, BIG] {
        let work = Temporary::new(folder.join("work"))?;
        let layer = Layer::new(work.path().join("layer.tar.gz"), |tar| archive::one_file(tar, subject.size))?;
        let image = Image::new(work.path(), vec![layer])?;
        push::image(registry.address(), REPOSITORY, subject.tag, &image)?;
    }
    let work = Temporary::new(folder.join("work"))?;
    let half = |name: &str| {
        Layer::new(work.path().join(format!("{name}.tar.gz")), |tar| archive::empty_files(tar, name, MANY / 2))
    };
    let layers = vec![half("lower")?, half("upper")?];
    push::image(registry.address(), REPOSITORY, MANY_TAG, &Image::new(work.path(), layers)?)?;
    let layer = |number: u8| {
        let file = work.path().join(format!("{number}.tar.gz"));
        // Different sizes make different layers.
        Layer::new(file, |tar| archive::one_file(tar, 8 * MIB + 512 * u64::from(number)))
    };
    let layers = (0..LAYERS).map(layer).collect::<Result<_>>()?;
    push::image(registry.address(), REPOSITORY, LAYERED, &Image::new(work.path(), layers)?)?;
    disk::write(&complete, "")?;
    Ok(registry)
}

impl<'a> Bench<'a> {
    fn new(binary: &'a Path, budget: Budget) -> Result<Self> {
        debian::need(&[debian::REGISTRY, ("openssl", "openssl"), ("time", "time")])?;
        let folder = cargo::target()?.join("xtask").join("mem");
        let registry = registry_with_images(&folder)?;
        println!("{:<32}{:>10}{:>10}{:>10}", "step", "MiB", "budget", "CPU s");
        Ok(Self { binary, wrapper: Vec::new(), folder, registry, budget })
    }

    /// Measures the small layer, the big one, the big one over TLS, and several jobs.
    fn measure_both(&self) -> Result {
        let small = self.measure(&self.plain(&SMALL))?;
        let big = self.measure(&self.plain(&BIG))?;
        compare(&small, &big)?;
        let small = self.measure_archive(&self.plain(&SMALL))?;
        let big = self.measure_archive(&self.plain(&BIG))?;
        compare(&small, &big)?;
        let small = self.measure_raw(&self.plain(&SMALL))?;
        let big = self.measure_raw(&self.plain(&BIG))?;
        compare(&small, &big)?;
        self.measure_many()?;
        let folder = self.folder.join("tls");
        let registry = Registry::start_tls(&folder, &self.folder.join(VERSION))?;
        let options = vec!["--ca-file".to_owned(), folder.join("ca.pem").display().to_string()];
        let name = format!("{}/{REPOSITORY}:{}", registry.address(), BIG.tag);
        let about = format!("{} over TLS", BIG.name);
        self.measure(&Case { about, name, options: options.clone(), budget: self.budget.tls })?;
        let name = format!("{}/{REPOSITORY}:{LAYERED}", registry.address());
        self.measure_jobs(&Case { about: format!("{LAYERS} layers"), name, options, budget: self.budget.tls })
    }

    /// Measures one image over TLS with one job and with several.
    fn measure_jobs(&self, case: &Case) -> Result {
        let peak = |jobs: u64| {
            let work = Temporary::new(self.folder.join("work"))?;
            let in_work = |name: &str| work.path().join(name).display().to_string();
            let mut words = vec!["unpack".to_owned(), "--jobs".into(), jobs.to_string(), "--store".into()];
            words.push(in_work("store"));
            words.extend(case.options.iter().cloned().chain([case.name.clone(), in_work("tree")]));
            let (about, budget) = (format!("{} -j {jobs}", case.about), case.budget + (jobs - 1) * JOB);
            self.peak(words, work.path(), &Case { about, budget, name: String::new(), options: Vec::new() })
        };
        let (one, several) = (peak(1)?, peak(JOBS)?);
        if several <= one + (JOBS - 1) * JOB {
            return Ok(());
        }
        Err(format!("-j {JOBS}: {}, but {} with one job", show::bytes(several), show::bytes(one)))
    }

    /// Measures the images of the benchmark that exist.
    fn measure_images(&self) -> Result {
        let folder = cargo::target()?.join("bench");
        let images = bench::images::made(&folder);
        if images.is_empty() {
            return Ok(());
        }
        let registry = Registry::start(&bench::images::folder(&folder))?;
        images.into_iter().try_for_each(|image| {
            let name = bench::images::at(&registry.address().to_string(), &image);
            let window = if image.ends_with(bench::images::ZSTD_NAME) { WINDOW } else { 0 };
            let budget = self.budget.plain + window;
            self.measure(&Case { about: image, name, options: Vec::new(), budget }).map(drop)
        })
    }

    fn plain(&self, subject: &Subject) -> Case {
        let name = format!("{}/{REPOSITORY}:{}", self.registry.address(), subject.tag);
        Case { about: subject.name.to_owned(), name, options: Vec::new(), budget: self.budget.plain }
    }

    /// Pulls into a new store and unpacks from it, each in its own process.
    fn measure(&self, case: &Case) -> Result<Peaks> {
        let work = Temporary::new(self.folder.join("work"))?;
        let (store, tree) = (work.path().join("store"), work.path().join("tree"));
        let words = |command: &str| vec![command.to_owned(), "--store".into(), store.display().to_string()];
        let pull = [words("pull"), case.options.clone(), vec![case.name.clone()]].concat();
        let unpack = ["--pull=never".to_owned(), case.name.clone(), tree.display().to_string()];
        let pull = self.peak(pull, work.path(), case)?;
        let unpack = self.peak([words("unpack"), unpack.to_vec()].concat(), work.path(), case)?;
        let export = ["-o".to_owned(), "/dev/null".into(), case.name.clone()];
        let export = self.peak([words("export"), export.to_vec()].concat(), work.path(), case)?;
        Ok(vec![("pull", pull), ("unpack", unpack), ("export", export)])
    }

    /// Saves an image as an archive, and loads it into a new store. The archive has the layer uncompressed.
    fn measure_archive(&self, case: &Case) -> Result<Peaks> {
        let work = Temporary::new(self.folder.join("work"))?;
        let (store, archive) = (work.path().join("store"), work.path().join("archive").display().to_string());
        let words = |command: &str| vec![command.to_owned(), "--store".into(), store.display().to_string()];
        shell::run(std::process::Command::new(self.binary).args(words("pull")).arg("-q").arg(&case.name))?;
        let save = ["-o".to_owned(), archive.clone(), case.name.clone()];
        let save = self.peak([words("save"), save.to_vec()].concat(), work.path(), case)?;
        disk::clear(&store)?;
        let load = self.peak([words("load"), vec!["-i".to_owned(), archive]].concat(), work.path(), case)?;
        Ok(vec![("save", save), ("load", load)])
    }

    /// Writes the layer of an image to a file, unpacked, and again in place, where it is compared and read back.
    fn measure_raw(&self, case: &Case) -> Result<Peaks> {
        let work = Temporary::new(self.folder.join("work"))?;
        let file = work.path().join("file").display().to_string();
        let manifest = shell::read(std::process::Command::new(self.binary).args(["manifest", "--raw", &case.name]))?;
        let manifest: serde_json::Value =
            serde_json::from_str(&manifest).map_err(|e| format!("parse manifest: {e}"))?;
        let digest = manifest["layers"][0]["digest"].as_str().ok_or("a manifest without layers")?;
        let (repository, _) = case.name.rsplit_once(':').ok_or("a name without a tag")?;
        let name = format!("{repository}@{digest}");
        let case = Case { about: case.about.clone(), name, options: Vec::new(), budget: case.budget + RAW };
        let words = ["blob", &case.name, "--decompress", "gzip", "-o", &file].map(str::to_owned);
        let new = self.peak(words.to_vec(), work.path(), &case)?;
        let again = [&words[..], &["--skip-same", "--readback"].map(str::to_owned)].concat();
        let again = self.peak(again, work.path(), &case)?;
        Ok(vec![("blob", new), ("blob --skip-same", again)])
    }

    /// Exports an image with many entries.
    fn measure_many(&self) -> Result {
        let work = Temporary::new(self.folder.join("work"))?;
        let store = work.path().join("store").display().to_string();
        let name = format!("{}/{REPOSITORY}:{MANY_TAG}", self.registry.address());
        let about = format!("{MANY} files");
        let mut case = Case { about, name: name.clone(), options: Vec::new(), budget: self.budget.plain };
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        self.peak(words(&["pull", "--store", &store, &name]), work.path(), &case)?;
        case.budget += MERGED_TREE;
        self.peak(words(&["export", "--store", &store, "-o", "/dev/null", &name]), work.path(), &case)?;
        Ok(())
    }

    /// Runs pullet under GNU time and returns its peak memory. The peak of a process includes the memory of the process
    /// that forked it, so that must be a small one.
    fn peak(&self, words: Vec<String>, folder: &Path, case: &Case) -> Result<u64> {
        let report: PathBuf = folder.join("time");
        let mut time = shell::program("time");
        time.arg("--format=%M %U %S").arg("--output").arg(&report).args(&self.wrapper).arg(self.binary).args(&words);
        shell::run(&mut time)?;
        let report = disk::read(&report)?;
        let figures: Vec<f64> = report.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
        let [kib, user, system] = figures[..] else { return Err(format!("unexpected report of time: {report:?}")) };
        let (bytes, cpu) = (kib as u64 * 1024, user + system);
        let step = format!("{} {}", words[0], case.about);
        println!("{step:<32}{:>10.2}{:>10.2}{cpu:>10.2}", show::mebibytes(bytes), show::mebibytes(case.budget));
        if bytes < case.budget {
            return Ok(bytes);
        }
        Err(format!("{step}: {} is not below {}", show::bytes(bytes), show::bytes(case.budget)))
    }
}

/// Fails if a command needs more memory for the big layer than for the small one.
fn compare(small: &Peaks, big: &Peaks) -> Result {
    for ((step, small), (_, big)) in small.iter().zip(big) {
        if *big > small + GROWTH {
            let (small, big) = (show::bytes(*small), show::bytes(*big));
            return Err(format!(
                "{step}: memory grows with the layer: {small} for the small one, {big} for the big one"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_growth() {
        let peaks = |pull, unpack| vec![("pull", pull * MIB / 10), ("unpack", unpack * MIB / 10)];
        assert!(compare(&peaks(40, 40), &peaks(45, 45)).is_ok());
        assert!(compare(&peaks(40, 40), &peaks(40, 51)).unwrap_err().contains("unpack: memory grows"));
    }
}
