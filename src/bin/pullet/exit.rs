//! Exit codes: agents branch on them, so they are API.

use pullet::{Error, ErrorKind};

use crate::advice;

/// Why the program does not end with 0.
pub(crate) enum Failure {
    /// The library's refusal.
    Library(Error),
    /// The library's word for an end by SIGTERM.
    Terminated(Error),
    /// A bad command line: what is wrong, and where to read on.
    Usage(String, String),
    /// The reader of standard output has gone; there is nobody to tell.
    BrokenPipe,
    /// Standard output could not be written.
    Output(std::io::Error),
    /// A command that is not in this pullet, and the feature that brings it.
    #[cfg(not(all(feature = "manage", feature = "boot")))]
    NotBuilt(&'static str),
    /// `verify` found so many blobs that are not what they promise.
    Corrupt(usize),
}

impl Failure {
    /// The code of CLI.md's table.
    pub(crate) fn code(&self) -> u8 {
        match self.kind() {
            Some(ErrorKind::Interrupted) if matches!(self, Self::Terminated(_)) => 143,
            None => 0,
            Some(ErrorKind::Usage) => 2,
            Some(ErrorKind::NotFound) => 3,
            Some(ErrorKind::Denied) => 4,
            Some(ErrorKind::Network) => 5,
            Some(ErrorKind::RateLimited) => 6,
            Some(ErrorKind::Tls) => 7,
            Some(ErrorKind::Mismatch) => 8,
            Some(ErrorKind::Disk) => 9,
            Some(ErrorKind::Unsupported) => 10,
            Some(ErrorKind::Unsafe) => 11,
            Some(ErrorKind::Interrupted) => 130,
            Some(_) => 1,
        }
    }

    /// The stable word for the code.
    pub(crate) fn word(&self) -> &'static str {
        self.kind().map_or("ok", ErrorKind::word)
    }

    /// Whether the same command may succeed later with nothing changed here.
    pub(crate) fn is_transient(&self) -> bool {
        self.kind().is_some_and(ErrorKind::is_transient)
    }

    /// The line for people, and the second one where there is a way out.
    pub(crate) fn lines(&self) -> Option<(String, Option<String>)> {
        match self {
            Self::Library(error) | Self::Terminated(error) => Some((error.to_string(), advice::hint(error))),
            Self::Usage(what, hint) => Some((what.clone(), Some(hint.clone()))),
            Self::BrokenPipe => None,
            Self::Output(error) => Some((format!("write to standard output: {error}"), None)),
            #[cfg(not(all(feature = "manage", feature = "boot")))]
            Self::NotBuilt(feature) => {
                let text = "this pullet is built without this command".to_owned();
                Some((text, Some(format!("its feature is \"{feature}\""))))
            }
            Self::Corrupt(count) => {
                let hint = "pullet verify --remove-corrupt removes them; the next pull fetches them anew";
                Some((format!("{count} corrupt or missing blobs"), Some(hint.to_owned())))
            }
        }
    }

    fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Library(error) | Self::Terminated(error) => Some(error.kind()),
            Self::Usage(..) => Some(ErrorKind::Usage),
            Self::BrokenPipe => None,
            Self::Output(_) => Some(ErrorKind::Disk),
            #[cfg(not(all(feature = "manage", feature = "boot")))]
            Self::NotBuilt(_) => Some(ErrorKind::Unsupported),
            Self::Corrupt(_) => Some(ErrorKind::Mismatch),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}
