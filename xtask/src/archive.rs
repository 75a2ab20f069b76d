//! Archives that are written as they go: what is in them matters less than how much it is and how it compresses.

use std::io::{self, Write};

/// A pattern longer than gzip's window, half noise and half text, so that the repeats of it compress no better.
const PATTERN: usize = 8 * 1024 * 1024;
const STRIPE: usize = 64 * 1024;
const FILE: &str = "file";

/// A tar with one file, written as it goes.
pub fn one_file(tar: &mut dyn Write, size: u64) -> io::Result<()> {
    tar.write_all(&header(FILE, size))?;
    let pattern = pattern();
    let mut left = size;
    while left > 0 {
        let part = pattern.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        tar.write_all(&pattern[..part])?;
        left -= part as u64;
    }
    // Every size used is a multiple of a record, so no padding; two empty records are the end.
    tar.write_all(&[0; 1024])
}

fn pattern() -> Vec<u8> {
    let text = b"nothing grows with the size of a layer; ".iter().copied().cycle();
    let mut pattern: Vec<u8> = text.take(PATTERN).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for word in pattern.chunks_mut(2 * STRIPE).flat_map(|stripes| stripes[..STRIPE].chunks_mut(8)) {
        // Xorshift: noise enough for gzip, and the same on every machine.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    pattern
}

/// The ustar header of a regular file.
pub fn header(name: &str, size: u64) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell;

    #[test]
    fn tar_reads_what_is_written() {
        let file = std::env::temp_dir().join(format!("pullet-xtask-{}.tar", std::process::id()));
        let mut bytes = Vec::new();
        one_file(&mut bytes, 4096).unwrap();
        std::fs::write(&file, bytes).unwrap();
        let listing = shell::read(shell::program("tar").arg("-tvf").arg(&file)).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(listing.contains("-rw-r--r-- 0/0") && listing.contains("4096"), "{listing}");
    }
}
