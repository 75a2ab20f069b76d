//! Archives that are written piece by piece, because they are too large for memory. Their content matters only in size and
//! in how well it compresses.

use std::io::{self, Write};

use kit::archive::file;
use kit::noise::noise;

/// The size of a pattern, which is longer than gzip's window, so that its repetitions do not compress better.
const PATTERN: usize = 8 * 1024 * 1024;
/// The size of the pieces of noise and of text that make up the pattern in turn.
const STRIPE: usize = 64 * 1024;
const FILE: &str = "file";

/// Writes an archive with one file. The size must be a multiple of 512.
pub fn one_file(tar: &mut dyn Write, size: u64) -> io::Result<()> {
    tar.write_all(&header(FILE, size))?;
    let pattern = pattern();
    let mut left = size;
    while left > 0 {
        let part = pattern.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        tar.write_all(&pattern[..part])?;
        left -= part as u64;
    }
    tar.write_all(&[0; 1024])
}

/// Writes an archive with this many empty files, 500 in a directory.
pub fn empty_files(tar: &mut dyn Write, name: &str, count: u32) -> io::Result<()> {
    for number in 0..count {
        tar.write_all(&header(&format!("{name}/{:04}/{number:06}", number / 500), 0))?;
    }
    tar.write_all(&[0; 1024])
}

fn pattern() -> Vec<u8> {
    let text = b"nothing grows with the size of a layer; ".iter().copied().cycle();
    let mut pattern: Vec<u8> = text.take(PATTERN).collect();
    let noise = noise(PATTERN / 2);
    for (stripes, noise) in pattern.chunks_mut(2 * STRIPE).zip(noise.chunks(STRIPE)) {
        stripes[..STRIPE].copy_from_slice(noise);
    }
    pattern
}

/// The header of a regular file that belongs to root and is from 1970.
pub fn header(name: &str, size: u64) -> [u8; 512] {
    file(name, "").size(size.cast_signed()).owner(0, 0).mtime(0).header()
}
