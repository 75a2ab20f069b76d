//! Broken and ambiguous archives: pax and GNU records, sizes, checksums, sparse maps, and the compression around them.
//! Two readers of such an archive would see two different trees, so the whole archive is refused.

use kit::archive::{
    Entry, archive, base256, dir, extension, fifo, file, global, hardlink, padded, record, symlink, unended, verbatim,
};
use kit::bench::{check_refused, check_tars_refused, unpack, unpack_image};
use kit::image::{Image, Layer, gzip};
use kit::sparse;

#[track_caller]
fn refused(case: &str, entries: &[Entry]) {
    check_refused(case, &[entries], 11);
    // Good files before and after it must not change the outcome.
    let surrounded = [&[file("before", "1")], entries, &[file("after", "2")]].concat();
    check_refused(&format!("{case}, surrounded good files"), &[&surrounded], 11);
}

#[test]
fn refuses_malformed_pax_records() {
    let shapes: &[(&str, &[u8])] = &[
        ("no equals sign", b"11 pathabc\n"),
        ("a length too short", b"5 path=abc\n"),
        ("a length too long", b"99 path=abc\n"),
        ("a length of zero", b"0 path=abc\n"),
        ("a length of two", b"2 path=abc\n"),
        ("a negative length", b"-12 path=abc\n"),
        ("a signed length", b"+12 path=abc\n"),
        ("a length with a decimal point", b"12. path=abc\n"),
        ("a length in hex", b"0xc path=abc\n"),
        ("no length", b" path=abc\n"),
        ("no space", b"11path=abc\n"),
        ("a space before the length", b" 12 path=abc\n"),
        ("a huge length", b"99999999999999999999999 path=abc\n"),
        ("a length of 2^64+12", b"18446744073709551628 path=abc\n"),
        ("no newline", b"11 path=abc"),
        ("another byte in place of the newline", b"12 path=abcd"),
        ("no key", b"7 =abc\n"),
        ("only a number", b"2\n"),
        ("only text", b"path"),
        ("text after a good record", b"12 path=abc\njunk"),
        ("NULs after a good record", b"12 path=abc\n\0\0\0"),
        ("a bad record after a good one", b"12 path=abc\n3 x\n"),
    ];
    for (case, body) in shapes {
        refused(case, &[file("f", "1").raw_pax(body)]);
    }
    for (key, values) in [
        ("size", &["-1", "+1", "1.5", "0x1", "abc", " 1", "1 ", "99999999999999999999", "18446744073709551617"][..]),
        // These do not fit an i64, or overflow when padded to whole blocks: u64::MAX would wrap to 511.
        ("size", &["18446744073709551615", "18446744073709551104", "9223372036854775808", "9223372036854775807"]),
        ("mtime", &["abc", "1e40", "--1", "1.2.3", "nan", "."]),
        ("uid", &["abc", "-1", "4294967296", "1.5", "+1"]),
    ] {
        for value in values {
            refused(&format!("{key}={value:?}"), &[file("f", "1").pax(key, value)]);
        }
    }
}

#[test]
fn refuses_stacked_extension_headers() {
    let pax = extension(b'x', &record("path", b"renamed"));
    let target = extension(b'x', &record("linkpath", b"renamed"));
    let (long, link) = (extension(b'L', b"other\0"), extension(b'K', b"other\0"));
    // Pairs that Go and GNU tar read in the same way are accepted: see `odd_layers`.
    let cases: Vec<(&str, Vec<Entry>)> = vec![
        ("x, L", vec![pax.clone(), long.clone(), file("f", "1")]),
        ("L, x", vec![long.clone(), pax.clone(), file("f", "1")]),
        ("K, x", vec![link.clone(), target.clone(), symlink("f", "1")]),
        ("x, L, x", vec![target.clone(), long.clone(), pax.clone(), file("f", "1")]),
        ("x, K, L", vec![pax.clone(), link.clone(), long.clone(), file("f", "1")]),
        ("x, g", vec![pax.clone(), global(&[("comment", "x")]), file("f", "1")]),
    ];
    for (case, entries) in cases {
        refused(case, &entries);
    }
    for (case, entry) in [("x", &pax), ("L", &long), ("K", &link)] {
        check_refused(&format!("{case} at the end"), &[&[file("f", "1"), entry.clone()]], 11);
        check_tars_refused(&format!("{case} at the very end"), &[unended(&[file("f", "1"), entry.clone()])], 11);
    }
}

#[test]
fn refuses_global_headers_that_rename_or_resize() {
    for (key, value) in
        [("path", "evil"), ("linkpath", "/etc/passwd"), ("size", "0"), ("size", "1024"), ("GNU.sparse.name", "evil")]
    {
        refused(&format!("a global {key}"), &[global(&[(key, value)]), file("f", "1")]);
    }
    refused("a malformed global header", &[extension(b'g', b"5 comment=abc\n"), file("f", "1")]);
    let comments: Vec<Entry> = (0..10_000).map(|_| global(&[("comment", "x")])).chain([file("f", "1")]).collect();
    unpack(&[&comments]).outcome.exits_among("ten thousand comments", &[0, 11]);
}

#[test]
fn refuses_oversized_extension_headers() {
    let mebibyte = 1 << 20;
    for kind in [b'x', b'g', b'L', b'K'] {
        let body = match kind {
            b'x' | b'g' => record("comment", &vec![b'c'; mebibyte]),
            _ => vec![b'n'; mebibyte + 1],
        };
        let name = char::from(kind);
        refused(&format!("{name} of more than a megabyte"), &[extension(kind, &body), file("f", "1")]);
        refused(&format!("{name} of eight exbibytes"), &[extension(kind, b"").size(i64::MAX), file("f", "1")]);
        refused(&format!("{name} of a negative size"), &[extension(kind, b"").size(-512), file("f", "1")]);
    }
}

#[test]
fn refuses_impossible_sizes_and_numbers() {
    let header = |field: &[u8]| [file("f", "").patch(124, field)];
    refused("a negative size", &[file("f", "").size(-1)]);
    refused("the most negative size", &[file("f", "").size(i64::MIN)]);
    refused("eight exbibytes", &[file("f", "").size(i64::MAX)]);
    refused("more than 63 bits", &header(b"\x80\0\0\x01\0\0\0\0\0\0\0\0"));
    refused("not octal", &header(b"zzzzzzzzzzz\0"));
    refused("the digit nine", &header(b"00000000009\0"));
    refused("a sign", &header(b"-0000000001\0"));
    refused("text after the number", &header(b"1 x        \0"));
    refused("a mode that is not a number", &[file("f", "").patch(100, b"rwxr-xr\0")]);
    refused("a uid that is not a number", &[file("f", "").patch(108, b"root\0\0\0\0")]);
    refused("a time that is not a number", &[file("f", "").patch(136, b"yesterday!!\0")]);
    for (kind, entry) in [
        ("a hard link", hardlink("l", "f")),
        ("a link", symlink("l", "f")),
        ("a device", dir("l").kind(b'3')),
        ("a block device", dir("l").kind(b'4')),
        ("a folder", dir("l")),
        ("a FIFO", fifo("l")),
    ] {
        refused(&format!("{kind} with a body"), &[file("f", "1"), entry.clone().body([b'x'; 512])]);
        let sized = entry.pax("size", "512");
        refused(&format!("{kind} with a size"), &[file("f", "1"), sized.clone().body([b'x'; 512])]);
        refused(&format!("{kind} with the size of the next entry"), &[file("f", "1"), sized, file("g", "2")]);
    }
}

#[test]
fn refuses_headers_with_a_wrong_checksum() {
    refused("a wrong checksum", &[file("f", "1").checksum(b"000000\0 ")]);
    refused("a checksum that is not a number", &[file("f", "1").checksum(b"zzzzzz\0 ")]);
    refused("no checksum", &[file("f", "1").checksum(&[0; 8])]);
    refused("garbage in place of a header", &[verbatim(vec![0xa5; 512])]);
    refused("one byte set in an empty block", &[verbatim([&[1u8][..], &[0; 511]].concat())]);
    check_tars_refused("text", &[b"this is not a tar\n".repeat(100)], 11);
    check_tars_refused("a gzip in a gzip", &[gzip(&archive(&[file("f", "1")]))], 11);
}

#[test]
fn refuses_truncated_archives() {
    let whole = unended(&[file("a", "1"), file("b", [b'x'; 2000])]);
    for length in [100, 511, 512, 1100, 1535, 1536, 1536 + 1, 1536 + 1999] {
        check_tars_refused(&format!("cut at {length}"), &[whole[..length].to_vec()], 11);
    }
    let extended = file("f", "1").raw_pax(&record("path", &[b'p'; 600])).bytes();
    for length in [512, 700, 1024, 1536] {
        check_tars_refused(&format!("an extension cut at {length}"), &[extended[..length].to_vec()], 11);
    }
}

#[test]
fn refuses_broken_gzip() {
    let tar = archive(&[file("f", [b'x'; 3000])]);
    let good = gzip(&tar);
    let (length, body) = (good.len(), good.len() - 8);
    let flip = |position: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[position] ^= byte;
        bytes
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a wrong CRC", flip(body, 1)),
        ("a wrong length", flip(body + 4, 1)),
        ("no trailer", good[..body].to_vec()),
        ("half a trailer", good[..body + 4].to_vec()),
        ("cut in the data", good[..length / 2].to_vec()),
        ("only a header", good[..10].to_vec()),
        ("half a header", good[..5].to_vec()),
        ("nothing", Vec::new()),
        ("garbage after it", [&good[..], b"garbage"].concat()),
        ("NULs after it", [&good[..], &[0; 512]].concat()),
        ("half a header after it", [&good[..], b"\x1f\x8b\x08"].concat()),
        ("a broken member after it", [&good[..], &good[..30]].concat()),
        ("not gzip", tar.clone()),
        ("another method", flip(2, 0xff)),
        ("reserved flags", flip(3, 0xe0)),
        ("an endless name", [&good[..3], &[0x08], &good[4..10], &vec![b'n'; 200_000]].concat()),
        ("a broken stream", [&good[..10], &[0xff; 100]].concat()),
    ];
    for (case, blob) in cases {
        let layer = Layer::with_blob(&tar, blob);
        unpack_image(&Image::new(vec![layer]), &[]).refused(case, 11);
    }
}

#[cfg(feature = "zstd")]
#[test]
fn refuses_broken_zstd() {
    use kit::image::zstd;
    let tar = archive(&[file("f", [b'x'; 3000])]);
    let good = zstd(&tar);
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    // A window of two terabytes: only the descriptor 0xf8 matters.
    let wide = b"\x28\xb5\x2f\xfd\x00\xf8\x01\x00\x00".to_vec();
    for (case, blob) in [
        ("a wrong checksum", flipped),
        ("cut", good[..good.len() / 2].to_vec()),
        ("garbage after it", [&good[..], b"garbage"].concat()),
        ("not zstd", tar.clone()),
        ("nothing", Vec::new()),
        ("a window larger than any memory", wide),
    ] {
        let mut layer = Layer::zstd(&tar);
        layer.blob = blob;
        let unpacked = unpack_image(&Image::new(vec![layer]), &[]);
        // An empty blob is either a broken stream or content that does not match the diff_id.
        let code = if case == "nothing" && unpacked.outcome.code == 8 { 8 } else { 11 };
        unpacked.refused(case, code);
    }
}

#[test]
fn refuses_inconsistent_sparse_maps() {
    let piece = [b'x'; 512];
    for (case, pieces, size) in [
        ("a piece after the end", vec![(4096, &piece[..])], 4000),
        ("pieces that overlap", vec![(0, &piece[..]), (256, &piece[..])], 4096),
        ("pieces out of order", vec![(2048, &piece[..]), (0, &piece[..])], 4096),
    ] {
        refused(&format!("{case}, old GNU"), &[sparse::old_gnu("f", &pieces, size)]);
        refused(&format!("{case}, 0.0"), &[sparse::pax_0_0("f", &pieces, size)]);
        refused(&format!("{case}, 0.1"), &[sparse::pax_0_1("f", &pieces, size)]);
        refused(&format!("{case}, 1.0"), &[sparse::pax_1_0("f", &pieces, size)]);
    }
    let map = |text: &str| [sparse::pax_1_0_raw("f", &padded(text.as_bytes()), 4096)];
    for (case, text) in [
        ("no map", ""),
        ("a map that is not numbers", "many\n"),
        ("a map that ends early", "2\n0\n512\n"),
        ("a negative offset", "1\n-1\n512\n"),
        ("a number that is too large", "1\n99999999999999999999999\n0\n"),
        ("more pieces than possible", "99999999999\n0\n0\n"),
        ("more data than the entry has", "1\n0\n4096\n"),
    ] {
        refused(case, &map(text));
    }
    refused("eight exbibytes of hole", &[sparse::pax_1_0_raw("f", &padded(b"0\n"), u64::MAX / 2)]);
    refused(
        "a sparse name with ..",
        &[file("x", "")
            .pax("GNU.sparse.major", "1")
            .pax("GNU.sparse.minor", "0")
            .pax("GNU.sparse.name", "../canary/evil")
            .pax("GNU.sparse.realsize", "0")
            .body(padded(b"0\n"))],
    );
    refused(
        "an unknown version",
        &[file("f", "").pax("GNU.sparse.major", "7").pax("GNU.sparse.minor", "3").pax("GNU.sparse.realsize", "0")],
    );
    refused(
        "an odd count of numbers in 0.1",
        &[file("f", [b'x'; 512])
            .pax("GNU.sparse.size", "4096")
            .pax("GNU.sparse.numblocks", "1")
            .pax("GNU.sparse.map", "0")],
    );
    let negative = [base256(-512, 12), base256(512, 12)].concat();
    refused("a negative offset in old GNU", &[sparse::old_gnu("f", &[(0, &piece)], 4096).patch(386, negative)]);
}
