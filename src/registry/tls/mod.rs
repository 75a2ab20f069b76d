//! TLS for the HTTP client. A build without the feature `tls` has [`no_tls`] instead, which refuses connections that
//! need it.

#[cfg(feature = "webpki-roots")]
mod built_in;
#[cfg(feature = "tls")]
mod clock;
mod config;
#[cfg(feature = "tls")]
mod connector;
#[cfg(feature = "tls")]
mod error;
#[cfg(not(feature = "tls"))]
mod no_tls;
#[cfg(feature = "tls")]
mod trust;
#[cfg(feature = "tls")]
mod unverified;
#[cfg(feature = "tls")]
mod verifier;

#[cfg(feature = "webpki-roots")]
pub(crate) use self::built_in::built_in_roots;
pub(crate) use self::config::TlsConfig;
pub(super) use self::config::{InsecureRegistries, Peer};
#[cfg(feature = "tls")]
pub(super) use self::connector::Tls;
#[cfg(not(feature = "tls"))]
pub(super) use self::no_tls::{Tls, Trust, plain_only};
#[cfg(feature = "tls")]
pub(super) use self::trust::Trust;
