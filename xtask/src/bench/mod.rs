//! `cargo xtask bench`: compares pullet with every other tool on this machine. All tools do the same tasks in turn,
//! each run on a fresh file system, and the figures are medians. The floor is the cost of the same work without any
//! tool. Trust the CPU seconds and ratios, because wall time depends on the machine as much as on the tool. There is no
//! budget here.

mod floor;
pub mod images;
mod layers;
mod measure;
mod options;
mod plot;
mod table;
mod tools;

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use kit::link::{Conditions, Link};

use crate::registry::Registry;
use crate::{Result, cargo, debian};
use images::Subject;
use measure::{Filesystem, Sample, median};
use options::Options;
use table::Row;
use tools::{Task, Tool};

const NEEDED: &[(&str, &str)] = &[
    ("curl", "curl"),
    ("debootstrap", "debootstrap"),
    debian::REGISTRY,
    ("skopeo", "skopeo"),
    ("time", "time"),
    ("umoci", "umoci"),
    ("zstd", "zstd"),
];
/// The time from the first byte of a request to the first byte of its response, on the link of [`Task::Far`].
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// The registry logs a request after it has sent the response.
const LOG_PAUSE: Duration = Duration::from_millis(100);

/// The servers and folders of a benchmark.
pub struct Place {
    folder: PathBuf,
    registry: Registry,
    /// A link to the registry that counts connections, because the registry logs requests only.
    proxy: Link,
    /// A link to the registry with a long round trip.
    link: Link,
}

pub fn run(words: &[&str]) -> Result {
    if matches!(words, ["-h" | "--help"]) {
        print!("{}", options::HELP);
        return Ok(());
    }
    if words == ["--plot"] {
        return plot::run();
    }
    let options = Options::parse(words)?;
    debian::need(NEEDED)?;
    let folder = cargo::target()?.join("bench");
    let registry = Registry::start(&images::folder(&folder))?;
    let proxy = registry.link(Conditions::default())?;
    let link = registry.link(Conditions { round_trip: ROUND_TRIP, cut: None })?;
    let place = Place { folder, registry, proxy, link };
    let tools = tools::all(&place.folder, &options.tools)?;
    let has_floor = options.tasks.iter().any(|task| matches!(task, Task::Store | Task::Tree));
    let programs = has_floor.then(floor::Programs::build).transpose()?;
    if !options.is_json {
        println!("{}", table::HEAD);
    }
    for name in &options.images {
        let subject = Subject::get_or_make(&place.folder, &place.registry, name)?;
        let mut pullet_cpu = Vec::new();
        for task in &options.tasks {
            let rows = compare(&place, &subject, *task, &tools, options.runs)?;
            pullet_cpu.extend(rows.first().map(|row| (*task, row.sample.cpu)));
            print(&rows, options.is_json);
        }
        if let Some(programs) = &programs {
            let parts = floor::measure(&place, &subject, programs, options.runs)?;
            print(&table::floor(name, &parts, &pullet_cpu), options.is_json);
        }
    }
    Ok(())
}

impl Place {
    /// The file system of a run.
    fn filesystem(&self) -> PathBuf {
        self.folder.join("filesystem")
    }

    /// The folder for the figures of a run.
    fn notes(&self) -> PathBuf {
        self.folder.join("notes")
    }
}

/// Measures all tools at one task. First each runs once through the counting proxy, unmeasured; then they run in turn.
fn compare(place: &Place, subject: &Subject, task: Task, tools: &[Tool], runs: usize) -> Result<Vec<Row>> {
    let capable = tools.iter().filter_map(|tool| Some((tool, tool.script(task, subject.is_zstd)?)));
    let capable: Vec<(&Tool, String)> = capable.collect();
    let mut rows = Vec::new();
    for (tool, script) in &capable {
        let (requests, connections) = count(place, subject, task, tool, script)?;
        let (requests, connections) = (Some(requests), Some(connections));
        let (image, tool) = (subject.name.clone(), tool.name.to_owned());
        rows.push(Row { task, image, tool, sample: Sample::default(), requests, connections, ratio: 0.0 });
    }
    let mut samples = vec![Vec::new(); capable.len()];
    for _ in 0..runs {
        for ((tool, script), samples) in capable.iter().zip(&mut samples) {
            samples.push(once(place, subject, task, tool, script)?);
        }
    }
    let medians: Vec<Sample> = samples.iter().map(|samples| median(samples)).collect();
    let pullet_cpu = medians.first().map_or(0.0, |sample| sample.cpu);
    for (row, sample) in rows.iter_mut().zip(medians) {
        (row.sample, row.ratio) = (sample, sample.cpu / pullet_cpu);
    }
    Ok(rows)
}

/// One run on a fresh file system.
fn once(place: &Place, subject: &Subject, task: Task, tool: &Tool, script: &str) -> Result<Sample> {
    let folder = Filesystem::fresh(place.filesystem())?;
    let address = if task == Task::Far { place.link.address() } else { place.registry.address() };
    let words = words(subject, tool, &address.to_string());
    if task == Task::Repeat {
        measure::run(folder.path(), &place.notes(), script, &words)?;
    }
    let sample = measure::run(folder.path(), &place.notes(), script, &words);
    sample.map_err(|reason| format!("{} {} {}: {reason}", task.name(), subject.name, tool.name))
}

/// Runs the tool through the proxy and counts its requests and connections.
fn count(place: &Place, subject: &Subject, task: Task, tool: &Tool, script: &str) -> Result<(usize, usize)> {
    let folder = Filesystem::fresh(place.filesystem())?;
    let words = words(subject, tool, &place.proxy.address().to_string());
    let mut figures = Vec::new();
    for _ in 0..if task == Task::Repeat { 2 } else { 1 } {
        let before = (place.registry.reads(0)?, place.proxy.connections());
        let done = measure::run(folder.path(), &place.notes(), script, &words);
        done.map_err(|reason| format!("{} {} {}: {reason}", task.name(), subject.name, tool.name))?;
        sleep(LOG_PAUSE);
        figures = vec![place.registry.reads(0)? - before.0, place.proxy.connections() - before.1];
    }
    Ok((figures[0], figures[1]))
}

fn words(subject: &Subject, tool: &Tool, address: &str) -> Vec<String> {
    let mut words = vec![tool.program.display().to_string(), subject.at(address), subject.name.clone()];
    words.extend([address.to_owned(), subject.decompressor().to_owned()]);
    words.extend(subject.urls(address));
    words
}

fn print(rows: &[Row], is_json: bool) {
    for row in rows {
        println!("{}", if is_json { row.json() } else { row.line() });
    }
}
