//! The options of every command.

use std::path::PathBuf;

use pullet::{Cancel, Store};

use super::options::{Group, Opt};
use crate::exit::Failure;

/// The options of every command.
#[derive(Default)]
pub(crate) struct Common {
    store: Option<PathBuf>,
    pub(crate) progress: ProgressMode,
    #[cfg(feature = "manage")]
    pub(crate) progress_fd: Option<u32>,
    pub(crate) is_quiet: bool,
    pub(crate) is_verbose: bool,
    pub(crate) help: bool,
    pub(crate) version: bool,
    /// Set by signals.
    pub(crate) cancel: Cancel,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum ProgressMode {
    #[default]
    Auto,
    Tty,
    Plain,
    Json,
    None,
}

/// The long name of the option for the store.
pub(crate) const STORE_OPTION: &str = "--store";

pub(crate) static COMMON: Group<Common> = Group {
    heading: "Common options",
    options: &[
        Opt::value(
            "--store DIR",
            "the store, an OCI image layout (default: $PULLET_STORE, otherwise /var/lib/pullet for root, otherwise \
             ~/.local/share/pullet)",
            |common, value| {
                common.store = Some(value.path()?);
                Ok(())
            },
        ),
        Opt::value(
            "--progress auto|tty|plain|json|none",
            "how to show progress on standard error; json prints one object a line",
            |common, value| {
                common.progress = value.choice(&PROGRESS_MODES)?;
                Ok(())
            },
        ),
        #[cfg(feature = "manage")]
        Opt::value(
            "--progress-fd N",
            "write progress to this open descriptor, as json unless --progress names another form; standard error gets only \
             errors",
            |common, value| {
                common.progress_fd = Some(value.number()?);
                Ok(())
            },
        ),
        Opt::flag("-q, --quiet", "show no progress, and print only what a script needs", |common| {
            common.is_quiet = true
        }),
        Opt::flag("-v, --verbose", "show each request, and which configuration was found where", |common| {
            common.is_verbose = true;
        }),
        Opt::flag("-h, --help", "print this help", |common| common.help = true),
        Opt::flag("-V, --version", "print the version", |common| common.version = true),
    ],
};

const PROGRESS_MODES: [(&str, ProgressMode); 5] = [
    ("auto", ProgressMode::Auto),
    ("tty", ProgressMode::Tty),
    ("plain", ProgressMode::Plain),
    ("json", ProgressMode::Json),
    ("none", ProgressMode::None),
];

impl Common {
    /// The default options of a process that stops when `cancel` is raised.
    pub(crate) fn new(cancel: Cancel) -> Self {
        Self { cancel, ..Self::default() }
    }

    /// The store that the options or the environment name.
    pub(crate) fn store(&self) -> Result<Store, Failure> {
        match self.store.clone().or_else(pullet::default_store) {
            Some(folder) => Ok(Store::open(folder)),
            None => Err(Failure::usage("cannot determine the store directory").hint("name one with --store DIR")),
        }
    }
}
