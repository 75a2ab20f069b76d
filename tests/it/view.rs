//! `export`, `cat`, `ls` and `diff` on the merged root filesystem of an image in the store. `check_tree` compares every export
//! with what `unpack` makes; here is what only these commands do.

use std::fs;
use std::io::Read;

use kit::archive::{Entry, archive, char_device, dir, fifo, file, hardlink, opaque, symlink, whiteout};
use kit::bench::{Bench, check_export, unpack_image};
use kit::debian::{command, run};
use kit::image::{Image, Layer};
use kit::listing::assert_same;
use kit::process::{Finished, is_root};
use kit::sparse;
use rustix::process::Signal;

/// A store with images `app:TAG` of these layers.
fn store(images: &[(&str, &[&[Entry]])]) -> Bench {
    let bench = Bench::new();
    for (tag, layers) in images {
        let image = Image::new(layers.iter().map(|entries| Layer::of(entries)).collect());
        let name = image.push(&bench.registry, "app", tag);
        bench.home.run(&["pull", "-q", &name]).exits(0);
    }
    bench
}

/// Runs a command on the image `app:1`.
fn on_image(bench: &Bench, command: &str, args: &[&str]) -> Finished {
    let name = bench.registry.name("app:1");
    bench.home.run(&[&[command, &name], args].concat())
}

/// The output of `diff` between `app:1` and `app:2`.
fn diff(old: &[&[Entry]], new: &[&[Entry]]) -> String {
    let bench = store(&[("1", old), ("2", new)]);
    let (old, new) = (bench.registry.name("app:1"), bench.registry.name("app:2"));
    let finished = bench.home.run(&["diff", &old, &new]).exits(0);
    finished.stdout
}

fn base() -> Vec<Entry> {
    vec![
        dir("etc"),
        file("etc/release", "one\n"),
        symlink("etc/link", "/usr/lib/data"),
        dir("usr"),
        dir("usr/lib"),
        file("usr/lib/data", "content of data"),
        symlink("lib", "usr/lib"),
    ]
}

#[test]
fn an_export_is_reproducible_and_lists_parents_first_and_each_path_once() {
    let upper =
        [file("lib/new", "2"), dir("etc").mode(0o700), file("a/b/c", "3"), hardlink("z", "a/b/c"), file("z", "4")];
    let bench = store(&[("1", &[&base(), &upper])]);
    let first = on_image(&bench, "export", &[]).exits(0).stdout;
    on_image(&bench, "export", &["-o", &bench.home.arg("out.tar")]).exits(0).prints("");
    assert!(first.as_bytes() == fs::read(bench.home.path("out.tar")).unwrap(), "not the same bytes");
    let list = run(command("tar").arg("--list").arg("--file").arg(bench.home.path("out.tar"))).expect(0).stdout;
    let expected = "./ etc/ etc/release etc/link usr/ usr/lib/ usr/lib/data lib usr/lib/new a/ a/b/ a/b/c z";
    assert_eq!(list.split_whitespace().collect::<Vec<_>>().join(" "), expected);
}

#[test]
fn hard_links_keep_their_content_when_other_names_are_hidden() {
    let one = [
        file("f", "first").mode(0o600),
        hardlink("g", "f"),
        hardlink("d/h", "g"),
        symlink("s", "x"),
        hardlink("t", "s"),
    ];
    for (case, upper) in [
        ("the first name is removed", vec![whiteout("f"), whiteout("s")]),
        ("the first name is replaced", vec![file("f", "second"), dir("s")]),
        ("only the last name stays", vec![whiteout("f"), whiteout("g"), whiteout("t")]),
        ("the folder of a name is opaque", vec![opaque("d"), whiteout("f")]),
        ("linked again after a removal", vec![hardlink("n/new", "d/h"), whiteout("f"), whiteout("g")]),
        ("a new file behind the old name", vec![file("f", "second"), hardlink("k", "f"), whiteout("d")]),
    ] {
        let image = Image::new(vec![Layer::of(&one), Layer::of(&upper)]);
        check_export(case, &unpack_image(&image, &[]).done(case));
    }
}

#[test]
fn many_layers_of_random_changes_export_as_they_unpack() {
    // A small set of names, so that entries meet often; links lead into folders that other layers replace.
    let names = ["a", "b", "a/c", "b/c", "a/c/d", "l/x", "l/c/y", "m/z"];
    let mut noise = kit::noise::Noise::new(7);
    let mut exported = 0;
    for round in 0..25 {
        let mut layers = Vec::new();
        let mut files: Vec<&str> = Vec::new();
        for _ in 0..=noise.below(4) {
            let mut entries = Vec::new();
            for number in 0..noise.below(10) {
                let name = names[noise.below(8) as usize];
                let mut any = |of: &[&'static str]| of[noise.below(of.len() as u64) as usize];
                entries.push(match any(&["file", "file", "dir", "dir", "link", "hard link", "whiteout", "opaque"]) {
                    "file" => {
                        files.push(name);
                        file(name, format!("{round} {number}"))
                    }
                    "dir" => dir(name).mode(0o700 + number as u32),
                    "link" => symlink(any(&["l", "m", "b"]), any(&["a", "/b", "a/c", "../b/c"])),
                    "hard link" if !files.is_empty() => hardlink(name, any(&files)),
                    "opaque" => opaque(name),
                    _ => whiteout(name),
                });
            }
            layers.push(Layer::of(&entries));
        }
        let case = format!("round {round}");
        let unpacked = unpack_image(&Image::new(layers), &[]);
        let home = &unpacked.bench.home;
        if unpacked.outcome.code == 0 {
            exported += 1;
            check_export(&case, &unpacked);
        } else {
            let name = unpacked.bench.registry.name("app:latest");
            home.run(&["pull", &name]).exits_in(&case, 0);
            home.run(&["export", &name]).exits_in(&case, 11).prints("");
        }
    }
    assert!(exported >= 8, "only {exported} images were exported");
}

#[test]
fn sparse_files_are_whole_in_an_export() {
    let pieces = [(4096, "data".to_owned() + &"x".repeat(508)), (20480, "end".repeat(8))];
    let pieces: Vec<(u64, &[u8])> = pieces.iter().map(|(offset, text)| (*offset, text.as_bytes())).collect();
    let entries = [sparse::pax_1_0("s", &pieces, 30000), sparse::old_gnu("t", &pieces, 30000)];
    let bench = store(&[("1", &[&entries])]);
    let expected = sparse::expanded(&pieces, 30000);
    for name in ["s", "t"] {
        assert!(on_image(&bench, "cat", &[name]).exits(0).stdout.as_bytes() == expected, "{name}");
    }
    let unpacked = unpack_image(&Image::new(vec![Layer::of(&entries)]), &[]).done("sparse files");
    check_export("sparse files", &unpacked);
}

/// Another tool may unpack an export as root.
#[test]
fn an_export_has_only_the_attributes_that_images_may_set() {
    let with = |entry: Entry| {
        let entry = entry.pax("SCHILY.xattr.user.kept", "v").pax("SCHILY.xattr.trusted.overlay.opaque", "y");
        entry.pax("SCHILY.xattr.user.overlay.redirect", "/x").pax("SCHILY.xattr.security.evm", "x")
    };
    let upper = [with(dir(".")), with(dir("etc")), with(file("f", "1")), hardlink("g", "f"), with(fifo("p"))];
    let bench = store(&[("1", &[&base(), &upper])]);
    let tar = on_image(&bench, "export", &[]).exits(0).stdout;
    // User attributes are for files and folders; a name is in an archive once.
    assert!(tar.matches("SCHILY.xattr.user.kept=v").count() >= 3, "{}", tar.matches("user.kept").count());
    for name in ["overlay", "security.evm"] {
        assert!(!tar.contains(name), "{name}");
    }
}

/// The layers that both images share are not compared, so they must be known to be the same.
#[test]
fn diff_notices_a_config_that_lies_about_a_shared_blob() {
    let bench = Bench::new();
    let layer = Layer::of(&base());
    let mut lying = layer.clone();
    lying.diff_id = format!("sha256:{}", "0".repeat(64));
    let names = [("1", layer), ("2", lying)].map(|(tag, layer)| {
        let name = Image::new(vec![layer]).push(&bench.registry, "app", tag);
        bench.home.run(&["pull", "-q", &name]).exits(0);
        name
    });
    let [honest, lying] = [&names[0], &names[1]];
    bench.home.run(&["diff", honest, honest]).exits(0).prints("");
    for pair in [[honest, lying], [lying, honest]] {
        bench.home.run(&[&["diff"][..], &pair.map(String::as_str)].concat()).exits(8).fails_in_one_line().prints("");
    }
}

#[test]
fn an_output_file_appears_complete_or_not_at_all() {
    let bench = store(&[("1", &[&base()])]);
    let out = bench.home.write("out.tar", "old");
    damage(&bench);
    on_image(&bench, "export", &["-o", &out]).exits(8).says("damaged in the store");
    assert_eq!(fs::read(&out).unwrap(), b"old");
    let names = fs::read_dir(bench.home.path("")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().all(|name| !name.contains("pullet-new")), "a temporary file is left");
}

/// Changes a byte in the middle of the largest blob of the store.
fn damage(bench: &Bench) {
    let blobs = fs::read_dir(bench.home.store().join("blobs/sha256")).unwrap();
    let mut blobs: Vec<_> = blobs.map(|entry| entry.unwrap().path()).collect();
    blobs.sort_by_key(|path| fs::metadata(path).unwrap().len());
    blobs.retain(|path| fs::read(path).unwrap().starts_with(&[0x1f, 0x8b]));
    let layer = blobs.last().unwrap();
    let mut bytes = fs::read(layer).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(layer, bytes).unwrap();
}

#[test]
fn nothing_of_a_damaged_image_is_printed() {
    let bench = store(&[("1", &[&base()]), ("2", &[&base(), &[file("x", "1")]])]);
    damage(&bench);
    for args in [vec!["export"], vec!["cat", "etc/release"], vec!["ls"], vec!["diff", "app:2"]] {
        let name = bench.registry.name("app:1");
        let other = bench.registry.name("app:2");
        let args: Vec<&str> = match args[..] {
            ["diff", _] => vec!["diff", &name, &other],
            [command, path] => vec![command, &name, path],
            _ => vec![args[0], &name],
        };
        bench.home.run(&args).exits_in(args[0], 8).prints("").fails_in_one_line();
    }
}

#[test]
fn cat_follows_links_as_a_program_in_the_image_would() {
    let upper = [
        symlink("etc/up", "../../../usr/lib/data"),
        symlink("chain", "etc/link"),
        symlink("loop", "loop2"),
        symlink("loop2", "loop"),
        symlink("dangling", "nowhere"),
        fifo("pipe"),
        file("empty", ""),
    ];
    let bench = store(&[("1", &[&base(), &upper])]);
    for path in ["usr/lib/data", "/usr/lib/data", "lib/data", "etc/link", "etc/up", "chain", "/../etc/../lib/./data"] {
        on_image(&bench, "cat", &[path]).exits_in(path, 0).prints("content of data");
    }
    on_image(&bench, "cat", &["empty"]).exits(0).prints("");
    for (path, code, text) in [
        ("missing", 3, "no such file"),
        ("etc/release/x", 3, "no such file"),
        ("etc/release/", 3, "not a directory"),
        ("dangling", 3, "no such file"),
        ("loop", 11, "too many links"),
        ("etc", 2, "it is a directory"),
        ("/", 2, "it is a directory"),
        ("pipe", 2, "it is not a regular file"),
    ] {
        on_image(&bench, "cat", &[path]).exits_in(path, code).prints("").says(text).fails_in_one_line();
    }
    let name = bench.registry.name("app:absent");
    bench.home.run(&["cat", &name, "x"]).exits(3);
    bench.home.run(&["cat", &name]).exits(2);
}

#[test]
fn cat_prints_the_upper_file_and_no_file_that_is_removed() {
    let bench = store(&[(
        "1",
        &[
            &[file("same", "old"), file("gone", "x"), dir("d"), file("d/in", "x"), hardlink("kept", "gone")],
            &[file("same", "new"), whiteout("gone"), opaque("d")],
        ],
    )]);
    on_image(&bench, "cat", &["same"]).exits(0).prints("new");
    on_image(&bench, "cat", &["kept"]).exits(0).prints("x");
    on_image(&bench, "cat", &["gone"]).exits(3).prints("");
    on_image(&bench, "cat", &["d/in"]).exits(3).prints("");
}

#[test]
fn ls_lists_names_details_and_everything_below() {
    let upper = [
        file("usr/lib/tool", "12345").mode(0o4755).owner(7, 1234).mtime(86400),
        dir("usr/lib/tmp").mode(0o1777).owner(0, 0).mtime(0),
        whiteout("etc/release"),
        file("etc/line\nbreak", ""),
        file("implied/x", "").owner(0, 0).mtime(1),
    ];
    let bench = store(&[("1", &[&base(), &upper])]);
    on_image(&bench, "ls", &[]).exits(0).prints("etc\nimplied\nlib\nusr\n");
    on_image(&bench, "ls", &["etc"]).exits(0).prints("line\nbreak\nlink\n");
    for path in ["lib", "/usr/lib/", "etc/../lib/."] {
        on_image(&bench, "ls", &[path]).exits_in(path, 0).prints("data\ntmp\ntool\n");
    }
    on_image(&bench, "ls", &["usr/lib/data"]).exits(0).prints("usr/lib/data\n");
    on_image(&bench, "ls", &["-R", "usr"]).exits(0).prints("lib\nlib/data\nlib/tmp\nlib/tool\n");
    on_image(&bench, "ls", &["missing"]).exits(3).prints("");
    on_image(&bench, "ls", &["-l", "implied"]).exits(0).prints("-rw-r--r-- 0 0 0 1970-01-01 00:00:01 x\n");
    let long = on_image(&bench, "ls", &["-l", "lib"]).exits(0).stdout;
    assert!(long.contains("-rwsr-xr-x 7 1234  5 1970-01-02 00:00:00 tool\n"), "{long}");
    assert!(long.contains("drwxrwxrwt 0    0  0 1970-01-01 00:00:00 tmp\n"), "{long}");
    let root = on_image(&bench, "ls", &["-l"]).exits(0).stdout;
    assert!(
        root.contains(" lib -> usr/lib\n") && root.contains("drwxr-xr-x 0 0 0 1970-01-01 00:00:00 implied\n"),
        "{root}"
    );
    if is_root() {
        let bench = store(&[("1", &[&[char_device("null", 1, 3).owner(0, 0).mtime(i64::from(u32::MAX))]])]);
        on_image(&bench, "ls", &["-l", "/"]).exits(0).prints("crw------- 0 0 1, 3 2106-02-07 06:28:15 null\n");
    }
}

#[test]
fn diff_lists_what_was_added_changed_and_deleted() {
    let lower = base();
    let upper =
        [file("etc/release", "two\n"), file("usr/lib/new/deep/file", "1"), whiteout("lib"), file("etc/.wh.link", "")];
    let expected = "C /etc\nD /etc/link\nC /etc/release\nD /lib\nC /usr\nC /usr/lib\nA /usr/lib/new\nA /usr/lib/new/deep\n\
                    A /usr/lib/new/deep/file\n";
    assert_same("with a shared layer", expected, &diff(&[&lower], &[&lower, &upper]));
    let whole: Vec<Entry> = lower
        .iter()
        .cloned()
        .enumerate()
        .filter(|(position, _)| ![1, 2, 6].contains(position))
        .map(|(_, entry)| entry)
        .chain([file("etc/release", "two\n"), file("usr/lib/new/deep/file", "1")])
        .collect();
    assert_same("without one", expected, &diff(&[&lower], &[&whole]));
    assert_same("nothing", "", &diff(&[&lower], &[&lower, &[opaque("missing")]]));
    let backwards = "C /etc\nA /etc/link\nC /etc/release\nA /lib\nC /usr\nC /usr/lib\nD /usr/lib/new\n";
    assert_same("backwards", backwards, &diff(&[&lower, &upper], &[&lower]));
}

#[test]
fn diff_compares_type_content_and_metadata() {
    let cases: [(&str, Entry, Entry, bool); 12] = [
        ("equal", file("x", "1"), file("x", "1"), false),
        ("content of the same size", file("x", "1"), file("x", "2"), true),
        ("size", file("x", "1"), file("x", "11"), true),
        ("mode", file("x", "1"), file("x", "1").mode(0o600), true),
        ("owner", file("x", "1").owner(1, 1), file("x", "1").owner(1, 2), true),
        ("time", file("x", "1"), file("x", "1").mtime(5), true),
        ("xattr", file("x", "1"), file("x", "1").pax("SCHILY.xattr.user.a", "1"), true),
        ("type", file("x", ""), fifo("x"), true),
        ("target", symlink("x", "a"), symlink("x", "b"), true),
        ("time of a folder", dir("x"), dir("x").mtime(5), false),
        ("mode of a folder", dir("x"), dir("x").mode(0o700), true),
        ("device", char_device("x", 1, 3), char_device("x", 1, 5), true),
    ];
    for (case, old, new, differs) in cases {
        let expected = if differs { "C /x\n" } else { "" };
        assert_same(case, expected, &diff(&[&[old]], &[&[new]]));
    }
    let folder = [dir("x"), file("x/in", "1")];
    assert_same("a file for a folder", "C /x\n", &diff(&[&folder], &[&[file("x", "1")]]));
    assert_same("a folder for a file", "C /x\nA /x/in\n", &diff(&[&[file("x", "1")]], &[&folder]));
    let links = [file("a", "1"), hardlink("b", "a")];
    assert_same("a removed name of two", "D /a\n", &diff(&[&links], &[&links, &[whiteout("a")]]));
}

#[test]
fn limits_hold_and_hostile_archives_are_refused() {
    let deep: String = "d/".repeat(1100);
    for (case, entries, options, text) in [
        ("entries", vec![file("a", ""), file("b", ""), file("c", "")], vec!["--max-entries", "2"], "archive entries"),
        ("implied folders", vec![file("a/b/c/d/e", "")], vec!["--max-entries", "3"], "implied directories"),
        ("depth", vec![dir(&deep)], vec![], "components of a path"),
        ("a lower depth", vec![dir("a/b/c")], vec!["--max-depth", "2"], "components of a path"),
        ("bytes", vec![file("a", vec![0; 9000])], vec!["--max-unpacked", "8k"], "bytes of unpacked layers"),
        ("holes", vec![sparse::pax_1_0("s", &[], 1 << 40)], vec![], "bytes of unpacked layers"),
        ("a parent", vec![file("../x", "")], vec![], "unsafe name"),
        ("a loop of links", vec![symlink("a", "a"), file("a/b", "")], vec![], "too many links"),
        ("a missing target", vec![hardlink("a", "b")], vec![], "does not exist"),
        ("a link to a folder", vec![dir("b"), hardlink("a", "b")], vec![], "is a directory"),
        (
            "a link in the place of the folder with its target",
            vec![dir("d"), file("d/f", ""), symlink("s", "."), hardlink("s/d", "d/f")],
            vec![],
            "the target is below the link",
        ),
    ] {
        let bench = store(&[("1", &[&entries])]);
        for command in ["export", "ls"] {
            let found = on_image(&bench, command, &options).exits_in(case, 11).prints("").says(text);
            found.fails_in_one_line();
        }
    }
}

#[test]
fn bad_options_are_refused() {
    let bench = store(&[("1", &[&base()])]);
    for args in [&["export"][..], &["ls"], &["diff", "a"], &["cat", "a"], &["ls", "a", "b", "c"], &["export", "a", "b"]]
    {
        bench.home.run(args).exits(2);
    }
    on_image(&bench, "cat", &["-o", "x", "etc/release"]).exits(2);
    on_image(&bench, "export", &["--no-devices"]).exits(2);
    on_image(&bench, "export", &["-o", &bench.home.arg("")]).exits(9);
}

#[test]
fn a_signal_ends_an_export_that_waits_for_its_reader() {
    let bench = store(&[("1", &[&[file("large", vec![1; 1 << 20])]])]);
    let name = bench.registry.name("app:1");
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let running = bench.home.pullet(&["export", &name]).stdout(writer).start();
        reader.read_exact(&mut [0]).unwrap();
        running.signal(signal);
        running.wait().exits(code).says("interrupted");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let bench = store(&[("1", &[&[file("large", vec![1; 1 << 20])]])]);
    let name = bench.registry.name("app:1");
    for args in [&["export", &name][..], &["cat", &name, "large"]] {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let running = bench.home.pullet(args).stdout(writer).start();
        reader.read_exact(&mut [0]).unwrap();
        drop(reader);
        running.wait().exits(0);
    }
}

#[test]
fn layers_of_every_compression_are_read() {
    let tar = archive(&base());
    for layer in [Layer::plain(&tar), Layer::gzip(&tar), Layer::zstd(&tar)] {
        let bench = Bench::new();
        let name = Image::new(vec![layer]).push(&bench.registry, "app", "1");
        bench.home.run(&["pull", "-q", &name]).exits(0);
        on_image(&bench, "cat", &["etc/release"]).exits(0).prints("one\n");
    }
}
