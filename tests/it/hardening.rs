//! Every blob of an image, changed in many ways, on the wire and in the store. The target never appears, no wrong content
//! gets a name, and without the fault the same command succeeds.

use std::fs;

use kit::archive::{Entry, archive, dir, file, hardlink, symlink, whiteout};
use kit::bench::Bench;
use kit::digest::sha256;
use kit::fault::on;
use kit::image::{Image, Layer, architecture, index, push_index};
use kit::listing::{assert_same, listing};
use kit::process::Finished;

const TREE: &str = r#"
d 0755 etc
f 0644 etc/motd "second"
h etc/motd.link = etc/motd
l etc/to -> motd
f 0644 etc/twin "third"
f 0600 key 4000 bytes
"#;

/// The two uncompressed layers have the same size, so that only the digest distinguishes them.
fn image() -> Image {
    let layer = |entries: &[Entry]| archive(entries);
    let twin = |text: &str| {
        let mut tar =
            layer(&[file("etc/twin", text), file("etc/motd", "second"), hardlink("etc/motd.link", "etc/motd")]);
        tar.resize(10_240, 0);
        Layer::plain(&tar)
    };
    let base = layer(&[dir("etc"), file("etc/gone", "first"), file("key", [b'k'; 4000]).mode(0o600)]);
    let top = layer(&[whiteout("etc/gone"), symlink("etc/to", "motd")]);
    Image::new(vec![Layer::gzip(&base), twin("thrid"), twin("third"), Layer::gzip(&top)])
}

struct Blob {
    name: String,
    digest: String,
    bytes: Vec<u8>,
}

/// The blobs of an image in the store.
fn blobs(image: &Image) -> Vec<Blob> {
    let blob = |name: String, bytes: Vec<u8>| Blob { name, digest: sha256(&bytes), bytes };
    let layers = image.layers.iter().enumerate().map(|(n, layer)| blob(format!("layer {n}"), layer.blob.clone()));
    let documents =
        [blob("the manifest".into(), image.manifest_bytes()), blob("the config".into(), image.config_bytes.clone())];
    documents.into_iter().chain(layers).collect()
}

/// The changes of a blob: a flipped byte, another length, and each of the other blobs in its place.
fn changes(digest: &str, good: &[u8], others: &[Blob]) -> Vec<(String, Vec<u8>)> {
    let flipped = |place: usize| {
        let mut bytes = good.to_vec();
        bytes[place] ^= 1;
        bytes
    };
    let mut changes: Vec<(String, Vec<u8>)> = [
        ("the first byte flipped", flipped(0)),
        ("a byte in the middle flipped", flipped(good.len() / 2)),
        ("the last byte flipped", flipped(good.len() - 1)),
        ("cut to no bytes", Vec::new()),
        ("cut in half", good[..good.len() / 2].to_vec()),
        ("cut by a byte", good[..good.len() - 1].to_vec()),
        ("a byte longer", [good, b"\0"].concat()),
        ("much longer", [good, &[0; 300_000]].concat()),
    ]
    .map(|(change, bytes)| (change.to_owned(), bytes))
    .into();
    let swaps = others.iter().filter(|other| other.digest != digest);
    changes.extend(swaps.map(|other| (format!("{} in its place", other.name), other.bytes.clone())));
    changes
}

/// A registry with an image for two platforms, and a store with another image.
struct Case {
    bench: Bench,
    image: Image,
    index: Vec<u8>,
}

impl Case {
    fn new() -> Case {
        let (bench, image) = (Bench::new(), image());
        bench.pull(&Image::small("another")).exits(0);
        let (own, other) = (format!("linux/{}", architecture()), "linux/s390x");
        let other_image = Image::for_platform(vec![Layer::of(&[file("f", "other")])], other);
        let images = [(other, &other_image), (own.as_str(), &image)];
        push_index(&bench.registry, "good", "1", &images);
        let entries: Vec<_> = images.iter().map(|(platform, image)| image.entry(platform)).collect();
        Case { bench, image, index: index(&entries).to_string().into_bytes() }
    }

    fn pinned(&self) -> String {
        self.bench.registry.name(&format!("good@{}", sha256(&self.index)))
    }

    fn unpack(&self, name: &str, when: &str) -> Finished {
        self.bench.home.run(&["unpack", "--pull", when, name, &self.bench.home.arg("root")])
    }

    /// Asserts that the failed command left no target, no staging folder, and no name in the store.
    #[track_caller]
    fn assert_untouched(&self, case: &str, names: &[String]) {
        let left: Vec<String> = fs::read_dir(self.bench.home.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !["home", "store"].contains(&name.as_str()))
            .collect();
        assert!(left.is_empty(), "{case}: {left:?}");
        assert_eq!(self.bench.home.names(), names, "{case}");
    }

    /// Asserts that each blob in the store has the digest in its name.
    #[track_caller]
    fn assert_blobs_match_their_names(&self, case: &str) {
        for entry in fs::read_dir(self.bench.home.store().join("blobs/sha256")).unwrap() {
            let entry = entry.unwrap();
            let digest = sha256(&fs::read(entry.path()).unwrap());
            assert_eq!(format!("sha256:{}", entry.file_name().to_str().unwrap()), digest, "{case}");
        }
    }

    /// Asserts that the target and the store are complete and correct.
    #[track_caller]
    fn assert_complete(self, case: &str) {
        assert_same(case, TREE, &listing(&self.bench.home.path("root")));
        self.assert_blobs_match_their_names(case);
        self.bench.home.run(&["verify"]).exits_in(case, 0);
        let left = fs::read_dir(self.bench.home.store().join("ingest")).unwrap().count();
        assert_eq!(left, 0, "{case}: partial files were left");
    }
}

#[test]
fn a_changed_blob_on_the_wire_is_a_mismatch() {
    let first = Case::new();
    let mut all = blobs(&first.image);
    all.push(Blob { name: "the index".into(), digest: sha256(&first.index), bytes: first.index.clone() });
    for Blob { name: blob, digest, bytes: good } in &all {
        for (change, bytes) in changes(digest, good, &all) {
            let (case, label) = (Case::new(), format!("{blob}, {change}"));
            let names = case.bench.home.names();
            case.bench.registry.fault(on(digest.as_str()).body(bytes));
            case.unpack(&case.pinned(), "missing").exits_in(&label, 8).fails_in_one_line();
            case.assert_untouched(&label, &names);
            case.assert_blobs_match_their_names(&label);
            case.bench.registry.clear_faults();
            case.unpack(&case.pinned(), "missing").exits_in(&label, 0);
            case.assert_complete(&label);
        }
    }
}

#[test]
fn a_changed_index_of_a_tag_is_rejected() {
    let first = Case::new();
    for (change, bytes) in changes("", &first.index, &blobs(&first.image)) {
        let (case, label) = (Case::new(), format!("the index, {change}"));
        let names = case.bench.home.names();
        case.bench.registry.fault(on("/manifests/1").body(bytes));
        // A tag has no digest to compare with. In the middle of the index is a digest: when it is changed, it is malformed or
        // names a missing manifest.
        let codes: &[i32] = if change.contains("in the middle") { &[3, 11] } else { &[11] };
        case.unpack(&case.bench.registry.name("good:1"), "missing").exits_among(&label, codes).fails_in_one_line();
        case.assert_untouched(&label, &names);
        case.assert_blobs_match_their_names(&label);
    }
}

#[test]
fn reports_and_repairs_a_changed_blob_in_the_store() {
    let all = blobs(&image());
    for Blob { name: blob, digest, bytes: good } in &all {
        for (change, bytes) in changes(digest, good, &all) {
            let (case, label) = (Case::new(), format!("{blob}, {change}"));
            let name = case.pinned();
            case.bench.home.run(&["pull", &name]).exits_in(&label, 0);
            let names = case.bench.home.names();
            let path = case.bench.home.blob(digest);
            fs::remove_file(&path).unwrap();
            fs::write(&path, &bytes).unwrap();
            // A layer of another size counts as missing. Documents are always read and verified.
            let is_layer = blob.starts_with("layer");
            let is_missing = is_layer && bytes.len() != good.len();
            case.unpack(&name, "never").exits_in(&label, if is_missing { 3 } else { 8 }).fails_in_one_line();
            case.assert_untouched(&label, &names);
            case.bench.home.run(&["verify", &name]).exits_in(&label, 8).says("1 corrupt");
            if is_layer && !is_missing {
                case.unpack(&name, "missing").exits_in(&label, 8).says("hint: pullet verify --remove-corrupt");
                case.assert_untouched(&label, &names);
                case.bench.home.run(&["verify", "--remove-corrupt"]).exits_in(&label, 0);
            }
            case.unpack(&name, "missing").exits_in(&label, 0);
            case.assert_complete(&label);
        }
    }
}

#[test]
fn reports_changed_layout_files_and_leaves_them_alone() {
    for file in ["index.json", "oci-layout"] {
        // The bytes in the middle of index.json depend on the registry's port, and no check covers all of them.
        let is_detected = |change: &str| file == "oci-layout" || !change.contains("in the middle");
        let all = changes("", b"any bytes", &[]);
        for change in all.iter().map(|(change, _)| change).filter(|change| is_detected(change)) {
            let (case, label) = (Case::new(), format!("{file}, {change}"));
            case.bench.home.run(&["pull", &case.pinned()]).exits_in(&label, 0);
            let path = case.bench.home.store().join(file);
            let good = fs::read(&path).unwrap();
            let changed = changes("", &good, &[]).into_iter().find(|(other, _)| other == change).unwrap().1;
            fs::write(&path, &changed).unwrap();
            case.unpack(&case.pinned(), "missing").exits_in(&label, 9).fails_in_one_line().says(file);
            assert!(fs::read(&path).unwrap() == changed, "{label}: the file was changed");
            fs::write(&path, good).unwrap();
            case.unpack(&case.pinned(), "never").exits_in(&label, 0);
            case.assert_complete(&label);
        }
    }
}
