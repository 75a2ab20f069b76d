//! What was typed, as values. Nothing is opened here but standard input for `--creds -`, and what says where short names
//! are; a contradiction or a malformed word is refused before anything begins.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use lexopt::prelude::*;
use pullet::{Cancel, Credentials, Limits, Platform, Reference};

use crate::exit::Failure;
use crate::topic::{Topic, command_named, misused};
use crate::words::{bytes, choice, credentials, exactly, host, jobs, name, names, number, path, seconds, string};

/// Options of every command.
#[derive(Default)]
pub(crate) struct Common {
    pub(crate) store: Option<PathBuf>,
    pub(crate) progress: ProgressMode,
    pub(crate) is_quiet: bool,
    pub(crate) is_verbose: bool,
    /// What signals raise.
    pub(crate) cancel: Cancel,
}

/// How progress is shown.
#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) enum ProgressMode {
    #[default]
    Auto,
    Tty,
    Plain,
    Json,
    None,
}

/// One command and what is its own.
pub(crate) enum Command {
    Artifact(Artifact),
    Boot(Boot),
    Config(Config),
    Digest(Digest),
    Help(Topic),
    Images,
    Login(Login),
    Logout(Logout),
    Manifest(Manifest),
    Pull(Pull),
    Tags(Tags),
    Unpack(Unpack),
    Verify(Verify),
    Version,
}

/// Options of the commands that talk to a registry.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) platform: Option<Platform>,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) authfile: Option<PathBuf>,
    pub(crate) token_realms: Vec<String>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) jobs: Option<NonZeroUsize>,
    pub(crate) allows_foreign_layers: bool,
    pub(crate) retries: Option<u32>,
    pub(crate) stall_timeout: Option<Duration>,
    /// With the deadline of `--timeout`, if there is one.
    pub(crate) cancel: Cancel,
    pub(crate) rate_limit: Option<u64>,
    pub(crate) client_cert: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
    pub(crate) insecure_registries: Vec<String>,
    pub(crate) registry_mirrors: Vec<String>,
    pub(crate) limits: Limits,
}

pub(crate) struct Artifact {
    pub(crate) registry: Registry,
    pub(crate) name: Reference,
    pub(crate) target: PathBuf,
}

pub(crate) struct Boot {
    pub(crate) registry: Registry,
    /// What is read instead of `/proc/cmdline`.
    pub(crate) cmdline: Option<PathBuf>,
    pub(crate) target: PathBuf,
}

pub(crate) struct Config {
    pub(crate) registry: Registry,
    pub(crate) name: Reference,
}

pub(crate) struct Digest {
    pub(crate) registry: Registry,
    pub(crate) name: Reference,
}

pub(crate) struct Manifest {
    pub(crate) registry: Registry,
    pub(crate) is_raw: bool,
    pub(crate) name: Reference,
}

pub(crate) struct Tags {
    pub(crate) registry: Registry,
    pub(crate) repository: Reference,
}

pub(crate) struct Login {
    pub(crate) registry: Registry,
    pub(crate) user: Option<String>,
    pub(crate) password_stdin: bool,
    pub(crate) host: String,
}

pub(crate) struct Logout {
    pub(crate) registry: Registry,
    pub(crate) host: String,
}

pub(crate) struct Pull {
    pub(crate) registry: Registry,
    pub(crate) all_tags: bool,
    pub(crate) names: Vec<Reference>,
}

pub(crate) struct Unpack {
    pub(crate) registry: Registry,
    pub(crate) when: PullWhen,
    pub(crate) devices: bool,
    pub(crate) is_streamed: bool,
    pub(crate) name: Reference,
    pub(crate) target: PathBuf,
}

pub(crate) struct Verify {
    pub(crate) remove_corrupt: bool,
    pub(crate) names: Vec<Reference>,
}

/// When `unpack` asks the registry.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum PullWhen {
    Missing,
    Always,
    Never,
}

/// All that any command may have; each takes its own out and refuses the rest.
#[derive(Default)]
struct Typed {
    common: Common,
    registry: Registry,
    cmdline: Option<PathBuf>,
    all_tags: bool,
    when: Option<PullWhen>,
    no_devices: bool,
    stream: bool,
    remove_corrupt: bool,
    is_raw: bool,
    user: Option<String>,
    password_stdin: bool,
    help: bool,
    version: bool,
    words: Vec<OsString>,
}

/// Parses the words behind the program's name. The options of every command are given even where the rest is wrong,
/// so that the error is told in the way that was asked for.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>, cancel: &Cancel) -> (Common, Result<Command, Failure>) {
    let mut topic = None;
    let mut typed = Typed::default();
    typed.common.cancel = cancel.clone();
    typed.registry.cancel = cancel.clone();
    let mut parser = lexopt::Parser::from_args(words);
    let mut first_failure = None;
    loop {
        match typed.next(&mut parser, &mut topic) {
            Ok(true) => {}
            Ok(false) => break,
            Err(failure) => first_failure = first_failure.or(Some(failure)),
        }
    }
    let common = std::mem::take(&mut typed.common);
    let command = match (first_failure, topic) {
        (Some(failure), _) => Err(failure),
        (None, _) if typed.version => Ok(Command::Version),
        (None, _) if typed.help => Ok(Command::Help(topic.unwrap_or(Topic::Program))),
        (None, None) => Err(misused(None, "a command is missing")),
        (None, Some(topic)) => typed.command(topic),
    };
    (common, command)
}

impl Typed {
    /// Takes the next word; `false` at their end.
    fn next(&mut self, parser: &mut lexopt::Parser, topic: &mut Option<Topic>) -> Result<bool, Failure> {
        match parser.next().map_err(|e| misused(*topic, e))? {
            None => return Ok(false),
            Some(Value(word)) if topic.is_none() => *topic = Some(command_named(&word)?),
            Some(Value(word)) => self.words.push(word),
            Some(Short(letter)) => self.take(&format!("-{letter}"), *topic, parser)?,
            Some(Long(word)) => {
                let option = format!("--{word}");
                self.take(&option, *topic, parser)?;
            }
        }
        Ok(true)
    }

    fn take(&mut self, option: &str, topic: Option<Topic>, parser: &mut lexopt::Parser) -> Result<(), Failure> {
        let asks = topic.is_some_and(Topic::asks);
        let logs_in = topic == Some(Topic::Login);
        let keeps = logs_in || topic == Some(Topic::Logout);
        let unpacks = matches!(topic, Some(Topic::Boot | Topic::Unpack));
        let takes_blobs = unpacks || matches!(topic, Some(Topic::Artifact | Topic::Pull));
        match option {
            "-h" | "--help" => self.help = true,
            "-V" | "--version" => self.version = true,
            "-q" | "--quiet" => self.common.is_quiet = true,
            "-v" | "--verbose" => self.common.is_verbose = true,
            "--store" => self.common.store = Some(path(parser, topic)?),
            "--progress" => self.common.progress = choice(parser, topic, option, &PROGRESS_MODES)?,
            "--platform" if asks => self.registry.platform = Some(string(parser, topic)?.parse()?),
            "--creds" if asks => {
                self.registry.credentials = Some(credentials(&string(parser, topic)?, &self.common.cancel)?)
            }
            "--allow-foreign-layers" if unpacks || topic == Some(Topic::Pull) => {
                self.registry.allows_foreign_layers = true
            }
            "-j" | "--jobs" if asks => self.registry.jobs = Some(jobs(parser, topic)?),
            "--retries" if asks => self.registry.retries = Some(number(parser, topic, option)?),
            "--stall-timeout" if asks => self.registry.stall_timeout = Some(seconds(parser, topic, option)?),
            "--timeout" if asks => {
                let deadline = Instant::now() + seconds(parser, topic, option)?;
                self.registry.cancel = self.common.cancel.until(deadline);
            }
            "--limit-rate" if asks => self.registry.rate_limit = Some(bytes(parser, topic, option)?),
            "--authfile" if asks || keeps => self.registry.authfile = Some(path(parser, topic)?),
            "--token-realm" if asks || logs_in => self.registry.token_realms.push(string(parser, topic)?),
            "--ca-file" if asks || logs_in => self.registry.ca_file = Some(path(parser, topic)?),
            "--client-cert" if asks || logs_in => self.registry.client_cert = Some(path(parser, topic)?),
            "--client-key" if asks || logs_in => self.registry.client_key = Some(path(parser, topic)?),
            "--insecure-registry" if asks || logs_in => self.registry.insecure_registries.push(string(parser, topic)?),
            "--registry-mirror" if asks => self.registry.registry_mirrors.push(string(parser, topic)?),
            "--cmdline" if topic == Some(Topic::Boot) => self.cmdline = Some(path(parser, topic)?),
            "-a" | "--all-tags" if topic == Some(Topic::Pull) => self.all_tags = true,
            "--pull" if topic == Some(Topic::Unpack) => self.when = Some(choice(parser, topic, option, &PULL_WHEN)?),
            "--no-devices" if topic == Some(Topic::Unpack) => self.no_devices = true,
            "--stream" if topic == Some(Topic::Unpack) => self.stream = true,
            "--max-unpacked" if takes_blobs => self.registry.limits.unpacked = bytes(parser, topic, option)?,
            "--max-entries" if unpacks => self.registry.limits.entries = number(parser, topic, option)?,
            "--max-zstd-window" if unpacks => self.registry.limits.zstd_window = bytes(parser, topic, option)?,
            "--raw" if topic == Some(Topic::Manifest) => self.is_raw = true,
            "-u" | "--username" if logs_in => self.user = Some(string(parser, topic)?),
            "--password-stdin" if logs_in => self.password_stdin = true,
            "--remove-corrupt" if topic == Some(Topic::Verify) => self.remove_corrupt = true,
            unknown => return Err(misused(topic, format!("unknown option {unknown}"))),
        }
        Ok(())
    }

    fn command(self, topic: Topic) -> Result<Command, Failure> {
        let Self { registry, words, .. } = self;
        if registry.client_key.is_some() && registry.client_cert.is_none() {
            return Err(misused(Some(topic), "--client-key needs a --client-cert"));
        }
        let command = match topic {
            Topic::Program => Command::Help(Topic::Program),
            Topic::Artifact => {
                let [word, target] = exactly(words, topic, "exactly a NAME and a DIR are needed")?;
                Command::Artifact(Artifact { registry, name: name(&word, str::parse)?, target: target.into() })
            }
            Topic::Boot => {
                let words = if words.is_empty() { vec![SYSROOT.into()] } else { words };
                let [target] = exactly(words, topic, "no more than one DIR is needed")?;
                Command::Boot(Boot { registry, cmdline: self.cmdline, target: target.into() })
            }
            Topic::Config => {
                let [word] = exactly(words, topic, "exactly a NAME is needed")?;
                Command::Config(Config { registry, name: name(&word, str::parse)? })
            }
            Topic::Digest => {
                let [word] = exactly(words, topic, "exactly a NAME is needed")?;
                Command::Digest(Digest { registry, name: name(&word, str::parse)? })
            }
            Topic::Manifest => {
                let [word] = exactly(words, topic, "exactly a NAME is needed")?;
                Command::Manifest(Manifest { registry, is_raw: self.is_raw, name: name(&word, str::parse)? })
            }
            Topic::Tags => {
                let [word] = exactly(words, topic, "exactly a REPOSITORY is needed")?;
                Command::Tags(Tags { registry, repository: name(&word, Reference::parse_repository)? })
            }
            Topic::Images => {
                if let Some(word) = words.first() {
                    return Err(misused(Some(topic), format!("unexpected argument {word:?}")));
                }
                Command::Images
            }
            Topic::Login if self.password_stdin && self.user.is_none() => {
                return Err(misused(Some(topic), "--password-stdin needs a user: -u USER"));
            }
            Topic::Login => {
                let host = host(topic, &words)?;
                Command::Login(Login { registry, user: self.user, password_stdin: self.password_stdin, host })
            }
            Topic::Logout => Command::Logout(Logout { registry, host: host(topic, &words)? }),
            Topic::Pull if words.is_empty() => return Err(misused(Some(topic), "a NAME is missing")),
            Topic::Pull => {
                let parse = if self.all_tags { Reference::parse_repository } else { str::parse };
                let names = names(&words, parse)?;
                let is_shared = names
                    .windows(2)
                    .any(|pair| pair.first().map(Reference::domain) != pair.last().map(Reference::domain));
                for (option, is_given) in
                    [("--creds", registry.credentials.is_some()), ("--client-cert", registry.client_cert.is_some())]
                {
                    if is_given && is_shared {
                        let text = format!("{option} is for one registry, and the names are of several");
                        return Err(misused(Some(topic), text));
                    }
                }
                Command::Pull(Pull { registry, all_tags: self.all_tags, names })
            }
            Topic::Unpack if self.stream && self.when == Some(PullWhen::Never) => {
                return Err(misused(Some(topic), "--stream asks the registry, which --pull never forbids"));
            }
            Topic::Unpack => {
                let [word, target] = exactly(words, topic, "exactly a NAME and a DIR are needed")?;
                let name = name(&word, str::parse)?;
                let when = self.when.unwrap_or(PullWhen::Missing);
                let (devices, is_streamed) = (!self.no_devices, self.stream);
                Command::Unpack(Unpack { registry, when, devices, is_streamed, name, target: target.into() })
            }
            Topic::Verify => {
                Command::Verify(Verify { remove_corrupt: self.remove_corrupt, names: names(&words, str::parse)? })
            }
        };
        Ok(command)
    }
}

/// Where dracut and systemd have the new root.
const SYSROOT: &str = "/sysroot";

const PROGRESS_MODES: [(&str, ProgressMode); 5] = [
    ("auto", ProgressMode::Auto),
    ("tty", ProgressMode::Tty),
    ("plain", ProgressMode::Plain),
    ("json", ProgressMode::Json),
    ("none", ProgressMode::None),
];

const PULL_WHEN: [(&str, PullWhen); 3] =
    [("missing", PullWhen::Missing), ("always", PullWhen::Always), ("never", PullWhen::Never)];
