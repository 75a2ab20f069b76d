//! Every blob of a good image, changed in every way: on the wire and in the store. The target never appears, nothing
//! wrong has a name, and once the fault is gone the same command ends well.

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

/// Plain layers of one size are the ones that only a digest can tell from each other.
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

/// A blob: what it is, its digest and its bytes.
type Blob = (String, String, Vec<u8>);

/// What the store keeps of an image.
fn blobs(image: &Image) -> Vec<Blob> {
    let blob = |what: String, bytes: Vec<u8>| (what, sha256(&bytes), bytes);
    let layers = image.layers.iter().enumerate().map(|(n, layer)| blob(format!("layer {n}"), layer.blob.clone()));
    let documents =
        [blob("the manifest".into(), image.manifest_bytes()), blob("the config".into(), image.config_bytes.clone())];
    documents.into_iter().chain(layers).collect()
}

/// Every change of this blob: a byte, its length, another one in its place.
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
        ("cut to nothing", Vec::new()),
        ("cut to a half", good[..good.len() / 2].to_vec()),
        ("cut by a byte", good[..good.len() - 1].to_vec()),
        ("a byte longer", [good, b"\0"].concat()),
        ("much longer", [good, &[0; 300_000]].concat()),
    ]
    .map(|(change, bytes)| (change.to_owned(), bytes))
    .into();
    let swaps = others.iter().filter(|(_, other, _)| other != digest);
    changes.extend(swaps.map(|(what, _, bytes)| (format!("{what} in its place"), bytes.clone())));
    changes
}

/// An image of two platforms in a registry, a store that has another image, a target that is not there.
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
        let foreign = Image::for_platform(vec![Layer::of(&[file("f", "foreign")])], other);
        let images = [(other, &foreign), (own.as_str(), &image)];
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

    /// Nothing is to be seen of what failed: neither a target nor its staging, and in the store no name for it.
    #[track_caller]
    fn untouched(&self, case: &str, names: &[String]) {
        let beside: Vec<String> = fs::read_dir(self.bench.home.path(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !["home", "store"].contains(&name.as_str()))
            .collect();
        assert!(beside.is_empty(), "{case}: {beside:?}");
        assert_eq!(self.bench.home.names(), names, "{case}");
    }

    /// What has a digest's name has that digest.
    #[track_caller]
    fn every_name_is_true(&self, case: &str) {
        for entry in fs::read_dir(self.bench.home.store().join("blobs/sha256")).unwrap() {
            let entry = entry.unwrap();
            let digest = sha256(&fs::read(entry.path()).unwrap());
            assert_eq!(format!("sha256:{}", entry.file_name().to_str().unwrap()), digest, "{case}");
        }
    }

    #[track_caller]
    fn whole(self, case: &str) {
        assert_same(case, TREE, &listing(&self.bench.home.path("root")));
        self.every_name_is_true(case);
        self.bench.home.run(&["verify"]).exits_in(case, 0);
        let left = fs::read_dir(self.bench.home.store().join("ingest")).unwrap().count();
        assert_eq!(left, 0, "{case}: partial files were left");
    }
}

#[test]
fn a_changed_blob_on_the_wire_is_a_mismatch() {
    let first = Case::new();
    let mut all = blobs(&first.image);
    all.push(("the index".into(), sha256(&first.index), first.index.clone()));
    for (what, digest, good) in &all {
        for (change, bytes) in changes(digest, good, &all) {
            let (case, label) = (Case::new(), format!("{what}, {change}"));
            let names = case.bench.home.names();
            case.bench.registry.fault(on(digest.as_str()).body(bytes));
            case.unpack(&case.pinned(), "missing").exits_in(&label, 8).fails_in_one_line();
            case.untouched(&label, &names);
            case.every_name_is_true(&label);
            case.bench.registry.clear_faults();
            case.unpack(&case.pinned(), "missing").exits_in(&label, 0);
            case.whole(&label);
        }
    }
}

#[test]
fn a_changed_index_behind_a_tag_is_refused_for_what_it_is() {
    let first = Case::new();
    for (change, bytes) in changes("", &first.index, &blobs(&first.image)) {
        let (case, label) = (Case::new(), format!("the index, {change}"));
        let names = case.bench.home.names();
        case.bench.registry.fault(on("/manifests/1").body(bytes));
        // Nothing says what a tag's bytes must be. In the middle stands a digest: another one that nobody has, or none.
        let codes: &[i32] = if change.contains("in the middle") { &[3, 11] } else { &[11] };
        case.unpack(&case.bench.registry.name("good:1"), "missing").exits_among(&label, codes).fails_in_one_line();
        case.untouched(&label, &names);
        case.every_name_is_true(&label);
    }
}

#[test]
fn a_changed_blob_in_the_store_is_told_of_and_mended() {
    let all = blobs(&image());
    for (what, digest, good) in &all {
        for (change, bytes) in changes(digest, good, &all) {
            let (case, label) = (Case::new(), format!("{what}, {change}"));
            let name = case.pinned();
            case.bench.home.run(&["pull", &name]).exits_in(&label, 0);
            let names = case.bench.home.names();
            let path = case.bench.home.blob(digest);
            fs::remove_file(&path).unwrap();
            fs::write(&path, &bytes).unwrap();
            // A layer of another size is not there; of a document, all is read before it is believed.
            let is_layer = what.starts_with("layer");
            let is_missing = is_layer && bytes.len() != good.len();
            case.unpack(&name, "never").exits_in(&label, if is_missing { 3 } else { 8 }).fails_in_one_line();
            case.untouched(&label, &names);
            case.bench.home.run(&["verify", &name]).exits_in(&label, 8).says("1 corrupt");
            if is_layer && !is_missing {
                case.unpack(&name, "missing").exits_in(&label, 8).says("hint: pullet verify --remove-corrupt");
                case.untouched(&label, &names);
                case.bench.home.run(&["verify", "--remove-corrupt"]).exits_in(&label, 0);
            }
            case.unpack(&name, "missing").exits_in(&label, 0);
            case.whole(&label);
        }
    }
}

#[test]
fn changed_files_of_the_layout_are_told_of_and_left_alone() {
    for file in ["index.json", "oci-layout"] {
        // What stands in the middle of an index differs with the registry's port; nothing proves those bytes.
        let judged = |change: &str| file == "oci-layout" || !change.contains("in the middle");
        let all = changes("", b"any bytes", &[]);
        for change in all.iter().map(|(change, _)| change).filter(|change| judged(change)) {
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
            case.whole(&label);
        }
    }
}
