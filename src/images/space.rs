//! Whether what is to come fits on the disk, asked before the first layer is. Only what is certain is counted: an image
//! that would fit is never refused, and one that passes may still find the disk full in the end.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use crate::error::{Error, ErrorKind, Result};
use crate::oci::manifest::Manifest;
use crate::oci::media_type::Compression;

/// What will be written below one path, which need not exist yet.
pub(crate) struct Need<'a> {
    pub(crate) path: &'a Path,
    pub(crate) bytes: u64,
    pub(crate) files: u64,
}

/// The sum of needs on one filesystem.
struct Sum {
    place: PathBuf,
    device: u64,
    bytes: u64,
    files: u64,
}

/// Fails if a filesystem has not what all needs on it come to. One that does not tell is trusted.
pub(crate) fn check_space(needs: &[Need<'_>]) -> Result<()> {
    let mut sums: Vec<Sum> = Vec::new();
    for need in needs {
        let Some((place, device)) = existing(need.path) else { continue };
        match sums.iter_mut().find(|sum| sum.device == device) {
            Some(sum) => {
                sum.bytes = sum.bytes.saturating_add(need.bytes);
                sum.files = sum.files.saturating_add(need.files);
            }
            None => sums.push(Sum { place, device, bytes: need.bytes, files: need.files }),
        }
    }
    sums.iter().try_for_each(Sum::check)
}

/// The least that a tree takes: as much as its largest layer, compressed as that is. Later layers may replace what
/// earlier ones brought, filesystems may compress, and of a plain archive nearly half may be headers and padding.
pub(crate) fn least_tree(manifest: &Manifest) -> u64 {
    let least = manifest.layers.iter().map(|layer| match layer.compression {
        Compression::None => layer.blob.size / 2,
        Compression::Gzip | Compression::Zstd => layer.blob.size,
    });
    least.max().unwrap_or(0)
}

impl Sum {
    fn check(&self) -> Result<()> {
        let Ok(stat) = statvfs(&self.place) else { return Ok(()) };
        let place = self.place.display();
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if stat.f_blocks > 0 && self.bytes > free {
            let text = format!("check space: {} bytes are needed and {free} are free in {place}", self.bytes);
            return Err(Error::new(ErrorKind::Disk, text).with_hint("make room there, or name another folder"));
        }
        if stat.f_files > 0 && self.files > stat.f_favail {
            let (need, free) = (self.files, stat.f_favail);
            return Err(Error::new(
                ErrorKind::Disk,
                format!("check space: {need} more files are needed and {free} are possible in {place}"),
            ));
        }
        Ok(())
    }
}

/// The path or what there is of it, and its filesystem.
fn existing(path: &Path) -> Option<(PathBuf, u64)> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors().find_map(|place| Some((place.to_path_buf(), place.metadata().ok()?.dev())))
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
