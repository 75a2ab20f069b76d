//! Writes cpio archives of folders and files in the "newc" format, which the kernel unpacks as its initramfs.

use std::io::{self, Write};

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// An archive that is written to `into`.
pub struct Archive<W> {
    into: W,
    count: u32,
}

impl<W: Write> Archive<W> {
    pub fn new(into: W) -> Self {
        Self { into, count: 0 }
    }

    pub fn folder(&mut self, name: &str) -> io::Result<()> {
        self.entry(name, FOLDER, &[])
    }

    /// Adds a file. All files are executable, because that does no harm.
    pub fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.entry(name, PROGRAM, bytes)
    }

    pub fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, &[])?;
        Ok(self.into)
    }

    fn entry(&mut self, name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
        self.count += 1;
        let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        // Inode, mode, owner, group, links, time, size, four device numbers, size of the name, no checksum.
        let fields = [self.count, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        let header: String = fields.iter().map(|field| format!("{field:08X}")).collect();
        self.padded(format!("070701{header}{name}\0").as_bytes())?;
        self.padded(bytes)
    }

    /// Writes a part and pads it to a multiple of four bytes.
    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.into.write_all(bytes)?;
        self.into.write_all(&[0; 3][..bytes.len().next_multiple_of(4) - bytes.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pads_parts_to_multiples_of_four() {
        let mut archive = Archive::new(Vec::new());
        archive.folder("bin").unwrap();
        archive.file("init", b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let entries: Vec<&str> = text.split("070701").skip(1).collect();
        assert_eq!(entries[0].get(..16), Some("00000001000041ED"));
        assert!(entries[0].ends_with("0000000400000000bin\0\0\0"), "{text:?}");
        assert!(entries[1].starts_with("00000002000081ED0000000000000000000000010000000000000005"), "{text:?}");
        assert!(entries[1].ends_with("0000000500000000init\0\0hello\0\0\0"), "{text:?}");
        assert!(entries[2].contains("TRAILER!!!\0"), "{text:?}");
        assert_eq!(text.len() % 4, 0);
    }
}
