//! The one error type. It knows nobody: rooms describe what happened to them, and it carries the kind for programs,
//! the text for people, the way out, and the cause. There is no blanket `From<io::Error>`: an IO error does not know
//! whether it was the disk or the network, so a constructor demands the path or the URL.

use std::fmt::{self, Display};
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::advice::Advice;
use crate::escape::Escaped;

/// Characters of an error that are shown: foreign text in it may have any length.
const TEXT_LIMIT: usize = 2000;

/// What every fallible function of this crate returns.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong: [`kind`](Error::kind) for programs, `Display` for people ("verb noun: cause", control characters
/// escaped), [`hint`](Error::hint) for the way out.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    text: String,
    hint: Option<String>,
    advice: Option<Advice>,
    retry_after: Option<Duration>,
    is_final: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The class of an error, on which a program may branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The registry wants credentials, or other ones. Registries also hide what does not exist behind this.
    Denied,
    /// The store or the target could not be read or written: no space, no permission, something in the way.
    Disk,
    /// A fault of pullet's own.
    Internal,
    /// Cancelled by [`Cancel`](crate::Cancel).
    Interrupted,
    /// Bytes that are not what their digest, size or diff_id promised.
    Mismatch,
    /// DNS, connection, a stall, a body that was cut, a 5xx, an answer that is not HTTP.
    Network,
    /// No such repository, tag, manifest, blob or local image.
    NotFound,
    /// The registry's limit is reached (429).
    RateLimited,
    /// TLS: certificate, name or time.
    Tls,
    /// A hostile or malformed archive or document, or a limit of [`Limits`](crate::Limits) exceeded.
    Unsafe,
    /// A media type, platform or algorithm that is valid and not supported.
    Unsupported,
    /// A malformed name or option.
    Usage,
}

impl ErrorKind {
    /// A stable word for the kind, as `--progress json` prints it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Disk => "disk",
            Self::Internal => "internal",
            Self::Interrupted => "interrupted",
            Self::Mismatch => "mismatch",
            Self::Network => "network",
            Self::NotFound => "not-found",
            Self::RateLimited => "rate-limited",
            Self::Tls => "tls",
            Self::Unsafe => "unsafe",
            Self::Unsupported => "unsupported",
            Self::Usage => "usage",
        }
    }

    /// Whether the same call may succeed later with nothing changed here.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Interrupted | Self::Network | Self::RateLimited)
    }
}

impl Error {
    /// An error of `kind`. The text is lower case, has no full stop, and reads "verb noun: cause".
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            text: text.into(),
            hint: None,
            advice: None,
            retry_after: None,
            is_final: false,
            source: None,
        }))
    }

    /// The disk's refusal to `verb` the file or folder at `path`.
    pub(crate) fn disk(verb: &str, path: impl AsRef<Path>, cause: impl Into<io::Error>) -> Self {
        let cause = cause.into();
        let text = format!("{verb} {}: {cause}", path.as_ref().display());
        Self::new(ErrorKind::Disk, text).caused_by(cause)
    }

    /// Brings a typed error out of an [`io::Error`] that carried it through a `Read` boundary; `otherwise` names
    /// one that was none of ours.
    pub(crate) fn through_read(cause: io::Error, otherwise: impl FnOnce(io::Error) -> Self) -> Self {
        match cause.downcast::<Self>() {
            Ok(ours) => ours,
            Err(foreign) => otherwise(foreign),
        }
    }

    pub(crate) fn caused_by(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(cause));
        self
    }

    /// Puts "what: " before the text. Each room's door adds exactly one such phrase.
    pub(crate) fn context(mut self, what: impl Display) -> Self {
        self.0.text = format!("{what}: {}", self.0.text);
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    pub(crate) fn with_advice(mut self, advice: Advice) -> Self {
        self.0.advice = Some(advice);
        self
    }

    /// The time after which the registry says that it may be asked again.
    pub(crate) fn with_retry_after(mut self, time: Option<Duration>) -> Self {
        self.0.retry_after = time;
        self
    }

    /// Marks an error that no retry within this command can help.
    pub(crate) fn finally(mut self) -> Self {
        self.0.is_final = true;
        self
    }

    pub(crate) fn may_be_retried(&self) -> bool {
        !self.0.is_final
    }

    /// How long the registry asked to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// A remedy that depends on the caller's own interface, such as an option to set.
    pub fn advice(&self) -> Option<&Advice> {
        self.0.advice.as_ref()
    }

    /// A remedy in words, independent of the caller's interface.
    pub fn hint(&self) -> Option<Escaped<'_>> {
        self.0.hint.as_deref().map(Escaped)
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.0.text;
        match text.char_indices().nth(TEXT_LIMIT) {
            Some((end, _)) => write!(f, "{}…", Escaped(text.get(..end).unwrap_or_default())),
            None => Escaped(text).fmt(f),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Lets a typed error dive through a `Read`; `Error::through_read` recovers it whole.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_error_survives_a_read_boundary() {
        let dived: io::Error = Error::new(ErrorKind::Mismatch, "check digest: no").with_hint("try again").into();
        let back = Error::through_read(dived, |e| Error::disk("read", "x", e));
        assert_eq!(back.kind(), ErrorKind::Mismatch);
        assert_eq!(back.hint().map(|h| h.to_string()).as_deref(), Some("try again"));
        let foreign = Error::through_read(io::ErrorKind::NotFound.into(), |e| Error::disk("read", "x", e));
        assert_eq!(foreign.kind(), ErrorKind::Disk);
    }

    #[test]
    fn context_comes_first_and_controls_are_escaped() {
        let error = Error::new(ErrorKind::Network, "bad \u{1b}[31mthing").context("pull x");
        assert_eq!(error.to_string(), "pull x: bad \\u{1b}[31mthing");
    }
}
