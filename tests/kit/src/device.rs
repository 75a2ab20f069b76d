//! Loop devices: block devices for tests, each over a file in a test's own folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian::{command, run};
use crate::process::is_root;

/// A block device that is removed when the value is dropped.
pub struct LoopDevice {
    /// `/dev/loopN`.
    pub path: PathBuf,
    backing: PathBuf,
}

impl LoopDevice {
    /// Makes a device of this many bytes with sectors of 512 or 4096 bytes, over the new file `backing`. Only root can do it.
    pub fn new(backing: &Path, size: u64, sector: u32) -> LoopDevice {
        assert!(is_root(), "only root can make block devices");
        File::create(backing).unwrap().set_len(size).unwrap();
        let mut losetup = command("losetup");
        losetup.args(["--find", "--show", "--sector-size", &sector.to_string()]).arg(backing);
        let output = run(&mut losetup).expect(0);
        LoopDevice { path: PathBuf::from(output.stdout.trim()), backing: backing.to_owned() }
    }

    /// The path as text, to pass as an argument.
    pub fn arg(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Replaces the first bytes of the content.
    pub fn fill(&self, content: &[u8]) {
        use std::os::unix::fs::FileExt as _;
        let file = fs::OpenOptions::new().write(true).open(&self.path).unwrap();
        file.write_all_at(content, 0).unwrap();
        file.sync_all().unwrap();
    }

    /// Returns the whole content.
    pub fn content(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }

    /// The sectors of 512 bytes that were written so far, as the kernel counts them.
    pub fn sectors_written(&self) -> u64 {
        let stat = Path::new("/sys/block").join(self.path.file_name().unwrap()).join("stat");
        let stat = fs::read_to_string(stat).unwrap();
        stat.split_whitespace().nth(6).unwrap().parse().unwrap()
    }

    /// The file that has the content of the device.
    pub fn backing(&self) -> &Path {
        &self.backing
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // A device that a test has made read-only would stay so for the next one.
        let _ = Command::new("blockdev").arg("--setrw").arg(&self.path).status();
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}
