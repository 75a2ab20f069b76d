//! The error type of the crate: a kind for programs, a text and a remedy for people, and a cause. It imports no other
//! module except `advice` and `escape`. There is no `From<io::Error>`, because an `io::Error` does not say whether disk
//! or network failed; each constructor requires the path or the URL.

use std::fmt::{self, Display};
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::advice::Advice;
use crate::escape::Escaped;

/// The most characters of an error that `Display` shows, because it may quote untrusted text of any length.
const TEXT_LIMIT: usize = 2000;

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// The error of every fallible function of this crate.
///
/// Programs branch on [`kind`](Error::kind). People read `Display` ("verb noun: cause", with control characters
/// escaped) and a remedy: [`advice`](Error::advice) or [`hint`](Error::hint).
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    text: String,
    hint: Option<String>,
    advice: Option<Advice>,
    retry_after: Option<Duration>,
    is_final: bool,
    is_refusal: bool,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The class of an error, for programs to branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The registry requires credentials, or different ones. Many registries also answer so for repositories that do
    /// not exist.
    Denied,
    /// The store or the target could not be read or written.
    Disk,
    /// A bug in pullet.
    Internal,
    /// Cancelled by [`Cancel`](crate::Cancel).
    Interrupted,
    /// Content does not match its digest, size or diff_id.
    Mismatch,
    /// The network or the server failed: DNS, connection, stall, truncated body, status 5xx, a response that is not
    /// HTTP.
    Network,
    /// The repository, tag, manifest, blob or local image does not exist.
    NotFound,
    /// The registry limits the rate of requests (status 429), or the bytes that the caller allows are used up.
    RateLimited,
    /// TLS failed: the certificate, its name or its validity period.
    Tls,
    /// An archive or document is hostile or malformed, or exceeds one of the [`Limits`](crate::Limits).
    Unsafe,
    /// A media type, platform or algorithm is valid but not supported.
    Unsupported,
    /// A name, option or configuration file is malformed.
    Usage,
}

impl ErrorKind {
    /// A stable word for the kind, for JSON output and logs.
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

    /// Returns true if the same call may succeed later without any change on this machine.
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Network | Self::RateLimited)
    }

    /// The exit code for a program that ends with this kind of error. The codes are stable.
    ///
    /// ```
    /// assert_eq!(pullet::ErrorKind::NotFound.exit_code(), 3);
    /// ```
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Denied => 4,
            Self::Network => 5,
            Self::RateLimited => 6,
            Self::Tls => 7,
            Self::Mismatch => 8,
            Self::Disk => 9,
            Self::Unsupported => 10,
            Self::Unsafe => 11,
            Self::Interrupted => 130,
        }
    }
}

impl Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Error {
    /// Creates an error. The text is in lower case without a full stop, and reads "verb noun: cause".
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            text: text.into(),
            hint: None,
            advice: None,
            retry_after: None,
            is_final: false,
            is_refusal: false,
            source: None,
        }))
    }

    /// Creates the error of a failure to `verb` the file or folder at `path`.
    pub(crate) fn disk(verb: &str, path: impl AsRef<Path>, cause: impl Into<io::Error>) -> Self {
        let cause = cause.into();
        let text = format!("{verb} {}: {cause}", path.as_ref().display());
        Self::new(ErrorKind::Disk, text).caused_by(cause)
    }

    /// Recovers an error of this crate that an [`io::Error`] carried through `Read`. `otherwise` converts any other
    /// one.
    pub(crate) fn through_read(cause: io::Error, otherwise: impl FnOnce(io::Error) -> Self) -> Self {
        match cause.downcast::<Self>() {
            Ok(ours) => ours,
            Err(other) => otherwise(other),
        }
    }

    /// Adds the cause, which [`source`](std::error::Error::source) returns.
    pub(crate) fn caused_by(mut self, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Box::new(cause));
        self
    }

    /// Puts "what: " before the text. The public interface of each module adds exactly one such phrase.
    pub(crate) fn context(mut self, what: impl Display) -> Self {
        self.0.text = format!("{what}: {}", self.0.text);
        self
    }

    /// Adds a remedy in words. It must not name options or commands of the program: use advice for those.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds a remedy that the caller puts into words.
    pub(crate) fn with_advice(mut self, advice: Advice) -> Self {
        self.0.advice = Some(advice);
        self
    }

    /// Adds the time to wait that the registry asked for.
    pub(crate) fn with_retry_after(mut self, time: Option<Duration>) -> Self {
        self.0.retry_after = time;
        self
    }

    /// Marks an error that no retry can resolve, although its kind is transient.
    pub(crate) fn finally(mut self) -> Self {
        self.0.is_final = true;
        self
    }

    /// Returns false for an error that is marked as final.
    pub(crate) fn may_be_retried(&self) -> bool {
        !self.0.is_final
    }

    /// Marks an error that a server's response reports: the network works.
    pub(crate) fn refused(mut self) -> Self {
        self.0.is_refusal = true;
        self
    }

    /// Returns true for an error that is marked as a server's response.
    pub(crate) fn is_refusal(&self) -> bool {
        self.0.is_refusal
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

/// Carries an error through `Read`. `Error::through_read` recovers it with all its fields.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_passes_through_read_with_all_its_fields() {
        let carried: io::Error = Error::new(ErrorKind::Mismatch, "check digest: no").with_hint("try again").into();
        let back = Error::through_read(carried, |e| Error::disk("read", "x", e));
        assert_eq!(back.kind(), ErrorKind::Mismatch);
        assert_eq!(back.hint().map(|h| h.to_string()).as_deref(), Some("try again"));
        let other = Error::through_read(io::ErrorKind::NotFound.into(), |e| Error::disk("read", "x", e));
        assert_eq!(other.kind(), ErrorKind::Disk);
    }

    #[test]
    fn puts_context_first_and_escapes_control_characters() {
        let error = Error::new(ErrorKind::Network, "bad \u{1b}[31mthing").context("pull x");
        assert_eq!(error.to_string(), "pull x: bad \\u{1b}[31mthing");
    }
}
