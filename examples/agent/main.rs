//! An update agent for a machine with two slots, of which one runs. docs/agent.md describes its states and its settings.
//!
//! Run it at each boot, and when there may be an update: from a timer, or with the word `watch` as a service that polls. It may
//! be killed, and the power may be cut, at any time. It believes nothing that it has noted before it has looked at the slot and
//! at the variables of the boot loader.
//!
//! Exit code: 0 nothing to do, 1 the offered image is bad, 75 to be continued after a reboot, else that of the error.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use pullet::{
    Client, Digest, ErrorKind, Options, RawTarget, Reference, Silent, WatchOptions, WatchOutcome, WriteOptions,
};
use serde_json::Value;
use sha2::Digest as _;

/// To be continued after a reboot.
const LATER: u8 = 75;
const BUFFER: usize = 64 << 10;

/// What the environment says: see docs/agent.md.
struct Settings {
    name: Reference,
    slots: [PathBuf; 2],
    /// The slot that runs.
    booted: Slot,
    folder: PathBuf,
    printenv: String,
    setenv: String,
    check: String,
    reboot: String,
    tries: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    A,
    B,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Offered,
    Fetching,
    Fetched,
    Writing,
    Written,
    Armed,
    Trying,
    Good,
    Bad,
}

const STATES: [(State, &str); 10] = [
    (State::Idle, "idle"),
    (State::Offered, "offered"),
    (State::Fetching, "fetching"),
    (State::Fetched, "fetched"),
    (State::Writing, "writing"),
    (State::Written, "written"),
    (State::Armed, "armed"),
    (State::Trying, "trying"),
    (State::Good, "good"),
    (State::Bad, "bad"),
];

/// What the agent noted last.
struct Record {
    state: State,
    /// The image that is being installed, and where.
    digest: Option<Digest>,
    slot: Slot,
    /// The bytes of it in the slot, unpacked, and their digest.
    size: u64,
    image: Option<Digest>,
    /// The image that was confirmed last.
    good: Option<Digest>,
    /// The images that failed.
    bad: Vec<Digest>,
}

struct Agent {
    settings: Settings,
    client: Client,
    record: Record,
}

/// Why a run ends.
enum End {
    /// The exit code.
    Code(u8),
    Failure(String),
}

type Outcome<T> = Result<T, End>;

impl From<std::io::Error> for End {
    fn from(error: std::io::Error) -> Self {
        Self::Failure(error.to_string())
    }
}

impl From<pullet::Error> for End {
    fn from(error: pullet::Error) -> Self {
        note(&error.to_string());
        Self::Code(error.kind().exit_code())
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(End::Code(code)) => ExitCode::from(code),
        Err(End::Failure(text)) => {
            note(&text);
            ExitCode::from(9)
        }
    }
}

fn run() -> Outcome<()> {
    let settings = Settings::of_environment()?;
    fs::create_dir_all(&settings.folder)?;
    let lock = File::create(settings.folder.join("lock"))?;
    lock.lock()?;
    let client = Client::new(Options::new())?;
    let record = Record::load(&settings.folder.join("agent.json"))?;
    let mut agent = Agent { settings, client, record };
    agent.derive()?;
    agent.advance()?;
    if std::env::args().any(|word| word == "watch") {
        return agent.watch();
    }
    let offered = agent.client.digest(&agent.settings.name, &Silent)?;
    agent.install(offered)
}

/// The arrows of the state machine. Each may be repeated.
impl Agent {
    /// Polls until an image is installed, and the machine has to boot it.
    fn watch(mut self) -> Outcome<()> {
        let client = Client::new(Options::new())?;
        let (name, record) = (self.settings.name.clone(), self.settings.folder.join("watch.json"));
        let mut end = Ok(());
        client.watch(&name, &WatchOptions::new(record), &Silent, &mut |digest| match self.install(*digest) {
            Ok(()) => WatchOutcome::Done,
            Err(End::Code(1)) => WatchOutcome::Failed,
            Err(End::Code(5 | 6)) => WatchOutcome::Later,
            Err(other) => {
                end = Err(other);
                WatchOutcome::Stopped
            }
        })?;
        end
    }

    /// Installs an offered image, unless it is installed or has failed before.
    fn install(&mut self, offered: Digest) -> Outcome<()> {
        if self.record.good == Some(offered) {
            return Ok(());
        }
        if self.record.bad.contains(&offered) {
            note(&format!("{offered} has failed before"));
            return Err(End::Code(1));
        }
        let record = &mut self.record;
        (record.digest, record.slot, record.size, record.image) =
            (Some(offered), self.settings.booted.other(), 0, None);
        self.become_state(State::Offered)?;
        self.advance()
    }

    /// Goes on until there is nothing more to do.
    fn advance(&mut self) -> Outcome<()> {
        loop {
            match self.record.state {
                State::Idle | State::Good | State::Bad => return Ok(()),
                State::Offered => self.become_state(State::Fetching)?,
                State::Fetching => self.fetch()?,
                State::Fetched => self.open_slot()?,
                State::Writing => self.write_slot()?,
                State::Written => self.become_state(State::Armed)?,
                State::Armed => self.arm()?,
                State::Trying => self.try_image()?,
            }
        }
    }

    /// Proves that the registry has the image. Its content is fetched while it is written, because there is no room for a copy.
    fn fetch(&mut self) -> Outcome<()> {
        match self.client.document(&self.image_name()?, &Silent) {
            Ok(_) => self.become_state(State::Fetched),
            Err(error) => self.refuse(error),
        }
    }

    /// The boot loader must not try a slot that is being written.
    fn open_slot(&mut self) -> Outcome<()> {
        self.disarm()?;
        self.become_state(State::Writing)
    }

    /// Goes on where an earlier run was cut off. The slot is invalid for the boot loader until the image in it is proven.
    fn write_slot(&mut self) -> Outcome<()> {
        let slot = self.record.slot;
        if slot == self.settings.booted || self.settings.variable("slot")? == slot.word() {
            return Err(End::Failure(format!("slot {} is in use", slot.word())));
        }
        let written = RawTarget::open(self.settings.path(slot), WriteOptions::new().skip_same(true).readback(true))
            .and_then(|target| self.client.write_artifact_file(&self.image_name()?, None, target, &Silent));
        let written = match written {
            Ok(written) => written,
            Err(error) => return self.refuse(error),
        };
        (self.record.size, self.record.image) = (written.size, Some(written.digest));
        self.become_state(State::Written)
    }

    /// Decides what a failure of a request or a write means.
    fn refuse(&mut self, error: pullet::Error) -> Outcome<()> {
        match error.kind() {
            // The tag has moved on, and the registry has forgotten the image.
            ErrorKind::NotFound => self.become_state(State::Idle)?,
            // The image itself is wrong.
            ErrorKind::Mismatch | ErrorKind::Unsupported | ErrorKind::Unsafe => self.fail()?,
            _ => {}
        }
        Err(error.into())
    }

    /// Lets the boot loader try the slot. The number comes first, because the boot loader looks at it only with the slot.
    fn arm(&mut self) -> Outcome<()> {
        let slot = self.record.slot.word();
        if self.settings.variable("try")? != slot {
            self.settings.set_variable("tries", &self.settings.tries)?;
            self.settings.set_variable("try", slot)?;
        }
        self.restart()
    }

    /// Runs in the new system: it is good if it can do its work.
    fn try_image(&mut self) -> Outcome<()> {
        if !Command::new("/bin/sh").arg("-c").arg(&self.settings.check).status()?.success() {
            self.fail()?;
            return self.restart();
        }
        self.settings.set_variable("slot", self.record.slot.word())?;
        self.disarm()?;
        self.record.good = self.record.digest;
        self.become_state(State::Good)
    }

    /// Notes that the image is bad, and only then gives it up.
    fn fail(&mut self) -> Outcome<()> {
        self.record.bad.extend(self.record.digest);
        self.become_state(State::Bad)?;
        self.disarm()
    }

    fn disarm(&self) -> Outcome<()> {
        if self.settings.variable("try")?.is_empty() { Ok(()) } else { self.settings.set_variable("try", "") }
    }

    fn restart(&self) -> Outcome<()> {
        execute(&self.settings.reboot, &[])?;
        Err(End::Code(LATER))
    }

    /// Brings the record in line with the slot and the boot loader.
    fn derive(&mut self) -> Outcome<()> {
        let (slot, booted) = (self.record.slot, self.settings.booted);
        match self.record.state {
            State::Written | State::Armed | State::Trying => {}
            State::Bad => {
                // The power may have been cut after the image was noted as bad.
                self.disarm()?;
                if booted == slot && self.settings.variable("slot")? != slot.word() {
                    return self.restart();
                }
                return Ok(());
            }
            _ => return Ok(()),
        }
        if booted == slot {
            if self.record.state != State::Trying {
                self.become_state(State::Trying)?;
            }
        } else if self.settings.variable("try")? == slot.word() && self.settings.variable("tries")? == "0" {
            note("the image does not boot");
            self.fail()?;
        } else if !self.holds()? {
            // Something else was written to the slot.
            self.disarm()?;
            self.record.state = State::Fetched;
        } else if self.record.state == State::Trying {
            self.record.state = State::Armed;
        }
        Ok(())
    }

    /// Returns true if the slot has the image.
    fn holds(&self) -> Outcome<bool> {
        let Some(image) = self.record.image else { return Ok(false) };
        let mut content = File::open(self.settings.path(self.record.slot))?.take(self.record.size);
        let (mut sha256, mut buffer) = (sha2::Sha256::new(), vec![0; BUFFER]);
        loop {
            let count = content.read(&mut buffer)?;
            match buffer.get(..count) {
                Some(bytes) if count > 0 => sha256.update(bytes),
                _ => break,
            }
        }
        let hex: String = sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(image.to_string() == format!("sha256:{hex}"))
    }

    /// The repository with the digest of the image.
    fn image_name(&self) -> Result<Reference, pullet::Error> {
        let digest = self.record.digest.map(|digest| digest.to_string()).unwrap_or_default();
        format!("{}@{digest}", self.settings.name.repository()).parse()
    }

    fn become_state(&mut self, state: State) -> Outcome<()> {
        self.record.state = state;
        self.record.save(&self.settings.folder)?;
        let digest = self.record.digest.map(|digest| digest.to_string()).unwrap_or_default();
        note(&format!("{}: {digest}", state.word()));
        Ok(())
    }
}

/// Reports in one line, which is written at once.
fn note(text: &str) {
    let _ = std::io::stderr().write_all(format!("agent: {text}\n").as_bytes());
}

impl State {
    fn word(self) -> &'static str {
        STATES.iter().find(|(state, _)| *state == self).map_or("idle", |(_, word)| word)
    }
}

impl Settings {
    fn of_environment() -> Outcome<Self> {
        let optional = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        let required = |name: &str| std::env::var(name).map_err(|_| End::Failure(format!("{name} is not set")));
        Ok(Self {
            name: required("AGENT_NAME")?.parse()?,
            slots: [required("AGENT_SLOT_A")?.into(), required("AGENT_SLOT_B")?.into()],
            booted: Slot::parse(&required("AGENT_BOOTED")?),
            folder: optional("AGENT_FOLDER", "/var/lib/agent").into(),
            printenv: optional("AGENT_PRINTENV", "fw_printenv -n"),
            setenv: optional("AGENT_SETENV", "fw_setenv"),
            check: optional("AGENT_CHECK", "true"),
            reboot: optional("AGENT_REBOOT", "reboot"),
            tries: optional("AGENT_TRIES", "3"),
        })
    }

    fn path(&self, slot: Slot) -> &Path {
        let [a, b] = &self.slots;
        if slot == Slot::A { a } else { b }
    }

    /// A variable of the boot loader.
    fn variable(&self, name: &str) -> Outcome<String> {
        execute(&self.printenv, &[name])
    }

    fn set_variable(&self, name: &str, value: &str) -> Outcome<()> {
        execute(&self.setenv, &[name, value]).map(drop)
    }
}

/// Runs a command of the settings, which is split at spaces, and returns what it prints.
fn execute(command: &str, arguments: &[&str]) -> Outcome<String> {
    let mut words = command.split_whitespace();
    let output = Command::new(words.next().unwrap_or_default()).args(words).args(arguments).output()?;
    if !output.status.success() {
        return Err(End::Failure(format!("{command}: {}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

impl Slot {
    fn parse(word: &str) -> Self {
        if word == "a" { Self::A } else { Self::B }
    }

    fn word(self) -> &'static str {
        if self == Self::A { "a" } else { "b" }
    }

    fn other(self) -> Self {
        if self == Self::A { Self::B } else { Self::A }
    }
}

impl Record {
    /// Reads the record. A damaged one counts as a missing one.
    fn load(path: &Path) -> Outcome<Self> {
        let none =
            Self { state: State::Idle, digest: None, slot: Slot::A, size: 0, image: None, good: None, bad: Vec::new() };
        match fs::read_to_string(path) {
            Ok(text) => Ok(Self::parse(&text).unwrap_or(none)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(none),
            Err(error) => Err(error.into()),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let digest = |name: &str| text(name)?.parse().ok();
        let state = text("state")?;
        Some(Self {
            state: STATES.iter().find(|(_, word)| *word == state)?.0,
            digest: digest("digest"),
            slot: Slot::parse(text("slot")?),
            size: value.get("size")?.as_u64()?,
            image: digest("image"),
            good: digest("good"),
            bad: value.get("bad")?.as_array()?.iter().filter_map(|bad| bad.as_str()?.parse().ok()).collect(),
        })
    }

    fn to_json(&self) -> String {
        let text = |digest: &Option<Digest>| digest.map(|digest| digest.to_string()).unwrap_or_default();
        let state = self.state.word();
        let bad: Vec<String> = self.bad.iter().map(|digest| format!("\"{digest}\"")).collect();
        // In the same order as the agent in shell, which reads it without a parser.
        format!(
            r#"{{"state":"{state}","digest":"{}","slot":"{}","size":{},"image":"{}","good":"{}","bad":[{}]}}"#,
            text(&self.digest),
            self.slot.word(),
            self.size,
            text(&self.image),
            text(&self.good),
            bad.join(",")
        )
    }

    /// Replaces the record in one step that is on the disk when it returns.
    fn save(&self, folder: &Path) -> Outcome<()> {
        let (path, new) = (folder.join("agent.json"), folder.join("agent.json.new"));
        let mut file = File::create(&new)?;
        file.write_all(format!("{}\n", self.to_json()).as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        Ok(File::open(folder)?.sync_all()?)
    }
}
