//! `cargo xtask bench`: pullet and every peer that is here at the same work, on fresh file systems, in turn, with
//! medians; then the floor, which is what the work costs without any of them. CPU seconds and ratios are what to trust:
//! wall time is the machine's as much as the tool's. Nothing is judged here.

mod floor;
pub mod images;
mod layers;
mod measure;
mod options;
mod proxy;
mod table;
mod tools;

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use crate::registry::Registry;
use crate::{Result, cargo, debian};
use images::Subject;
use measure::{Ground, Sample, median};
use options::Options;
use proxy::Proxy;
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
/// From a request's first byte to its answer's, on the link of [`Task::Far`].
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// The registry writes a request's line after its answer.
const LOG_PAUSE: Duration = Duration::from_millis(100);

/// Where everything is.
pub struct Place {
    folder: PathBuf,
    registry: Registry,
    proxy: Proxy,
    /// The way to the registry with a long round trip.
    link: Proxy,
}

pub fn run(words: &[&str]) -> Result {
    if matches!(words, ["-h" | "--help"]) {
        print!("{}", options::HELP);
        return Ok(());
    }
    let options = Options::parse(words)?;
    debian::need(NEEDED)?;
    let folder = cargo::target()?.join("bench");
    let registry = Registry::start(&images::folder(&folder))?;
    let proxy = Proxy::start(registry.address(), Duration::ZERO)?;
    let link = Proxy::start(registry.address(), ROUND_TRIP)?;
    let place = Place { folder, registry, proxy, link };
    let tools = tools::all(&place.folder, &options.tools)?;
    let has_floor = options.tasks.iter().any(|task| matches!(task, Task::Store | Task::Tree));
    let programs = has_floor.then(floor::Programs::build).transpose()?;
    if !options.is_json {
        println!("{}", table::HEAD);
    }
    for name in &options.images {
        let subject = Subject::there(&place.folder, &place.registry, name)?;
        let mut own = Vec::new();
        for task in &options.tasks {
            let rows = compare(&place, &subject, *task, &tools, options.runs)?;
            own.extend(rows.first().map(|row| (*task, row.sample.cpu)));
            print(&rows, options.is_json);
        }
        if let Some(programs) = &programs {
            let parts = floor::measure(&place, &subject, programs, options.runs)?;
            print(&table::floor(name, &parts, &own), options.is_json);
        }
    }
    Ok(())
}

impl Place {
    /// The file system of a run.
    fn ground(&self) -> PathBuf {
        self.folder.join("ground")
    }

    /// What is noted of a run.
    fn notes(&self) -> PathBuf {
        self.folder.join("notes")
    }
}

/// All tools at one task: first each once through the counting proxy, which is not measured, then in turn.
fn compare(place: &Place, subject: &Subject, task: Task, tools: &[Tool], runs: usize) -> Result<Vec<Row>> {
    let able = tools.iter().filter_map(|tool| Some((tool, tool.script(task, subject.is_zstd)?)));
    let able: Vec<(&Tool, &str)> = able.collect();
    let mut rows = Vec::new();
    for (tool, script) in &able {
        let (requests, connections) = count(place, subject, task, tool, script)?;
        let (requests, connections) = (Some(requests), Some(connections));
        let (image, tool) = (subject.name.clone(), tool.name.to_owned());
        rows.push(Row { task, image, tool, sample: Sample::default(), requests, connections, ratio: 0.0 });
    }
    let mut samples = vec![Vec::new(); able.len()];
    for _ in 0..runs {
        for ((tool, script), samples) in able.iter().zip(&mut samples) {
            samples.push(once(place, subject, task, tool, script)?);
        }
    }
    let medians: Vec<Sample> = samples.iter().map(|samples| median(samples)).collect();
    let own = medians.first().map_or(0.0, |sample| sample.cpu);
    for (row, sample) in rows.iter_mut().zip(medians) {
        (row.sample, row.ratio) = (sample, sample.cpu / own);
    }
    Ok(rows)
}

/// One run on a fresh file system.
fn once(place: &Place, subject: &Subject, task: Task, tool: &Tool, script: &str) -> Result<Sample> {
    let ground = Ground::fresh(place.ground())?;
    let address = if task == Task::Far { place.link.address() } else { place.registry.address() };
    let words = words(subject, tool, &address.to_string());
    if task == Task::Repeat {
        measure::run(ground.path(), &place.notes(), script, &words)?;
    }
    let sample = measure::run(ground.path(), &place.notes(), script, &words);
    sample.map_err(|reason| format!("{} {} {}: {reason}", task.name(), subject.name, tool.name))
}

/// One run through the proxy: its requests and connections.
fn count(place: &Place, subject: &Subject, task: Task, tool: &Tool, script: &str) -> Result<(usize, usize)> {
    let ground = Ground::fresh(place.ground())?;
    let words = words(subject, tool, &place.proxy.address().to_string());
    let mut figures = Vec::new();
    for _ in 0..if task == Task::Repeat { 2 } else { 1 } {
        let before = (place.registry.reads(0)?, place.proxy.connections());
        let done = measure::run(ground.path(), &place.notes(), script, &words);
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
