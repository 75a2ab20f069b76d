//! Where a repository is asked for, as somebody configured it, pure: mirrors in their order, then the registry itself.
//! What it says of a place is not judged here.

use std::path::PathBuf;

/// What one file or option says of the places where a repository is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Route {
    /// In the order in which they are asked.
    pub(crate) mirrors: Vec<Place>,
    /// The registry itself, where more is said of it than its name does. It is asked last.
    pub(crate) origin: Option<Place>,
    /// The file that says so.
    pub(crate) from: String,
}

/// One place, and what it may be asked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) base: Base,
    /// It may say what a tag means: no digest proves that.
    pub(crate) resolves: bool,
    /// It may give what a digest proves.
    pub(crate) pulls: bool,
    /// It is told for which registry it stands, as `ns=`.
    pub(crate) sends_namespace: bool,
    /// Its certificate is not verified.
    pub(crate) is_insecure: bool,
    pub(crate) files: TlsFiles,
    /// Sent with every request to its own origin.
    pub(crate) headers: Vec<(String, String)>,
    /// Which file or option names it.
    pub(crate) from: String,
}

/// How a place is addressed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Base {
    /// The registry as its name says.
    Named,
    /// `HOST[:PORT]` and the path of the repository there.
    #[cfg_attr(not(feature = "toml"), allow(dead_code, reason = "only registries.conf says it so"))]
    Repository { host: String, path: String },
    /// The scheme is what the URL says. The API's `/v2` is added to its path unless the URL `is_whole`.
    Url { url: String, is_whole: bool },
}

/// Files of certificates in PEM for one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) authorities: Vec<PathBuf>,
    /// A certificate, and its key where that is another file.
    pub(crate) client: Option<(PathBuf, Option<PathBuf>)>,
    /// A folder whose `*.crt`, `*.cert` and `*.key` count too.
    pub(crate) folder: Option<PathBuf>,
}

impl Place {
    /// A place that may be asked everything, and of which nothing more is said.
    pub(crate) fn new(base: Base, from: &str) -> Self {
        Self {
            base,
            resolves: true,
            pulls: true,
            sends_namespace: false,
            is_insecure: false,
            files: TlsFiles::default(),
            headers: Vec::new(),
            from: from.to_owned(),
        }
    }

    /// A mirror by its URL.
    pub(crate) fn at_url(url: &str, from: &str) -> Self {
        Self::new(Base::Url { url: url.to_owned(), is_whole: false }, from)
    }
}
