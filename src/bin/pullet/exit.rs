//! How the program ends: an error with its exit code. Exit codes are part of the public interface, because scripts branch
//! on them.

use pullet::{Error, ErrorKind};

use crate::advice;

/// Why the program does not end with success. In a box, because most functions of the program can return it.
pub(crate) struct Failure(Box<Inner>);

struct Inner {
    cause: Cause,
    text: String,
    hint: Option<String>,
}

#[derive(Clone, Copy)]
enum Cause {
    Error(ErrorKind),
    /// SIGTERM stopped the work.
    Terminated,
    /// The reader of standard output has closed it. That is not reported.
    BrokenPipe,
    /// A command that pullet has run ended with this exit status, which is passed on.
    #[cfg(feature = "manage")]
    Command(u8),
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self::caused_by(Cause::Error(kind), text.into())
    }

    fn caused_by(cause: Cause, text: String) -> Self {
        Self(Box::new(Inner { cause, text, hint: None }))
    }

    /// A bad option, argument or name.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, text)
    }

    /// A usage error that refers to the help of a command, or of the program.
    pub(crate) fn misused(command: Option<&str>, text: impl Into<String>) -> Self {
        let hint = match command {
            Some(command) => format!("see pullet {command} --help"),
            None => "see pullet --help".to_owned(),
        };
        Self::usage(text).hint(hint)
    }

    pub(crate) fn broken_pipe() -> Self {
        Self::caused_by(Cause::BrokenPipe, String::new())
    }

    /// The failure of a command that pullet has run.
    #[cfg(feature = "manage")]
    pub(crate) fn of_command(status: u8) -> Self {
        Self::caused_by(Cause::Command(status), format!("the command ended with exit status {status}"))
    }

    /// Adds a way out.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Both failures as one, with the exit code of the first.
    #[cfg(feature = "manage")]
    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.0.text = format!("{}; {}", self.0.text, other.0.text);
        self
    }

    /// The same failure, if SIGTERM was the signal that interrupted the work.
    pub(crate) fn by_sigterm(mut self) -> Self {
        if self.is_interruption() {
            self.0.cause = Cause::Terminated;
        }
        self
    }

    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self.0.cause {
            Cause::Error(kind) => kind.exit_code(),
            Cause::Terminated => 143,
            Cause::BrokenPipe => 0,
            #[cfg(feature = "manage")]
            Cause::Command(status) => status,
        }
    }

    /// The stable word for the code.
    pub(crate) fn word(&self) -> &'static str {
        #[cfg(feature = "manage")]
        if let Cause::Command(_) = self.0.cause {
            return "command";
        }
        self.kind().map_or("ok", ErrorKind::word)
    }

    /// Whether the same command may succeed later although nothing was changed here.
    pub(crate) fn is_transient(&self) -> bool {
        #[cfg(feature = "manage")]
        if let Cause::Command(status) = self.0.cause {
            return matches!(status, 5 | 6 | 75);
        }
        self.is_interruption() || self.kind().is_some_and(ErrorKind::is_transient)
    }

    /// Whether a signal stopped the work.
    pub(crate) fn is_interruption(&self) -> bool {
        self.kind() == Some(ErrorKind::Interrupted)
    }

    /// The error and, where there is a way out, the hint; `None` if nothing is to be reported.
    pub(crate) fn lines(&self) -> Option<(&str, Option<&str>)> {
        if let Cause::BrokenPipe = self.0.cause {
            return None;
        }
        Some((self.0.text.as_str(), self.0.hint.as_deref()))
    }

    fn kind(&self) -> Option<ErrorKind> {
        match self.0.cause {
            Cause::Error(kind) => Some(kind),
            Cause::Terminated => Some(ErrorKind::Interrupted),
            Cause::BrokenPipe => None,
            #[cfg(feature = "manage")]
            Cause::Command(_) => None,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut failure = Self::new(error.kind(), error.to_string());
        failure.0.hint = advice::hint(&error);
        failure
    }
}
