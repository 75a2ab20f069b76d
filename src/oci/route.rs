//! Routes: the mirrors and the registry that serve a repository, as a file or option configures them. Plain data;
//! checks nothing.

use std::path::PathBuf;

/// The places that serve a repository, as one file or option configures them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Route {
    /// In the order in which they are tried.
    pub(crate) mirrors: Vec<Place>,
    /// The registry itself, if something is configured for it. It is tried last.
    pub(crate) origin: Option<Place>,
    /// The file or option.
    pub(crate) from: String,
}

/// One place and the requests that it may receive.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Place {
    pub(crate) base: Base,
    /// True if it may resolve tags, which no digest verifies.
    pub(crate) resolves: bool,
    /// True if it may serve content by digest.
    pub(crate) pulls: bool,
    /// True if requests to it name the registry that was asked for, as `ns=`.
    pub(crate) sends_namespace: bool,
    /// True if its certificate is not verified.
    pub(crate) is_insecure: bool,
    pub(crate) files: TlsFiles,
    /// Headers that are sent with every request to its origin.
    pub(crate) headers: Vec<(String, String)>,
    /// The file or option that names it.
    pub(crate) from: String,
}

/// The address of a place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Base {
    /// The registry in the image name.
    Named,
    /// `HOST[:PORT]` and the path of the repository on it.
    #[cfg_attr(not(feature = "toml"), allow(dead_code, reason = "only registries.conf uses it"))]
    Repository { host: String, path: String },
    /// A URL. The `/v2` of the API is appended to its path unless `is_whole`.
    Url { url: String, is_whole: bool },
}

/// Certificate files in PEM for one place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) authorities: Vec<PathBuf>,
    /// A client certificate, and its key if that is in another file.
    pub(crate) client: Option<(PathBuf, Option<PathBuf>)>,
    /// A folder whose `*.crt`, `*.cert` and `*.key` files are used too.
    pub(crate) folder: Option<PathBuf>,
}

impl Place {
    /// A place that may receive all requests, with no further settings.
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

    /// A mirror at this URL.
    pub(crate) fn at_url(url: &str, from: &str) -> Self {
        Self::new(Base::Url { url: url.to_owned(), is_whole: false }, from)
    }
}
