//! The work that pulling and unpacking cannot avoid, with the crates that pullet uses but without pullet. `cargo xtask
//! bench` compares pullet with it.
//!
//! `floor sha256 BYTES` hashes this many bytes from memory. `floor gzip FILE...` and `floor zstd FILE...` decompress
//! files and discard the output.

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Read};

use sha2::Digest as _;

const BUFFER: usize = 64 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.split_first() {
        Some((what, [count])) if what == "sha256" => hash(count.parse()?),
        Some((what, files)) if what == "gzip" => {
            each(files, |file| drain(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(BUFFER, file))))?;
        }
        #[cfg(feature = "zstd")]
        Some((what, files)) if what == "zstd" => each(files, |file| {
            let file = BufReader::with_capacity(BUFFER, file);
            drain(ruzstd::decoding::StreamingDecoder::new(file)?)
        })?,
        _ => return Err("floor: sha256 BYTES, gzip FILE... or zstd FILE...".into()),
    }
    Ok(())
}

fn hash(count: u64) {
    let bytes = vec![0x5a; BUFFER];
    let mut hasher = sha2::Sha256::new();
    for _ in 0..count / BUFFER as u64 {
        hasher.update(&bytes);
    }
    std::hint::black_box(hasher.finalize());
}

fn each(files: &[String], work: impl Fn(File) -> Result<(), Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
    files.iter().try_for_each(|file| work(File::open(file)?))
}

fn drain(mut reader: impl Read) -> Result<(), Box<dyn Error>> {
    let mut buffer = vec![0; BUFFER];
    while reader.read(&mut buffer)? > 0 {}
    Ok(())
}
