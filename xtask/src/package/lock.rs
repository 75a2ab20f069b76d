//! The crates in Cargo.lock.

use serde::Deserialize;

use crate::Result;

#[derive(Deserialize)]
pub struct Lock {
    pub package: Vec<Locked>,
}

/// A crate. pullet itself has no checksum.
#[derive(Deserialize)]
pub struct Locked {
    pub name: String,
    pub version: String,
    pub checksum: Option<String>,
}

impl Lock {
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| format!("Cargo.lock: {error}"))
    }
}
