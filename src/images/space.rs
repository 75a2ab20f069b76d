//! Checks free space before the first layer is requested. Only what is certain counts, so an image that would fit is never
//! refused, and one that passes may still fill the disk.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use super::layers::ImageLayer;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::media_type::Compression;

/// The bytes and new files that will be written below one path, which need not exist yet.
pub(crate) struct Need<'a> {
    pub(crate) path: &'a Path,
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

/// The sum of needs on one filesystem.
struct Sum {
    path: PathBuf,
    device: u64,
    bytes: u64,
    files: u64,
}

/// Fails if a filesystem has less free space, or fewer free inodes, than all needs on it together. A filesystem that reports
/// no numbers passes.
pub(crate) fn check_space(needs: &[Need<'_>]) -> Result<()> {
    let mut sums: Vec<Sum> = Vec::new();
    for need in needs {
        let Some((path, device)) = existing(need.path) else { continue };
        match sums.iter_mut().find(|sum| sum.device == device) {
            Some(sum) => {
                sum.bytes = sum.bytes.saturating_add(need.bytes);
                sum.files = sum.files.saturating_add(need.files);
            }
            None => sums.push(Sum { path, device, bytes: need.bytes, files: need.files }),
        }
    }
    sums.iter().try_for_each(Sum::check)
}

/// The least space that a tree takes: the size of its largest blob. Later layers may replace files of earlier ones,
/// filesystems may compress, and nearly half of an uncompressed archive may be headers and padding.
pub(crate) fn least_tree(layers: &[ImageLayer<'_>]) -> u64 {
    let least = layers.iter().map(|layer| &layer.descriptor).map(|layer| match layer.compression {
        Compression::None => layer.blob.size / 2,
        Compression::Gzip | Compression::Zstd => layer.blob.size,
    });
    least.max().unwrap_or(0)
}

impl Sum {
    fn check(&self) -> Result<()> {
        let Ok(stat) = statvfs(&self.path) else { return Ok(()) };
        let path = self.path.display();
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if stat.f_blocks > 0 && self.bytes > free {
            let text = format!("check space: {} bytes are needed and {free} are free in {path}", self.bytes);
            return Err(Error::new(ErrorKind::Disk, text).with_hint("free some space, or use another folder"));
        }
        if stat.f_files > 0 && self.files > stat.f_favail {
            let (need, free) = (self.files, stat.f_favail);
            return Err(Error::new(
                ErrorKind::Disk,
                format!("check space: {need} more files are needed and {free} are possible in {path}"),
            ));
        }
        Ok(())
    }
}

/// The deepest existing folder of a path, and the device of its filesystem.
fn existing(path: &Path) -> Option<(PathBuf, u64)> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors().find_map(|path| Some((path.to_path_buf(), path.metadata().ok()?.dev())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_on_one_filesystem_are_summed() {
        let folder = std::env::temp_dir();
        let Ok(stat) = statvfs(&folder) else { panic!("{} has no filesystem", folder.display()) };
        let free = stat.f_bavail * stat.f_frsize;
        let missing = folder.join("not/there/yet");
        let check = |first: u64, second: u64| {
            let need = |path, bytes| Need { path, bytes, files: 0 };
            check_space(&[need(&folder, first), need(&missing, second)]).map_err(|e| e.kind())
        };
        assert_eq!(check(0, 0), Ok(()));
        assert_eq!(check(u64::MAX, 0), Err(ErrorKind::Disk));
        // Far from the border: other tests write meanwhile.
        assert_eq!(check(free / 4, free / 4), Ok(()));
        assert_eq!(check(free / 4 * 3, free / 4 * 3), Err(ErrorKind::Disk));
        assert_eq!(check(u64::MAX, u64::MAX), Err(ErrorKind::Disk));
    }
}
