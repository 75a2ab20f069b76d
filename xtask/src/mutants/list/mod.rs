//! The list of mutations, one for each promise of SECURITY.md that a line of code keeps.

mod archive;
mod device;
mod disk;
mod images;
mod in_place;
mod network;
mod removal;
mod trust;

use std::fmt;

/// A change of one place in `src` that breaks a promise.
pub struct Mutation {
    /// For the command line.
    pub name: &'static str,
    /// The promise that it breaks.
    pub promise: &'static str,
    /// The file, relative to `src`.
    pub file: &'static str,
    /// The text to replace, which the file has exactly once.
    pub old: &'static str,
    pub new: &'static str,
    pub noticed_by: NoticedBy,
}

/// The test that must fail because of a mutation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticedBy {
    /// A test of `tests/it`.
    Test(&'static str),
    /// The check of the trace of a scenario of `cargo xtask crash`.
    Trace(&'static str),
}

impl fmt::Display for NoticedBy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Test(name) => write!(out, "{name}"),
            Self::Trace(scenario) => write!(out, "trace: {scenario}"),
        }
    }
}

/// All mutations.
pub fn mutations() -> impl Iterator<Item = &'static Mutation> {
    let lists = [
        archive::MUTATIONS,
        device::MUTATIONS,
        disk::MUTATIONS,
        images::MUTATIONS,
        in_place::MUTATIONS,
        network::MUTATIONS,
        removal::MUTATIONS,
        trust::MUTATIONS,
    ];
    lists.into_iter().flatten()
}
