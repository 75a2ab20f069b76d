//! In the place of `overlay` in a build without the feature `manage`, which merges all layers. The type has no value, so
//! the code that depends on one is left out.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::Stat;

use super::directory::OpenDirectory;
use super::root::Root;
use crate::error::Result;
use crate::layer::{NameKind, SafePath};

/// Has no value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Overlay {}

impl Overlay {
    pub(super) fn is_apart(self) -> bool {
        match self {}
    }

    pub(super) fn may_have_devices(self) -> bool {
        match self {}
    }

    pub(super) fn apply_whiteout(self, _: &mut Root, _: &SafePath, _: NameKind<'_>) -> Result<()> {
        match self {}
    }

    pub(super) fn create_whiteout(self, _: &OpenDirectory, _: &[u8]) -> io::Result<()> {
        match self {}
    }

    pub(super) fn set_opaque(self, _: impl AsFd) -> io::Result<()> {
        match self {}
    }

    pub(super) fn is_whiteout(self, _: &OpenDirectory, _: &[u8], _: &Stat) -> io::Result<bool> {
        match self {}
    }
}
