//! Damaged stores: `verify --remove-corrupt` and `pull` together bring every store back, and nothing outside of it changes.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use kit::archive::file;
use kit::bench::Bench;
use kit::image::{Image, Layer};
use kit::listing::listing;
use kit::noise::noise;
use kit::process::is_root;

type Damage = fn(&Path, &[u8]);

/// The ways to damage a file.
fn damages() -> Vec<(&'static str, Damage)> {
    let mut damages: Vec<(&str, Damage)> = vec![
        ("removed", |_, _| {}),
        ("emptied", |path, _| fs::write(path, "").unwrap()),
        ("cut in half", |path, good| fs::write(path, &good[..good.len() / 2]).unwrap()),
        ("cut by a byte", |path, good| fs::write(path, &good[..good.len().saturating_sub(1)]).unwrap()),
        ("a byte longer", |path, good| fs::write(path, [good, b"x"].concat()).unwrap()),
        ("zeros", |path, good| fs::write(path, vec![0; good.len()]).unwrap()),
        ("the first bit flipped", |path, good| fs::write(path, flipped(good, 0)).unwrap()),
        ("a bit flipped at 1/7", |path, good| fs::write(path, flipped(good, good.len() / 7)).unwrap()),
        ("a bit flipped at 2/5", |path, good| fs::write(path, flipped(good, good.len() * 2 / 5)).unwrap()),
        ("a bit flipped at 2/3", |path, good| fs::write(path, flipped(good, good.len() * 2 / 3)).unwrap()),
        ("the last bit flipped", |path, good| fs::write(path, flipped(good, good.len().saturating_sub(1))).unwrap()),
        ("a huge file", |path, _| fs::File::create(path).unwrap().set_len(20 << 20).unwrap()),
        ("a folder", |path, _| {
            fs::create_dir(path).unwrap();
            fs::write(path.join("file"), "x").unwrap();
        }),
        ("a link to nowhere", |path, _| symlink("nowhere", path).unwrap()),
        ("a link out of the store", |path, _| symlink("/proc/self/exe", path).unwrap()),
        ("a FIFO", |path, _| rustix::fs::mkfifoat(rustix::fs::CWD, path, 0o600.into()).unwrap()),
    ];
    if is_root() {
        damages.push(("a device", |path, _| {
            let kind = rustix::fs::FileType::CharacterDevice;
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, 0o600.into(), rustix::fs::makedev(1, 5)).unwrap();
        }));
    }
    damages
}

fn flipped(good: &[u8], position: usize) -> Vec<u8> {
    let mut bytes = good.to_vec();
    if let Some(byte) = bytes.get_mut(position) {
        *byte ^= 1;
    }
    bytes
}

fn image(seed: &str) -> Image {
    Image::new(vec![Layer::of(&[file(seed, seed.repeat(100))])])
}

/// A store with two images.
struct Case {
    bench: Bench,
    names: [String; 2],
    images: [Image; 2],
}

impl Case {
    fn new() -> Self {
        let bench = Bench::new();
        let images = [image("one"), image("two")];
        let names = [images[0].push(&bench.registry, "one", "1"), images[1].push(&bench.registry, "two", "1")];
        bench.home.run(&["pull", "-q", &names[0], &names[1]]).exits(0);
        Self { bench, names, images }
    }

    /// The files of the store, and the content of each.
    fn files(&self) -> Vec<PathBuf> {
        let store = self.bench.home.store();
        let mut files: Vec<PathBuf> =
            ["index.json", "oci-layout", "lock", "prune.lock"].map(|name| store.join(name)).into();
        for entry in fs::read_dir(store.join("blobs/sha256")).unwrap() {
            files.push(entry.unwrap().path());
        }
        files
    }

    #[track_caller]
    fn is_brought_back(&self, label: &str) {
        self.bench.home.run(&["verify", "--remove-corrupt"]).exits_in(&format!("{label}: verify"), 0);
        self.bench.home.run(&["pull", "-q", &self.names[0], &self.names[1]]).exits_in(&format!("{label}: pull"), 0);
        self.bench.home.run(&["verify"]).exits_in(&format!("{label}: verify again"), 0);
        for (number, name) in self.names.iter().enumerate() {
            let root = self.bench.home.arg(&format!("root{number}"));
            self.bench.home.run(&["unpack", "--pull", "never", name, &root]).exits_in(label, 0);
            let listing = listing(Path::new(&root));
            assert!(listing.contains(["one", "two"][number]), "{label}: {listing}");
            fs::remove_dir_all(&root).unwrap();
        }
    }
}

#[test]
fn verify_and_pull_bring_back_a_store_with_any_damaged_file() {
    let count = Case::new().files().len();
    for (how, damage) in damages() {
        let case = Case::new();
        for number in 0..count {
            let path = &case.files()[number];
            let label = format!("{}, {how}", path.file_name().unwrap().to_string_lossy());
            let good = fs::read(path).unwrap();
            fs::remove_file(path).unwrap();
            damage(path, &good);
            case.is_brought_back(&label);
        }
        // A partial download.
        let store = case.bench.home.store();
        let [first, _] = &case.images;
        let digest = first.layers[0].digest();
        let partial = store.join("ingest").join(format!("{}.partial", digest.replace(':', "-")));
        fs::remove_file(case.bench.home.blob(&digest)).unwrap();
        damage(&partial, &first.layers[0].blob);
        case.is_brought_back(&format!("a partial download, {how}"));
        assert!(!partial.exists(), "a partial download, {how}");
    }
}

/// What can still be read of a damaged index is kept, if the store has what it names.
#[test]
fn a_pull_rebuilds_a_damaged_index_and_keeps_the_old_file() {
    let case = Case::new();
    let path = case.bench.home.store().join("index.json");
    let good = fs::read(&path).unwrap();
    let damaged = [&good[..good.len() - 2], b" and more"].concat();
    fs::write(&path, &damaged).unwrap();
    for args in [&["images"][..], &["verify"], &["unpack", &case.names[0], "root"]] {
        let outcome = case.bench.home.run(args).exits_in(&format!("{args:?}"), 9).fails_in_one_line();
        outcome.says(
            "hint: the store's own files are damaged: pullet pull and pullet verify --remove-corrupt rebuild them",
        );
        assert_eq!(fs::read(&path).unwrap(), damaged, "{args:?} changed the index");
    }
    let third = image("three").push(&case.bench.registry, "three", "1");
    let aside = case.bench.home.store().join("index.json.damaged");
    case.bench.home.run(&["pull", &third]).exits(0).says("index.json is damaged").says(&aside.display().to_string());
    assert_eq!(fs::read(&aside).unwrap(), damaged);
    let [first, second] = &case.names;
    assert_eq!(case.bench.home.names(), [first.clone(), second.clone(), third.clone()]);
    case.bench.home.run(&["verify", first, second, &third]).exits(0);

    // An entry whose manifest is gone is not proven.
    fs::remove_file(case.bench.home.blob(&case.images[0].digest())).unwrap();
    fs::write(&path, &damaged).unwrap();
    case.bench.home.run(&["pull", &third]).exits(0);
    assert_eq!(case.bench.home.names(), [second.clone(), third]);
    // A good index is left alone.
    let before = fs::read(&path).unwrap();
    case.bench.home.run(&["verify", "--remove-corrupt"]).exits(0);
    assert_eq!(fs::read(&path).unwrap(), before);
}

/// An index of another version is not damaged, and a folder that is no store is not made one.
#[test]
fn mends_nothing_that_is_not_damaged() {
    let case = Case::new();
    let path = case.bench.home.store().join("oci-layout");
    fs::write(&path, r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    for args in [&["verify", "--remove-corrupt"][..], &["pull", &case.names[0]]] {
        case.bench.home.run(args).exits_in(&format!("{args:?}"), 10).fails_in_one_line().says("2.0.0");
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"imageLayoutVersion":"2.0.0"}"#);
    }
    fs::create_dir(case.bench.home.path("other")).unwrap();
    case.bench.home.run(&["verify", "--remove-corrupt", "--store", "other"]).exits(3);
    assert_eq!(fs::read_dir(case.bench.home.path("other")).unwrap().count(), 0);
}

/// No path makes pullet try for ever, or overflow its stack.
#[test]
fn folders_that_cannot_be_created_end_with_a_disk_error() {
    let bench = Bench::new();
    let name = Image::new(vec![Layer::of(&[file("f", noise(10))])]).push(&bench.registry, "app", "1");
    let deep = "/d".repeat(3000);
    for path in
        ["/proc", "/proc/x", "/proc/x/y", "/proc/self/fd/x", "/dev/fd/x", "/sys/x", "/dev/null/x", deep.as_str()]
    {
        for args in [["pull", "--store", path, &name].to_vec(), ["unpack", "--store", path, &name, "root"].to_vec()] {
            bench.home.run(&args).exits_in(&format!("{args:?}"), 9).fails_in_one_line();
        }
        if path != "/proc" && path != "/dev/null/x" {
            bench.home.run(&["unpack", &name, path]).exits_in(&format!("into {path}"), 9).fails_in_one_line();
        }
    }
    let shell = "mkdir gone && cd gone && rmdir ../gone && exec \"$@\"";
    for args in [["pull", "--store", "a/b", &name].to_vec(), ["unpack", &name, "a/b"].to_vec()] {
        bench.home.pullet(&args).through_shell(shell).run().exits_in(&format!("{args:?}"), 9).fails_in_one_line();
    }
}
