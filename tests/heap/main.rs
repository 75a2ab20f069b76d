//! The heap of a pull and of an unpack has the same peak for a small and a large layer, and for few and many entries. This
//! is a separate test program because its allocator counts all allocations of the process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests only")]

use kit::archive::{file, unended};
use kit::home::TempDir;
use kit::image::{Image, Layer, LayerBuilder};
use kit::registry::Registry;
use peak_alloc::PeakAlloc;
use pullet::{Client, Options, Reference, Silent, Store, UnpackOptions};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const MIB: usize = 1 << 20;
const SMALL: usize = MIB;
const LARGE: usize = 128 * MIB;
const FEW: usize = 10;
const MANY: usize = 200_000;
/// One entry in this many is a file. The others are whiteouts, which have no effect in a first layer.
const FILES: usize = 100;
/// The end of an archive.
const END: [u8; 1024] = [0; 1024];

/// A layer with one file of zeros.
fn layer_with_file(size: usize) -> Layer {
    let mut layer = LayerBuilder::default();
    layer.add(&file("file", "").size(size as i64).header(), 1);
    layer.add(&vec![0; MIB], size / MIB);
    layer.add(&END, 1);
    layer.finish()
}

/// A layer with `count` entries of different names.
fn layer_with_entries(count: usize) -> Layer {
    let mut layer = LayerBuilder::default();
    for from in (0..count).step_by(1000) {
        let name = |number: usize| match number % FILES {
            0 => format!("folder/file-{number}"),
            _ => format!("folder/.wh.{number}"),
        };
        let entries: Vec<_> = (from..count.min(from + 1000)).map(|number| file(name(number), "")).collect();
        layer.add(&unended(&entries), 1);
    }
    layer.add(&END, 1);
    layer.finish()
}

/// Runs `work`. Returns the peak of its heap in bytes, and its result.
fn peak<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let done = work();
    (HEAP.peak_usage().saturating_sub(before), done)
}

/// Returns the heap peaks of pulling and of unpacking an image with this layer.
fn peaks(layer: Layer) -> [usize; 2] {
    let (folder, registry) = (TempDir::new(), Registry::plain());
    let name: Reference = Image::new(vec![layer]).push(&registry, "app", "latest").parse().unwrap();
    let (pull, pulled) = peak(|| {
        let client = Client::new(Options::new()).unwrap();
        client.pull(&name, &Store::open(folder.path().join("store")), &Silent).unwrap()
    });
    let target = folder.path().join("tree");
    let (unpack, _) = peak(|| pulled.image.unpack(&target, &UnpackOptions::new(), &Silent).unwrap());
    [pull, unpack]
}

/// A text of nearly 16 MiB, the largest index, made of this piece.
fn index_of(begin: &str, piece: &str, end: &str) -> String {
    let count = (16 * MIB - 4096) / piece.len();
    format!("{begin}{}{end}", vec![piece; count].concat())
}

fn an_index_costs_little_more_than_its_text() {
    let entry = |annotations: &str| {
        let digest = format!("sha256:{}", "0".repeat(64));
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":2,"annotations":{{{annotations}}}}}"#)
    };
    let name = r#""org.opencontainers.image.ref.name":"a""#;
    let (named, unnamed) = (format!("{},", entry(name)), format!("{},", entry("")));
    let annotated = entry(name);
    let (annotated_begin, annotated_end) = annotated.split_at(annotated.len() - 2);
    let cases = [
        ("empty entries", index_of(r#"{"manifests":["#, "{},", "{}]}")),
        ("entries without a name", index_of(r#"{"manifests":["#, &unnamed, "{}]}")),
        ("entries with a name", index_of(r#"{"manifests":["#, &named, "{}]}")),
        ("lists in an entry", index_of(r#"{"manifests":[{"x":["#, "[],", "[]]}]}")),
        (
            "annotations",
            index_of(&format!(r#"{{"manifests":[{annotated_begin}"#), r#","x":"y""#, &format!("{annotated_end}]}}")),
        ),
        ("members", index_of("{", r#""x":0,"#, r#""manifests":[]}"#)),
        ("brackets", index_of("{\"x\":", "[", "")),
    ];
    for (case, text) in cases {
        let folder = TempDir::new();
        std::fs::write(folder.path().join("index.json"), &text).unwrap();
        drop(text);
        let store = Store::open(folder.path());
        let (read, _) = peak(|| store.images());
        let name: Reference = "localhost/a".parse().unwrap();
        let (found, _) = peak(|| store.image(&name));
        assert!(read.max(found) < 48 * MIB, "{case}: {read} and {found} bytes");
    }
}

/// There is only one test, because tests run at the same time and would count the allocations of each other.
#[test]
fn the_heap_does_not_grow_with_the_layer() {
    // The first run makes the allocations that a process makes only once.
    peaks(layer_with_entries(FEW));
    an_index_costs_little_more_than_its_text();
    for (kind, small, large) in [
        ("bytes", peaks(layer_with_file(SMALL)), peaks(layer_with_file(LARGE))),
        ("entries", peaks(layer_with_entries(FEW)), peaks(layer_with_entries(MANY))),
    ] {
        for (step, small, large) in [("pull", small[0], large[0]), ("unpack", small[1], large[1])] {
            println!("{step}, {kind}: {small} and {large} bytes");
            assert!(large <= small + small / 10, "{step}: with more {kind} {large} bytes instead of {small}");
            assert!(large < MIB, "{step}: {large} bytes");
        }
    }
}
