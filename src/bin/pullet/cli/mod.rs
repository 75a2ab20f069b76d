//! The command line. A command is a value of [`command::Command`]; its options are tables of [`options::Opt`], from which
//! parsing and help are made. Options that several commands share are declared once, in `common` and `registry`.

pub(crate) mod command;
pub(crate) mod common;
pub(crate) mod help;
pub(crate) mod options;
pub(crate) mod registry;
pub(crate) mod value;
