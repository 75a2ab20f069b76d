//! Requests to a registry (distribution-spec): manifests, blobs and tags of one repository, from its endpoints in
//! order, with one kept-alive connection each. This room verifies no content, stores nothing and does not retry: the
//! caller sees what an attempt achieved, decides, and calls [`Repository::fail_over`] first.

mod auth;
mod connections;
mod endpoint;
mod foreign;
#[cfg(fuzzing)]
mod fuzzing;
mod http;
mod link;
mod ping;
mod plan;
mod problem;
mod redirect;
#[cfg(feature = "trust")]
mod referrers;
mod repository;
mod retry;
mod scanner;
mod session;
mod system;
mod tags;
mod tls;
mod url;

pub(crate) use self::connections::{ConnectionConfig, Connections};
#[cfg(fuzzing)]
pub use self::fuzzing::{challenges, joined, refusal, retry_after, token_answer};
pub(crate) use self::http::{Body, Budget, PaceLimits, RateLimit};
pub(crate) use self::plan::Planned;
pub(crate) use self::repository::Repository;
pub(crate) use self::retry::{Verdict, is_progress, verdict};
pub(crate) use self::session::ManifestResponse;
#[cfg(feature = "tls")]
pub(crate) use self::system::{Certificates, Notice};
pub(crate) use self::system::{CredentialProvider, Moment, System};
pub(crate) use self::tls::TlsConfig;
#[cfg(feature = "webpki-roots")]
pub(crate) use self::tls::built_in_roots;
