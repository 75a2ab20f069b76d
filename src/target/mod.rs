//! Makes a result appear at its target whole or not at all: it is built in a staging folder next to the target and
//! published by one rename.

mod files;
mod staging;

pub(crate) use self::files::Files;
pub(crate) use self::staging::Staging;
