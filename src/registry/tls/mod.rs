//! TLS, or the refusal of it in a build without the feature `tls`.

mod config;
#[cfg(feature = "tls")]
mod connector;
#[cfg(not(feature = "tls"))]
mod no_tls;

pub(crate) use self::config::TlsConfig;
pub(super) use self::config::{Insecure, Peer};
#[cfg(feature = "tls")]
pub(super) use self::connector::{Tls, Trust};
#[cfg(not(feature = "tls"))]
pub(super) use self::no_tls::{Tls, Trust, plain};
