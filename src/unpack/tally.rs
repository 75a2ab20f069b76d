//! What was unpacked and what was left out, counted.

/// What was unpacked, and what was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Archive entries of all layers, whiteouts among them.
    pub entries: u64,
    /// Bytes of all layers, uncompressed.
    pub bytes: u64,
    /// Entries whose owner was left out, because only root can give files away.
    pub owners: u64,
    /// Device nodes that were left out.
    pub devices: u64,
    /// Extended attributes that were left out: not an image's to set, or refused by the filesystem.
    pub xattrs: u64,
}
