//! The command line. A command is a value of [`command::Command`]; its options are tables of [`options::Opt`], from which
//! parsing and help are made. Options that several commands share are declared once, in `common`, `registry` and `limits`.
//!
//! To add an option, add a row to a table and a field to the struct that the table sets. To add a command, add a file to
//! `commands/` and a row to its table.

pub(crate) mod admission;
pub(crate) mod command;
pub(crate) mod common;
#[cfg(feature = "manage")]
pub(crate) mod completion;
#[cfg(feature = "manage")]
pub(crate) mod format;
mod habits;
pub(crate) mod help;
pub(crate) mod limits;
pub(crate) mod options;
mod pem;
#[cfg(feature = "device")]
pub(crate) mod raw;
pub(crate) mod registry;
pub(crate) mod signatures;
pub(crate) mod value;
