//! The options of `pullet unpack` for a target that exists: the new tree takes its place in one atomic step.

use std::path::{Path, PathBuf};

use pullet::{Cancel, Digest, Reference, ReleaseSource, Releases, Swap};

use crate::cli::command::CommandLine;
use crate::cli::options::{Group, Opt};
use crate::exit::Failure;
use crate::listing::now;

/// The options of `unpack` about a target that exists.
#[derive(Default)]
pub(super) struct ReplaceOptions {
    is_replacing: bool,
    swap: Swap,
    keep: Option<usize>,
}

pub(super) static REPLACE: Group<ReplaceOptions> = Group {
    heading: "Replacing a tree",
    options: &[
        Opt::flag(
            "--replace",
            "put the new tree in the place of DIR in one atomic step: DIR is the old tree or the new one, even after a power \
             cut; the old one is kept for `pullet rollback`",
            |options| options.is_replacing = true,
        ),
        Opt::flag(
            "--symlink",
            "with --replace, make DIR a symlink to the tree, which works on every filesystem",
            |options| {
                options.swap = Swap::Symlink;
            },
        ),
        Opt::value("--keep N", "with --replace, keep N old trees (default 1)", |options, value| {
            options.keep = Some(value.number()?);
            Ok(())
        }),
    ],
};

/// A tree that will take the place of another one.
pub(super) struct Replacement {
    releases: Releases,
    /// Where to unpack the tree.
    pub(super) tree: PathBuf,
    keep: usize,
}

impl ReplaceOptions {
    pub(super) fn parse(line: &CommandLine) -> Result<Self, Failure> {
        let options: Self = line.options()?;
        if !options.is_replacing && (options.swap != Swap::default() || options.keep.is_some()) {
            return Err(line.misused("--symlink and --keep need --replace"));
        }
        Ok(options)
    }

    pub(super) fn is_replacing(&self) -> bool {
        self.is_replacing
    }

    /// Begins to replace `target`, if that was asked for.
    pub(super) fn begin(&self, target: &Path, cancel: &Cancel) -> Result<Option<Replacement>, Failure> {
        if !self.is_replacing {
            return Ok(None);
        }
        let mut releases = Releases::open(target, cancel)?;
        let tree = releases.begin(self.swap)?;
        Ok(Some(Replacement { releases, tree, keep: self.keep.unwrap_or(1) }))
    }
}

impl Replacement {
    /// Puts the tree in the place of the old one.
    pub(super) fn publish(self, name: &Reference, digest: Digest) -> Result<(), Failure> {
        let source = ReleaseSource { name: name.to_string(), digest, unpacked_unix: Some(now()) };
        Ok(self.releases.publish(source, self.keep)?)
    }
}
