//! Numbers that do not fit into 32 bits: sizes beyond 4 GiB, and times beyond 2038 and 2106. Nothing here depends on the
//! machine's word; `cargo xtask cross --test` runs it with those of 32 bits.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};

use serde_json::json;

use crate::harness::archive::{Entry, dir, file, symlink};
use crate::harness::bench::{Bench, unpack};
use crate::harness::image::Image;
use crate::harness::sparse::{self, Piece};

const GIB: u64 = 1 << 30;

#[test]
fn sparse_files_beyond_4_gib() {
    type Shape = fn(&str, &[Piece], u64) -> Entry;
    let shapes: [(&str, Shape); 4] = [
        ("old GNU", sparse::old_gnu),
        ("pax 0.0", sparse::pax_0_0),
        ("pax 0.1", sparse::pax_0_1),
        ("pax 1.0", sparse::pax_1_0),
    ];
    let block = [7; 4096];
    // 4 GiB and a little is a little where the size is cut to 32 bits.
    let places = [2 * GIB, 4 * GIB, 4 * GIB + 8192, 6 * GIB];
    let pieces: Vec<Piece> = places.iter().map(|place| (*place, &block[..])).collect();
    for (case, make) in shapes {
        let size = 6 * GIB + 4096 + 1;
        let unpacked = unpack(&[&[make("f", &pieces, size), file("after", "1")]]).done(case);
        let large = fs::File::open(unpacked.root.join("f")).unwrap();
        assert_eq!(large.metadata().unwrap().len(), size, "{case}");
        for place in places {
            let mut around = [1; 4098];
            large.read_exact_at(&mut around, place - 1).unwrap();
            assert!(around[0] == 0 && around[1..4097] == block && around[4097] == 0, "{case}: at {place}");
        }
        assert_eq!(fs::read(unpacked.root.join("after")).unwrap(), b"1", "{case}");
    }
}

#[test]
fn times_beyond_32_bits() {
    // The ends of i32 and u32, their successors, and a time that only 34 bits hold.
    for seconds in [i64::from(i32::MAX), 1 << 31, i64::from(u32::MAX), 1 << 32, (3 << 32) + 5] {
        let dressed = |entry: Entry| entry.pax("mtime", format!("{seconds}.5"));
        let entries = [
            file("octal", "x").mtime(seconds),
            dressed(file("pax", "x")),
            dressed(dir("folder")),
            file("folder/inside", "x"),
            dressed(symlink("link", "nowhere")),
        ];
        let unpacked = unpack(&[&entries, &[file("folder/later", "x")]]).done(&seconds.to_string());
        for (name, nanoseconds) in [("octal", 0), ("pax", 500_000_000), ("folder", 500_000_000), ("link", 500_000_000)]
        {
            let meta = fs::symlink_metadata(unpacked.root.join(name)).unwrap();
            assert_eq!((meta.mtime(), meta.mtime_nsec()), (seconds, nanoseconds), "{name}");
        }
    }
}

#[test]
fn a_size_beyond_32_bits_is_not_cut_to_a_good_one() {
    for more in [4 * GIB, 16 * GIB] {
        let bench = Bench::new();
        let image = Image::small("large");
        let size = image.layers[0].blob.len() as u64 + more;
        let image = image.edited(|manifest| manifest["layers"][0]["size"] = json!(size));
        let outcome = bench.pull(&image).fails_in_one_line();
        // What the disk has room for is fetched and told to be too short.
        let outcome = outcome.exits_among(&more.to_string(), &[5, 8, 9, 11]);
        assert!(bench.home.index().is_empty(), "{}", outcome.story());
    }
}
