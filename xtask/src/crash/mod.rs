//! `cargo xtask crash`: kills pullet, or fails its disk, at every system call that changes the disk. After each fault
//! the store and the target must be as before or complete, and the next run must finish the work without fetching any
//! blob again.
//!
//! A fault loses no cache of the disk, so the sweep also reads the trace of each run without a fault: every file is
//! synced before its name, every folder after it, and everything is created with its mode (`promises`, `rules`).
//! `scenario` describes how to add a scenario.

mod attempt;
mod check;
mod events;
mod images;
mod kills;
mod options;
mod place;
mod promises;
mod rules;
mod scenario;
mod server;
mod snapshot;
mod trace;
mod worker;

use std::path::Path;
use std::time::Instant;

use kit::noise::Noise;

use self::attempt::Ending;
use self::options::{Options, Sample};
use self::trace::Point;
use self::worker::Worker;
use crate::disk::Temporary;
use crate::{Result, cargo, debian, show};

/// The sample that `cargo xtask test` tries.
const SAMPLE: &str = "1:300";
/// The seed of the repeated kills, without a sample.
const SEED: u64 = 1;

pub fn run(words: &[&str]) -> Result {
    let options = Options::parse(words)?;
    let start = Instant::now();
    let binary = cargo::build("release")?;
    if options.only_traces {
        check_traces(&binary, options.scenario.as_deref())?;
        println!("the traces are as promised; done in {}", show::seconds(start.elapsed()));
        return Ok(());
    }
    let folder = folder()?;
    let tally = sweep(&options, &binary, folder.path())?;
    println!(
        "{} points of {}: {} left the disk as before, {} complete; failed: {}",
        tally.tried,
        tally.all,
        tally.before,
        tally.complete,
        tally.failures.len()
    );
    if !tally.failures.is_empty() {
        return Err(format!("{} of {} points failed", tally.failures.len(), tally.tried));
    }
    if options.scenario.is_none() {
        let seed = options.sample.map_or(SEED, |sample| sample.seed);
        kills::run(&binary, &folder.path().join("kills"), seed)?;
    }
    println!("done in {}", show::seconds(start.elapsed()));
    Ok(())
}

/// Records the runs of all scenarios, or of one, without a fault, and checks the order of their calls and the modes of
/// their files.
pub fn check_traces(binary: &Path, scenario: Option<&str>) -> Result {
    let folder = folder()?;
    Worker::new(binary, folder.path(), scenario).map(drop)
}

/// Fails if there is no scenario with this name.
pub fn find_scenario(name: &str) -> Result {
    scenario::find(name).map(drop)
}

/// A folder for the runs.
fn folder() -> Result<Temporary> {
    debian::need(&[("strace", "strace")])?;
    // The faults do not depend on the file system, and fsync is cheap in memory.
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    Temporary::new(base.join(format!("pullet-crash-{}", std::process::id())))
}

/// Runs the sample of `cargo xtask test`.
pub fn sample() -> Result {
    run(&["--sample", SAMPLE])
}

/// The results of a number of points.
#[derive(Default)]
struct Tally {
    all: usize,
    tried: usize,
    before: usize,
    complete: usize,
    failures: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.tried += other.tried;
        self.before += other.before;
        self.complete += other.complete;
        self.failures.extend(other.failures);
    }
}

/// Distributes the points among workers. Each worker has its own registry, stores and targets.
fn sweep(options: &Options, binary: &Path, folder: &Path) -> Result<Tally> {
    let worker = |job: usize| Worker::new(binary, &folder.join(format!("job-{job}")), options.scenario.as_deref());
    let workers: Vec<Worker> = (0..options.jobs).map(worker).collect::<Result<_>>()?;
    // All workers have the same points.
    let points = workers.first().map(|worker| worker.points(options.call.as_deref())).unwrap_or_default();
    let mut sum = Tally { all: points.len(), ..Tally::default() };
    let points = &choose(points, options.sample);
    std::thread::scope(|scope| {
        let work = |(job, worker)| scope.spawn(move || work(&worker, points.iter().skip(job).step_by(options.jobs)));
        let threads: Vec<_> = workers.into_iter().enumerate().map(work).collect();
        for thread in threads {
            sum.add(thread.join().map_err(|_| "a worker panicked".to_owned())?);
        }
        Ok(sum)
    })
}

fn work<'a>(worker: &Worker, points: impl Iterator<Item = &'a Point>) -> Tally {
    let mut tally = Tally::default();
    for point in points {
        tally.tried += 1;
        match worker.attempt(point) {
            Ok(Ending::Before) => tally.before += 1,
            Ok(Ending::Complete) => tally.complete += 1,
            Err(reason) => {
                let failure = format!("{}: {reason}", worker.describe(point));
                eprintln!("{failure}");
                tally.failures.push(failure);
            }
        }
    }
    tally
}

/// All points, or a sample, which depends only on its seed.
fn choose(mut points: Vec<Point>, sample: Option<Sample>) -> Vec<Point> {
    let Some(Sample { seed, count }) = sample else { return points };
    let mut noise = Noise::new(seed);
    let mut chosen = Vec::new();
    while chosen.len() < count && !points.is_empty() {
        chosen.push(points.swap_remove(noise.below(points.len() as u64) as usize));
    }
    chosen
}
