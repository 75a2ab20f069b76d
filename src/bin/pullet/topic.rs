//! The commands by name: what help is about, and which of them ask a registry.

use std::ffi::OsString;

use crate::exit::Failure;

/// What help is about.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Topic {
    Program,
    Artifact,
    Boot,
    Config,
    Digest,
    Images,
    Login,
    Logout,
    Manifest,
    Pull,
    Tags,
    Unpack,
    Verify,
}

impl Topic {
    /// Whether the command asks a registry for something, with all the options that there are for that.
    pub(crate) fn asks(self) -> bool {
        !matches!(self, Self::Program | Self::Images | Self::Login | Self::Logout | Self::Verify)
    }
}

const COMMANDS: [(&str, Topic); 12] = [
    ("artifact", Topic::Artifact),
    ("boot", Topic::Boot),
    ("config", Topic::Config),
    ("digest", Topic::Digest),
    ("images", Topic::Images),
    ("login", Topic::Login),
    ("logout", Topic::Logout),
    ("manifest", Topic::Manifest),
    ("pull", Topic::Pull),
    ("tags", Topic::Tags),
    ("unpack", Topic::Unpack),
    ("verify", Topic::Verify),
];

pub(crate) fn command_named(word: &OsString) -> Result<Topic, Failure> {
    let known = COMMANDS.iter().find(|(name, _)| word == *name);
    known.map(|(_, topic)| *topic).ok_or_else(|| misused(None, format!("unknown command {word:?}")))
}

pub(crate) fn misused(topic: Option<Topic>, what: impl std::fmt::Display) -> Failure {
    let name = COMMANDS.iter().find(|(_, other)| Some(*other) == topic).map(|(name, _)| format!(" {name}"));
    Failure::Usage(what.to_string(), format!("see pullet{} --help", name.unwrap_or_default()))
}
