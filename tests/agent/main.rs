//! The agents of examples/agent: a machine with two slots and a boot loader, whose power is cut at every step.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    unreachable_pub,
    reason = "this crate is tests only"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};

use kit::bench::Bench;
use kit::debian;
use kit::digest::sha256;
use kit::image::OCI_MANIFEST;
use kit::noise::Noise;
use kit::process;

const BODY: usize = 300_000;
const KILLS: usize = 50;
/// The states in which an agent has something to do.
const STATES: [&str; 7] = ["offered", "fetching", "fetched", "writing", "written", "armed", "trying"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Language {
    Rust,
    Shell,
}

/// How an agent ended.
#[derive(Debug, PartialEq)]
enum End {
    Code(i32),
    Killed,
}

/// The names of the system calls of an agent: before it enters a state, and then in each state.
type Trace = Vec<(String, Vec<String>)>;

/// A machine with two slots. The image in a slot begins with a line: its number, and what it does.
struct Machine {
    bench: Bench,
    language: Language,
    images: Vec<Vec<u8>>,
}

impl Machine {
    /// A machine that runs the first image in slot a.
    fn new(language: Language) -> Machine {
        let mut machine = Machine { bench: Bench::new(), language, images: Vec::new() };
        machine.publish("good");
        fs::write(machine.slot("a"), &machine.images[0]).unwrap();
        fs::write(machine.slot("b"), vec![0; BODY]).unwrap();
        machine.set("slot", "a");
        machine
    }

    /// Publishes a new image: `good`, `bad` (it cannot do its work), or `dead` (it does not boot).
    fn publish(&mut self, kind: &str) {
        let number = self.images.len();
        let mut image = format!("image {number} {kind}\n").into_bytes();
        image.extend(Noise::new(number as u64).bytes(BODY - number));
        let registry = &self.bench.registry;
        let blob = json!({
            "mediaType": "application/vnd.example.image",
            "digest": registry.put_blob("os", &image),
            "size": image.len(),
            "annotations": { "org.opencontainers.image.title": "system.img" },
        });
        let config = json!({
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": registry.put_blob("os", b"{}"),
            "size": 2,
        });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": "application/vnd.example.system",
            "config": config,
            "layers": [blob],
        });
        registry.put_manifest("os", Some("stable"), OCI_MANIFEST, manifest.to_string().as_bytes());
        self.images.push(image);
    }

    fn slot(&self, slot: &str) -> PathBuf {
        self.bench.home.path(&format!("slot-{slot}"))
    }

    fn example(file: &str) -> String {
        format!("{}/examples/agent/{file}", env!("CARGO_MANIFEST_DIR"))
    }

    fn bootenv(&self, verb: &str) -> String {
        format!("{} {} {verb}", Self::example("bootenv.sh"), self.bench.home.arg("bootenv"))
    }

    /// A variable of the boot loader.
    fn get(&self, name: &str) -> String {
        let text = fs::read_to_string(self.bench.home.path("bootenv")).unwrap_or_default();
        let prefix = format!("{name}=");
        text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default().to_owned()
    }

    fn set(&self, name: &str, value: &str) {
        let words = self.bootenv("set");
        let mut words = words.split(' ');
        assert!(Command::new(words.next().unwrap()).args(words).args([name, value]).status().unwrap().success());
    }

    /// The image in a slot, which must be whole.
    #[track_caller]
    fn image_in(&self, slot: &str) -> &[u8] {
        let content = fs::read(self.slot(slot)).unwrap();
        let found = self.images.iter().find(|image| content.starts_with(image));
        found.unwrap_or_else(|| panic!("slot {slot} has no whole image"))
    }

    /// The boot loader: tries a slot as often as it may, else boots the usual one. Returns the slot that runs.
    fn boot(&self) -> String {
        let is_dead = |slot: &str| self.image_in(slot).windows(6).take(30).any(|part| part == b" dead\n");
        loop {
            let (tried, tries) = (self.get("try"), self.get("tries").parse::<u32>().unwrap_or(0));
            if tried.is_empty() || tries == 0 {
                let slot = self.get("slot");
                assert!(!is_dead(&slot), "the machine does not boot");
                return slot;
            }
            self.set("tries", &(tries - 1).to_string());
            if !is_dead(&tried) {
                return tried;
            }
        }
    }

    /// The agent's command, in the slot that runs.
    fn agent(&self, booted: &str, under: &[String]) -> Command {
        let mut words: Vec<String> = under.to_vec();
        match self.language {
            Language::Shell => words.extend(["/bin/sh".to_owned(), Self::example("agent.sh")]),
            Language::Rust => {
                words.push(example().display().to_string());
            }
        }
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_clear().current_dir(self.bench.home.path("")).process_group(0);
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", self.bench.home.path("home"));
        command.env("PULLET_STORE", self.bench.home.store());
        command.env("AGENT_NAME", self.bench.registry.name("os:stable")).env("AGENT_BOOTED", booted);
        command.env("AGENT_SLOT_A", self.slot("a")).env("AGENT_SLOT_B", self.slot("b"));
        command.env("AGENT_FOLDER", self.bench.home.path("agent")).env("AGENT_PULLET", process::program());
        command.env("AGENT_PRINTENV", self.bootenv("get")).env("AGENT_SETENV", self.bootenv("set"));
        command.env("AGENT_CHECK", format!("head -n 1 {} | grep -q good", self.slot(booted).display()));
        command.env("AGENT_REBOOT", "true").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Boots, and runs the agent once.
    fn run(&self, under: &[String]) -> End {
        let booted = self.boot();
        let mut child = self.agent(&booted, under).spawn().expect("the agent runs");
        let group = rustix::process::Pid::from_child(&child);
        let status: ExitStatus = child.wait().unwrap();
        // The power is cut for all that the agent has started, too.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        match (status.code(), status.signal()) {
            (Some(code), _) => End::Code(code),
            (None, _) => End::Killed,
        }
    }

    fn record(&self) -> Value {
        let text = fs::read(self.bench.home.path("agent/agent.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// Runs the agent at one boot after the other until it has nothing more to do. Returns its exit code.
    fn settle(&self) -> i32 {
        for _ in 0..10 {
            match self.run(&[]) {
                End::Code(75) => {}
                End::Code(code) => return code,
                End::Killed => panic!("nobody kills it"),
            }
        }
        panic!("it goes on and on: {}", self.record());
    }

    /// Records the system calls of an update: of the run that ends with a reboot, and of the one after it.
    fn traces(&self) -> [Trace; 2] {
        [(); 2].map(|()| {
            let log = self.bench.home.arg("trace");
            self.run(&["strace", "-s", "80", "-o", &log].map(str::to_owned));
            let mut trace: Trace = vec![(String::new(), Vec::new())];
            for line in fs::read_to_string(&log).unwrap().lines() {
                let Some((name, _)) = line.split_once('(') else { continue };
                if name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.starts_with("exit") {
                    trace.last_mut().unwrap().1.push(name.to_owned());
                }
                if let Some(state) = STATES.iter().find(|state| line.contains(&format!("agent: {state}"))) {
                    trace.push(((*state).to_owned(), Vec::new()));
                }
            }
            trace
        })
    }

    /// Chooses a system call of the next run, in one of the states that are still ahead: in one without a kill, if there is one.
    fn choose(&self, [before, after]: &[Trace; 2], killed_in: &BTreeSet<String>, noise: &mut Noise) -> String {
        let record = self.record();
        let state = record["state"].as_str().unwrap_or_default();
        let is_tried = !self.get("try").is_empty() && self.get("tries") != "0";
        let trace = if state == "trying" || (state == "armed" && is_tried) { after } else { before };
        let first = trace.iter().position(|(entered, _)| entered == state).unwrap_or(1);
        let missing = trace.iter().skip(first).position(|(state, _)| !killed_in.contains(state));
        let segment = first + missing.unwrap_or_else(|| noise.below((trace.len() - first) as u64) as usize);
        let last = noise.below(trace[segment].1.len().max(1) as u64) as usize;
        let start = trace[..1].iter().chain(&trace[first..segment]).flat_map(|(_, names)| names);
        let calls: Vec<&String> = start.chain(trace[segment].1.iter().take(last + 1)).collect();
        let name = calls.last().expect("a call");
        let nth = calls.iter().filter(|call| *call == name).count();
        format!("inject={name}:signal=KILL:when={nth}")
    }
}

/// The agent in Rust. `cargo test` has built it, but not if it runs this test binary only.
fn example() -> &'static Path {
    static EXAMPLE: OnceLock<PathBuf> = OnceLock::new();
    EXAMPLE.get_or_init(|| {
        let own = std::env::current_exe().unwrap();
        let profile = own.parent().and_then(Path::parent).expect("a test program in a folder of Cargo");
        let cargo = std::env::var_os("CARGO").expect("Cargo runs this test");
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--all-features", "--example", "agent", "--target-dir"]);
        build.arg(profile.parent().unwrap());
        if profile.ends_with("release") {
            build.arg("--release");
        }
        build.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        assert!(build.status().unwrap().success(), "cargo builds examples/agent");
        profile.join("examples/agent")
    })
}

fn survives_power_cuts(language: Language) {
    debian::command("strace");
    let mut machine = Machine::new(language);
    assert_eq!(machine.settle(), 0);
    machine.publish("good");
    let traces = machine.traces();
    assert_eq!(machine.settle(), 0);
    let mut noise = Noise::new(4);
    let (mut kills, mut killed_in, mut updates) = (0, BTreeSet::new(), 0);
    for attempt in 0.. {
        assert!(attempt < 10 * KILLS, "{kills} kills in {attempt} runs: {killed_in:?}");
        let inject = machine.choose(&traces, &killed_in, &mut noise);
        match machine.run(&["strace".to_owned(), "-o".to_owned(), "/dev/null".to_owned(), "-e".to_owned(), inject]) {
            End::Killed => {
                kills += 1;
                killed_in.insert(machine.record()["state"].as_str().unwrap_or_default().to_owned());
            }
            End::Code(75) => {}
            // So many cuts while the image was tried that the boot loader has given it up.
            End::Code(1) => machine.publish("good"),
            End::Code(0) => {
                assert_eq!(machine.image_in(&machine.get("slot")), machine.images.last().unwrap());
                updates += 1;
                machine.publish("good");
            }
            End::Code(code) => panic!("{code}: {}", machine.record()),
        }
        if kills >= KILLS && STATES.iter().all(|state| killed_in.contains(*state)) {
            break;
        }
    }
    machine.settle();
    let before = machine.get("slot");
    machine.publish("good");
    assert_eq!(machine.settle(), 0, "{}", machine.record());
    let slot = machine.boot();
    assert_eq!(machine.image_in(&slot), machine.images.last().unwrap());
    assert_ne!(slot, before);
    eprintln!("{kills} kills, {updates} updates; from slot {before} to {slot}");
}

#[test]
fn the_agent_in_rust_survives_power_cuts() {
    survives_power_cuts(Language::Rust);
}

#[test]
fn the_agent_in_shell_survives_power_cuts() {
    survives_power_cuts(Language::Shell);
}

/// The digests of the manifests that were requested.
fn requested(machine: &Machine) -> usize {
    machine.bench.registry.requests_to("sha256:")
}

#[test]
fn an_image_that_does_not_work_is_rolled_back_and_never_fetched_again() {
    for language in [Language::Shell, Language::Rust] {
        for kind in ["bad", "dead"] {
            let mut machine = Machine::new(language);
            assert_eq!(machine.settle(), 0);
            let slot = machine.boot();
            machine.publish(kind);
            assert_eq!(machine.settle(), 1, "{language:?} {kind}: {}", machine.record());
            assert!(requested(&machine) > 0);
            assert_eq!(machine.record()["state"], "bad");
            machine.bench.registry.clear_log();
            for _ in 0..3 {
                assert_eq!((machine.run(&[]), machine.boot()), (End::Code(1), slot.clone()));
            }
            assert_eq!(requested(&machine), 0, "{:?}", machine.bench.registry.log());
            machine.publish("good");
            assert_eq!(machine.settle(), 0);
            assert_eq!(machine.image_in(&machine.boot()), machine.images.last().unwrap());
        }
    }
}

#[test]
fn an_image_that_vanishes_or_is_damaged_is_given_up() {
    for language in [Language::Shell, Language::Rust] {
        let mut machine = Machine::new(language);
        assert_eq!(machine.settle(), 0);
        machine.publish("good");
        let digest = sha256(machine.images.last().unwrap());
        let wrong = machine.images[0].clone();
        machine.bench.registry.put_blob_as("os", &digest, &wrong);
        let end = machine.run(&[]);
        assert!(matches!(end, End::Code(8 | 5)), "{language:?}: {end:?}");
        machine.publish("good");
        assert_eq!(machine.settle(), 0, "{language:?}: {}", machine.record());
        assert_eq!(machine.image_in(&machine.boot()), machine.images.last().unwrap());
    }
}

#[test]
fn the_record_is_derived_again_and_not_believed() {
    for language in [Language::Shell, Language::Rust] {
        let mut machine = Machine::new(language);
        assert_eq!(machine.settle(), 0);
        machine.publish("good");
        assert_eq!(machine.run(&[]), End::Code(75));
        assert_eq!(machine.record()["state"], "armed");
        // Something else was written to the slot, and the boot loader has lost its variables.
        let target = machine.record()["slot"].as_str().unwrap().to_owned();
        machine.set("try", "");
        fs::write(machine.slot(&target), vec![7; BODY]).unwrap();
        assert_eq!(machine.settle(), 0, "{language:?}: {}", machine.record());
        assert_eq!(machine.image_in(&machine.boot()), machine.images.last().unwrap());
        let record = machine.bench.home.path("agent/agent.json");
        for damaged in ["", "{\"state\":\"armed\"", "[]"] {
            fs::write(&record, damaged).unwrap();
            assert_eq!(machine.settle(), 0, "{language:?} {damaged}: {}", machine.record());
        }
        assert!(Path::new(&record).exists());
    }
}
