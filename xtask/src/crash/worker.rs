//! A registry, and for each scenario its start state and its expected result. The traces of its runs are checked here.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::images;
use super::place::{NOBODY, Place, State};
use super::promises;
use super::scenario::{self, SCENARIOS, Scenario};
use super::server::{LOGIN, Server};
use super::trace::{self, Call, FAULTS, Point};
use crate::{Result, debian, disk, shell};

pub struct Worker {
    binary: PathBuf,
    folder: PathBuf,
    pub server: Server,
    pub prepared: Vec<Prepared>,
}

pub struct Prepared {
    pub scenario: &'static Scenario,
    pub start: Place,
    pub before: State,
    pub after: State,
    calls: Vec<Call>,
}

/// The file that every run has as standard input.
const PASSWORD: &str = "password";
/// The number of recorded runs without a fault.
const RECORDS: usize = 3;

impl Worker {
    /// Records the runs of all scenarios, or of the one with this name.
    pub fn new(binary: &Path, folder: &Path, only: Option<&str>) -> Result<Self> {
        disk::create_folder(folder)?;
        // An ordinary user may have no access to the build folder.
        let copy = folder.join("pullet");
        shell::run(shell::program("install").args(["-m", "755"]).arg(binary).arg(&copy))?;
        let (_, password) = LOGIN.split_once(':').unwrap_or_default();
        disk::write(&folder.join(PASSWORD), password)?;
        let server = images::serve();
        let mut worker = Self { binary: copy, folder: folder.to_owned(), server, prepared: Vec::new() };
        let is_root = debian::is_root()?;
        if let Some(only) = only {
            scenario::find(only)?;
        }
        let is_chosen =
            |scenario: &&Scenario| only.is_none_or(|only| scenario.name == only) && (is_root || !scenario.is_ordinary);
        for scenario in SCENARIOS.iter().filter(is_chosen) {
            let prepared = worker.prepare(scenario).map_err(|reason| format!("{}: {reason}", scenario.name))?;
            worker.prepared.push(prepared);
        }
        Ok(worker)
    }

    /// Every call of every scenario with every fault.
    pub fn points(&self, only: Option<&str>) -> Vec<Point> {
        let mut points = Vec::new();
        for (scenario, prepared) in self.prepared.iter().enumerate() {
            let is_chosen =
                |call: &&Call| only.is_none_or(|only| call.name == only) && prepared.scenario.is_judged(&call.line);
            for call in prepared.calls.iter().filter(is_chosen) {
                points.extend(FAULTS.map(|fault| Point { scenario, call: call.clone(), fault }));
            }
        }
        points
    }

    pub fn describe(&self, point: &Point) -> String {
        let Call { name, nth, line, .. } = &point.call;
        format!("{}: {} at {name} {nth}: {line}", self.prepared[point.scenario].scenario.name, point.fault)
    }

    /// The folders for the next run, in the scenario's start state.
    pub fn place(&self, prepared: &Prepared) -> Result<Place> {
        self.fresh(prepared.scenario, &prepared.start)
    }

    /// The log of strace.
    pub fn log(&self) -> PathBuf {
        self.folder.join("trace")
    }

    /// The command of the scenario.
    pub fn pullet(&self, scenario: &Scenario, place: &Place) -> Command {
        self.pullet_with(scenario.words, scenario, place)
    }

    /// A command with these arguments, as the scenario's user.
    pub fn pullet_with(&self, arguments: &[&str], scenario: &Scenario, place: &Place) -> Command {
        let host = self.server.address().to_string();
        let mut words: Vec<String> = Vec::new();
        if scenario.is_ordinary {
            let (user, group) = NOBODY.split_once(':').unwrap_or((NOBODY, NOBODY));
            words.extend(["setpriv", "--reuid", user, "--regid", group, "--clear-groups"].map(str::to_owned));
        }
        // The shell execs pullet, so strace counts the calls of both in one process.
        words.extend(["sh", "-c", "exec \"$@\" < \"$0\""].map(str::to_owned));
        words.extend([self.folder.join(PASSWORD), self.binary.clone()].map(|path| path.display().to_string()));
        words.extend(arguments.iter().map(|word| match *word {
            "TARGET" => place.target().display().to_string(),
            "ARCHIVE" => place.archive().display().to_string(),
            "GUARDED" => self.server.guarded().to_string(),
            "KEY" => self.server.key(),
            word => word.replacen('@', &host, 1),
        }));
        let mut command = shell::program(&words[0]);
        command.args(&words[1..]).env_clear().env("HOME", place.home()).env("PULLET_STORE", place.store());
        command
    }

    fn run_folder(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// A copy of the start state, after the commands that prepare it.
    fn fresh(&self, scenario: &Scenario, start: &Place) -> Result<Place> {
        let place = Place::like(start, self.run_folder())?;
        for words in scenario.prepare {
            shell::run(&mut self.pullet_with(words, scenario, &place))?;
        }
        Ok(place)
    }

    fn prepare(&self, scenario: &'static Scenario) -> Result<Prepared> {
        let index = self.prepared.len();
        let start = Place::new(self.folder.join(format!("start-{index}")), scenario.is_ordinary)?;
        for (repository, content) in scenario.before {
            self.server.tag(repository, content);
            let words = ["pull", "--store", &start.store().display().to_string()].map(str::to_owned);
            let name = format!("{}/{repository}", self.server.address());
            shell::run(Command::new(&self.binary).args(words).arg(name))?;
            self.server.tag(repository, repository);
        }
        if !scenario.archive.is_empty() {
            self.write_archive(scenario, &start)?;
        }
        (scenario.arrange)(&start)?;
        let (before, names) = {
            let place = self.fresh(scenario, &start)?;
            (place.state()?, place.names()?)
        };
        // Runs differ, because data from a socket arrives in varying pieces. The shortest run has the calls that all
        // have.
        let mut shortest: Option<(Vec<Call>, State)> = None;
        for _ in 0..RECORDS {
            let place = self.fresh(scenario, &start)?;
            let events = trace::record(&self.pullet(scenario, &place), &self.log())?;
            let folder = place.folder().display().to_string();
            if !scenario.is_in_place() {
                promises::check(&events, &folder, &names).map_err(|reason| reason.replace(&folder, ""))?;
            }
            let calls = trace::calls(&events, &folder, scenario.has_threads);
            if shortest.as_ref().is_none_or(|(shortest, _)| calls.len() < shortest.len()) {
                shortest = Some((calls, place.state()?));
            }
        }
        let (calls, after) = shortest.ok_or("no run was recorded")?;
        if calls.is_empty() {
            return Err("the run changed nothing".into());
        }
        Ok(Prepared { scenario, start, before, after, calls })
    }

    /// Writes the archive of a scenario, from an image in another store.
    fn write_archive(&self, scenario: &Scenario, start: &Place) -> Result {
        let source = Place::new(self.folder.join("source"), scenario.is_ordinary)?;
        shell::run(&mut self.pullet_with(&["pull", "@/image"], scenario, &source))?;
        shell::run(&mut self.pullet_with(scenario.archive, scenario, &source))?;
        let archive = source.archive();
        disk::named("rename", &archive, std::fs::rename(&archive, start.archive()))
    }
}
