//! Images in files: replaced whole, or written in place.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use super::image;
use kit::bench::Bench;

fn write(bench: &Bench, content: &[u8], options: &[&str]) -> kit::process::Finished {
    let digest = bench.registry.put_blob("fw", content);
    let name = format!("{}@{digest}", bench.registry.name("fw"));
    let target = bench.home.arg("image");
    bench.home.run(&[&["blob", &name, "-o", &target], options].concat())
}

#[test]
fn a_file_appears_whole_and_replaces_an_older_one() {
    let bench = Bench::new();
    let path = bench.home.path("image");
    for (seed, size) in [(1, 3 << 20), (2, (1 << 20) + 7), (3, 0), (4, 5)] {
        let content = image(seed, size);
        write(&bench, &content, if seed == 2 { &["--readback"] } else { &[] }).exits(0).prints("");
        assert!(fs::read(&path).unwrap() == content, "{size} bytes");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let before = fs::metadata(&path).unwrap();
    write(&bench, b"new", &[]).exits(0);
    let after = fs::metadata(&path).unwrap();
    assert!(before.ino() != after.ino() && after.mode() == before.mode());
    // A failure leaves the old file, and nothing next to it.
    let content = image(5, 2 << 20);
    let wrong = kit::digest::sha256(b"wrong");
    write(&bench, &content, &["--unpacked-digest", &wrong]).exits(8).fails_in_one_line();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(fs::read_dir(bench.home.path("")).unwrap().count(), 2);
}

#[test]
fn a_file_with_zeros_gets_holes() {
    let bench = Bench::new();
    let mut content = vec![0; 8 << 20];
    content[5 << 20] = 1;
    write(&bench, &content, &[]).exits(0);
    let path = bench.home.path("image");
    assert!(fs::read(&path).unwrap() == content);
    assert!(fs::metadata(&path).unwrap().blocks() * 512 < 1 << 20);
}

#[test]
fn skip_same_writes_a_file_in_place_and_gives_it_the_new_length() {
    let bench = Bench::new();
    let path = bench.home.path("image");
    fs::write(&path, image(1, 3 << 20)).unwrap();
    let inode = fs::metadata(&path).unwrap().ino();
    for size in [3 << 20, 4 << 20, (2 << 20) + 5, 9, 0, 1 << 20] {
        let content = image(1, size);
        write(&bench, &content, &["--skip-same"]).exits(0);
        assert!(fs::read(&path).unwrap() == content, "{size} bytes");
    }
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
}
