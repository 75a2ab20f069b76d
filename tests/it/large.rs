//! Numbers that do not fit into 32 bits: sizes beyond 4 GiB, and times after 2038 and 2106. The tests are the same for all
//! processors, and `cargo xtask cross --test` runs them with 32-bit binaries.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};

use serde_json::json;

use kit::archive::{Entry, base256, dir, extension, file, record, symlink};
use kit::bench::{Bench, check_refused, unpack};
use kit::fault::on;
use kit::image::{Image, Layer};
use kit::noise::noise;
use kit::sparse::{self, Piece};

const GIB: u64 = 1 << 30;

#[test]
fn unpacks_sparse_files_beyond_4_gib() {
    let block = [7; 4096];
    // Truncated to 32 bits, 4 GiB + 8192 is 8192.
    let places = [2 * GIB, 4 * GIB, 4 * GIB + 8192, 6 * GIB];
    let pieces: Vec<Piece> = places.iter().map(|place| (*place, &block[..])).collect();
    for (case, make) in sparse::FORMATS {
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
fn keeps_times_beyond_32_bits() {
    // The greatest i32 and u32, their successors, and a time that needs 34 bits.
    for seconds in [i64::from(i32::MAX), 1 << 31, i64::from(u32::MAX), 1 << 32, (3 << 32) + 5] {
        let timed = |entry: Entry| entry.pax("mtime", format!("{seconds}.5"));
        let entries = [
            file("octal", "x").mtime(seconds),
            timed(file("pax", "x")),
            timed(dir("folder")),
            file("folder/inside", "x"),
            timed(symlink("link", "nowhere")),
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
fn does_not_truncate_the_size_of_a_layer() {
    for more in [4 * GIB, 16 * GIB] {
        let bench = Bench::new();
        let image = Image::small("large");
        let size = image.layers[0].blob.len() as u64 + more;
        let image = image.edited(|manifest| manifest["layers"][0]["size"] = json!(size));
        let outcome = bench.pull(&image).fails_in_one_line();
        // If the disk has enough space for this size, the layer is fetched and found too short.
        let outcome = outcome.exits_among(&more.to_string(), &[5, 8, 9, 11]);
        assert!(bench.home.index().is_empty(), "{outcome}");
    }
}

/// Truncated to 32 bits, each of these sizes would match the data.
#[test]
fn does_not_truncate_the_size_of_an_entry() {
    for more in [4 * GIB, 1 << 40] {
        let size = more + 512;
        let body = || file("f", [b'x'; 512]);
        let pax = extension(b'x', &record("comment", &[b'x'; 500])).size(size.cast_signed());
        for (case, entries) in [
            ("the header", [body().size(size.cast_signed()), file("after", "1")]),
            ("base-256", [body().patch(124, base256(size.cast_signed(), 12)), file("after", "1")]),
            ("pax", [body().pax("size", size.to_string()), file("after", "1")]),
            ("the size of a pax header", [pax, file("after", "1")]),
            ("sparse", [sparse::old_gnu("f", &[(more, &[7; 512])], 512), file("after", "1")]),
        ] {
            check_refused(&format!("{case}, {more} too many"), &[&entries], 11);
        }
    }
}

#[test]
fn does_not_truncate_a_content_length() {
    let (bench, image, name) = noisy();
    let (layer, size) = (image.layers[0].digest(), image.layers[0].blob.len() as u64);
    bench.registry.fault(on(&layer).length((size + 4 * GIB).to_string()));
    bench
        .home
        .run(&["pull", &name])
        .exits_among("a Content-Length that is 4 GiB too large", &[5, 8])
        .fails_in_one_line();
    assert!(bench.home.index().is_empty());
}

#[test]
fn does_not_truncate_a_content_range() {
    let (bench, image, name) = noisy();
    let (layer, size) = (image.layers[0].digest(), image.layers[0].blob.len() as u64);
    let range = format!("bytes {}-{}/{}", 4 * GIB + 1000, 4 * GIB + size - 1, 4 * GIB + size);
    bench.registry.fault(on(&layer).nth(1).cut(1000));
    bench.registry.fault(on(&layer).nth(2).without("Content-Range").header("Content-Range", range));
    bench.home.run(&["pull", "--retries", "1", &name]).exits(0);
    let statuses: Vec<u16> = bench.registry.calls().iter().rev().take(3).map(|call| call.status).collect();
    assert_eq!(statuses, [200, 206, 200], "{:?}", bench.registry.log());
}

#[test]
fn does_not_truncate_the_size_of_a_partial_file() {
    let (bench, image, name) = noisy();
    let (layer, blob) = (image.layers[0].digest(), &image.layers[0].blob);
    let ingest = bench.home.store().join("ingest");
    fs::create_dir_all(&ingest).unwrap();
    let partial = fs::File::create(ingest.join(format!("{}.partial", layer.replace(':', "-")))).unwrap();
    // The content is right. Truncated to 32 bits the size is right, too.
    partial.write_all_at(&blob[..1000], 0).unwrap();
    partial.set_len(4 * GIB + 1000).unwrap();
    bench.home.run(&["pull", &name]).exits(0);
    let ranges = bench.registry.calls().iter().filter(|call| call.request.header("range").is_some()).count();
    assert_eq!((ranges, bench.registry.requests_to(&layer)), (0, 1), "{:?}", bench.registry.log());
    assert_eq!(&fs::read(bench.home.blob(&layer)).unwrap(), blob);
}

/// A pushed image of one layer that does not compress, and its name.
fn noisy() -> (Bench, Image, String) {
    let (bench, image) = (Bench::new(), Image::new(vec![Layer::of(&[file("f", noise(20_000))])]));
    let name = image.push(&bench.registry, "app", "latest");
    (bench, image, name)
}
