//! Counts of what was unpacked and what was left out.

/// Counts of what was unpacked and what was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Archive entries of all layers, including whiteouts.
    pub entries: u64,
    /// Uncompressed bytes of all layers.
    pub bytes: u64,
    /// Entries whose owner was left out, because this process cannot give files to them: it is not root, or lacks capabilities,
    /// or its user namespace does not have them.
    pub owners: u64,
    /// Device nodes that were left out.
    pub devices: u64,
    /// Extended attributes that were left out, because images may not set them or the filesystem refused them.
    pub xattrs: u64,
}

impl Tally {
    /// Adds the counts of another tree.
    #[cfg(feature = "manage")]
    pub(crate) fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.owners += other.owners;
        self.devices += other.devices;
        self.xattrs += other.xattrs;
    }
}
