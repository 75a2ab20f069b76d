//! The heap's peak of a pull and an unpacking: the same for a small layer and a large one, for few entries and many. A
//! binary of its own, for its allocator counts, and whatever else runs in the process would count too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests only")]

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use peak_alloc::PeakAlloc;
use pullet::{Client, Digest, Options, Reference, Silent, Store, UnpackOptions};
use sha2::Digest as _;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const MIB: usize = 1 << 20;
const SMALL: usize = MIB;
const LARGE: usize = 128 * MIB;
const FEW: usize = 10;
const MANY: usize = 200_000;
/// Of many entries, one in so many is a file; the others are names that a first layer has no use for.
const FILES: usize = 100;

/// A layer whose tar never was in memory as a whole: members of gzip one after the other, many of them the same.
#[derive(Default)]
struct Layer {
    blob: Vec<u8>,
    tar: sha2::Sha256,
}

impl Layer {
    fn add(&mut self, tar: &[u8], times: usize) {
        let mut member = GzEncoder::new(Vec::new(), Compression::fast());
        member.write_all(tar).unwrap();
        let member = member.finish().unwrap();
        for _ in 0..times {
            self.tar.update(tar);
            self.blob.extend_from_slice(&member);
        }
    }

    /// One file of zeros.
    fn with_file(size: usize) -> Self {
        let mut layer = Self::default();
        layer.add(&header("file", size), 1);
        layer.add(&vec![0; MIB], size / MIB);
        layer.add(&[0; 1024], 1);
        layer
    }

    /// So many entries with names of their own, which are numbers.
    fn with_entries(count: usize) -> Self {
        let (file, gone) = (header(&format!("folder/file-{:09}", 0), 0), header(&format!("folder/.wh.-{:09}", 0), 0));
        let mut layer = Self::default();
        for from in (0..count).step_by(1000) {
            let mut tar = Vec::new();
            for number in from..count.min(from + 1000) {
                tar.extend_from_slice(&numbered(if number % FILES == 0 { file } else { gone }, number));
            }
            layer.add(&tar, 1);
        }
        layer.add(&[0; 1024], 1);
        layer
    }
}

/// The header with a number in the place of the noughts in its name. Made so, as so many sums take their time.
fn numbered(mut header: [u8; 512], number: usize) -> [u8; 512] {
    let digits = format!("{number:09}");
    let start = header.iter().position(|byte| *byte == b'-').unwrap() + 1;
    header[start..start + digits.len()].copy_from_slice(digits.as_bytes());
    let more: usize = digits.bytes().map(|digit| usize::from(digit - b'0')).sum();
    let sum = usize::from_str_radix(std::str::from_utf8(&header[148..154]).unwrap(), 8).unwrap();
    header[148..154].copy_from_slice(format!("{:06o}", sum + more).as_bytes());
    header
}

/// The ustar header of a regular file.
fn header(name: &str, size: usize) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{size:011o}\0"));
    put(136, "00000000000\0");
    put(148, "        0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header
}

/// Answers requests by their path, one connection after the other, without an allocation that grows with an answer.
fn serve(answers: Vec<(String, &'static str, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that goes away is none of its business.
            let _ = answer(&stream.unwrap(), &answers);
        }
    });
    address
}

fn answer(stream: &TcpStream, answers: &[(String, &'static str, Vec<u8>)]) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        while lines.read_line(&mut line)? > 2 {}
        let (_, media_type, body) = answers.iter().find(|(known, ..)| *known == path).expect(&path);
        let mut head = format!("HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\n");
        write!(head, "Content-Length: {}\r\n\r\n", body.len()).unwrap();
        let mut stream = stream;
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
    }
}

/// Serves an image of the layer and gives its name.
fn serve_image(layer: Layer) -> String {
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    let diff_id: String = layer.tar.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let config =
        format!(r#"{{"architecture":"","os":"","rootfs":{{"type":"layers","diff_ids":["sha256:{diff_id}"]}}}}"#);
    let descriptor = |media_type: &str, bytes: &[u8]| {
        let (digest, size) = (Digest::sha256(bytes), bytes.len());
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
    };
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{},"layers":[{}]}}"#,
        descriptor(CONFIG, config.as_bytes()),
        descriptor(LAYER, &layer.blob)
    );
    let blob = |bytes: &[u8]| format!("/v2/app/blobs/{}", Digest::sha256(bytes));
    let address = serve(vec![
        ("/v2/app/manifests/latest".to_owned(), MANIFEST, manifest.into_bytes()),
        (blob(config.as_bytes()), "application/octet-stream", config.into_bytes()),
        (blob(&layer.blob), "application/octet-stream", layer.blob),
    ]);
    format!("{address}/app:latest")
}

/// Above what was there before, the most that the work had on the heap at once.
fn peak<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let done = work();
    (HEAP.peak_usage().saturating_sub(before), done)
}

/// The peaks of pulling and of unpacking an image of this layer.
fn peaks(layer: Layer) -> [usize; 2] {
    let folder = Folder(std::env::temp_dir().join(format!("pullet-heap-{}", std::process::id())));
    let name: Reference = serve_image(layer).parse().unwrap();
    let (pull, pulled) = peak(|| {
        let client = Client::new(Options::new()).unwrap();
        client.pull(&name, &Store::open(folder.0.join("store")), &Silent).unwrap()
    });
    let (unpack, _) = peak(|| pulled.image.unpack(&folder.0.join("tree"), &UnpackOptions::new(), &Silent).unwrap());
    [pull, unpack]
}

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(path: &Path) {
    std::fs::remove_dir_all(path).unwrap();
}

/// One test, not several: they would run at once, and each would count the others.
#[test]
fn the_heap_does_not_grow_with_the_layer() {
    // What is made once in a process is made here.
    peaks(Layer::with_entries(FEW));
    for (what, small, large) in [
        ("bytes", peaks(Layer::with_file(SMALL)), peaks(Layer::with_file(LARGE))),
        ("entries", peaks(Layer::with_entries(FEW)), peaks(Layer::with_entries(MANY))),
    ] {
        for (step, small, large) in [("pull", small[0], large[0]), ("unpack", small[1], large[1])] {
            println!("{step}, {what}: {small} and {large} bytes");
            assert!(large <= small + small / 10, "{step}: with more {what} {large} bytes instead of {small}");
            assert!(large < MIB, "{step}: {large} bytes");
        }
    }
}
