//! The entry of an archive, with its extension records applied.

use super::records::Time;

/// One entry.
#[derive(Debug)]
pub(crate) struct TarEntry {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: EntryKind,
    /// The permission bits, setuid, setgid and sticky.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) atime: Time,
    /// Names and values.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The type of an entry, with the fields that only this type has.
#[derive(Debug)]
pub(crate) enum EntryKind {
    /// A regular file. Its data follows in the archive.
    Regular(FileContent),
    /// A hard link to this path in the tree.
    HardLink(Vec<u8>),
    /// A symlink with this target.
    Symlink(Vec<u8>),
    Directory,
    Fifo,
    BlockDevice(DeviceNumber),
    CharacterDevice(DeviceNumber),
}

/// The shape of a regular file's content.
#[derive(Debug)]
pub(crate) struct FileContent {
    /// The size of the file in bytes, holes included.
    pub(crate) size: u64,
    /// For a sparse file, the extents that the archive stores; `None` if it stores the whole file.
    pub(crate) extents: Option<Vec<Extent>>,
}

/// A part of a sparse file that is not a hole, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The major and minor number of a device.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DeviceNumber {
    pub(crate) major: u32,
    pub(crate) minor: u32,
}
