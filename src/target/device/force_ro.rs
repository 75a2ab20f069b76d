//! The write protection of an eMMC's boot partitions, which the kernel switches on for every start. It is lifted while an image
//! is written, and put back on every way out.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::error::{Error, Result};

/// A boot partition that can be written. Dropping it protects the partition again: after the last flush, because kernels since
/// 4.16 lose writes that wait when it becomes read-only.
pub(super) struct ForceRo {
    /// Open, because a sandbox may forbid opening it later.
    switch: File,
}

impl ForceRo {
    /// Lifts the protection that the file `force_ro` in this folder of sysfs switches. `None` if there is none, or it is off
    /// already.
    pub(super) fn lift(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join("force_ro");
        let Ok(switch) = OpenOptions::new().read(true).write(true).open(&path) else { return Ok(None) };
        let mut state = [0];
        let n = switch.read_at(&mut state, 0).map_err(|e| Error::disk("read", &path, e))?;
        if n == 0 || state == *b"0" {
            return Ok(None);
        }
        switch.write_at(b"0", 0).map_err(|e| Error::disk("write", &path, e))?;
        Ok(Some(Self { switch }))
    }
}

impl Drop for ForceRo {
    fn drop(&mut self) {
        let _ = self.switch.write_at(b"1", 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn protects_again_only_what_was_protected() -> std::io::Result<()> {
        let folder = std::env::temp_dir().join(format!("pullet-force-ro-{}", std::process::id()));
        let file = folder.join("force_ro");
        fs::create_dir(&folder)?;
        assert!(ForceRo::lift(&folder).is_ok_and(|lifted| lifted.is_none()));
        fs::write(&file, "1\n")?;
        let lifted = ForceRo::lift(&folder);
        assert_eq!(fs::read_to_string(&file)?, "0\n");
        drop(lifted);
        assert_eq!(fs::read_to_string(&file)?, "1\n");
        fs::write(&file, "0\n")?;
        assert!(ForceRo::lift(&folder).is_ok_and(|lifted| lifted.is_none()));
        assert_eq!(fs::read_to_string(&file)?, "0\n");
        fs::remove_dir_all(&folder)
    }
}
