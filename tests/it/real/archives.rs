//! Archives of other tools: what skopeo and podman wrote is loaded, and they read what `save` and `import` wrote.

use std::fs;
use std::path::Path;

use kit::debian::{Scratch, command, run};
use kit::home::Home;
use kit::process::is_root;

use super::images::{self, Pushed, skopeo};
use super::{assert_same_as_umoci, expected, read_and_remove};

/// Runs podman with its storage in `folder`.
fn podman(folder: &Path) -> std::process::Command {
    let mut podman = command("podman");
    podman.args(["--log-level", "error", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--root"]);
    podman.arg(folder.join("podman")).arg("--runroot").arg(folder.join("run")).env("TMPDIR", folder);
    podman
}

fn pulled(home: &Home, image: &Pushed) {
    home.run(&["pull", "-q", &image.name]).exits(0);
}

fn id(home: &Home, name: &str) -> String {
    home.run(&["images", "-q", "--no-trunc", name]).exits(0).stdout.trim().to_owned()
}

/// `archive` in a home, loaded there.
fn loaded(archive: &Path, line: &str) -> Home {
    let home = Home::new();
    home.run(&["load", "-i", archive.to_str().unwrap()]).exits(0).prints(line);
    home.run(&["verify"]).exits(0);
    home
}

#[test]
fn loads_what_skopeo_writes() {
    let home = Home::new();
    let image = images::small("real/archive:latest");
    pulled(&home, &image);
    let from = format!("oci:{}:{}", home.store().display(), image.name);
    for (kind, suffix, line, compression) in [
        ("docker-archive", ":localhost/app:1", "localhost/app:1", ""),
        ("oci-archive", ":localhost/app:1", "localhost/app:1", ""),
        ("oci-archive", ":latest", "localhost/latest:latest", ""),
        ("oci-archive", ":localhost/app:1", "localhost/app:1", "zstd"),
    ] {
        let to = home.path("archive.tar");
        let mut copy = skopeo("copy");
        if !compression.is_empty() {
            // It compresses only what is not.
            let plain = format!("dir:{}", home.arg("plain"));
            run(skopeo("copy").args(["--dest-decompress", &from, &plain])).expect(0);
            copy.args(["--dest-compress-format", compression, &plain]);
        } else {
            copy.arg(&from);
        }
        run(copy.arg(format!("{kind}:{}{suffix}", to.display()))).expect(0);
        let _ = fs::remove_dir_all(home.path("plain"));
        let second = loaded(&to, &format!("Loaded image: {line}\n"));
        assert_eq!(id(&second, line), id(&home, &image.name), "{kind}{suffix}");
        let name = line.to_owned();
        second.run(&["unpack", "--pull", "never", &name, &second.arg("root")]).exits(0);
        expected(&image).assert_same(&read_and_remove(&second, "root"), &format!("{kind}{suffix}"));
        let digest = &second.index()[0]["digest"];
        if !compression.is_empty() {
            let manifest = fs::read_to_string(second.blob(digest.as_str().unwrap())).unwrap();
            assert!(manifest.contains("tar+zstd") && !manifest.contains("gzip"), "{compression}: {manifest}");
        } else if kind == "oci-archive" {
            assert_eq!(*digest, home.index()[0]["digest"], "the manifest changed");
        }
        fs::remove_file(to).unwrap();
    }
}

/// The layers of such an archive have frames that a reader skips, and annotations.
#[test]
fn loads_zstd_chunked_layers_that_skopeo_writes() {
    let home = Home::new();
    let image = images::zstd_chunked();
    pulled(&home, image);
    let from = format!("oci:{}:{}", home.store().display(), image.name);
    let to = home.path("archive.tar");
    run(skopeo("copy").args([&from, &format!("oci-archive:{}:localhost/app:1", to.display())])).expect(0);
    let second = loaded(&to, "Loaded image: localhost/app:1\n");
    let manifest = fs::read_to_string(second.blob(second.index()[0]["digest"].as_str().unwrap())).unwrap();
    assert!(manifest.contains("io.containers.zstd-chunked.manifest-checksum"), "{manifest}");
    second.run(&["unpack", "--pull", "never", "localhost/app:1", &second.arg("root")]).exits(0);
    expected(image).assert_same(&read_and_remove(&second, "root"), "zstd:chunked");
    // What is saved as docker-archive has plain layers.
    let plain = second.arg("plain.tar");
    second.run(&["save", "-o", &plain, "localhost/app:1"]).exits(0);
    run(skopeo("inspect").arg(format!("docker-archive:{plain}:localhost/app:1"))).expect(0);
    assert_eq!(
        id(&loaded(Path::new(&plain), "Loaded image: localhost/app:1\n"), "localhost/app:1"),
        id(&home, &image.name)
    );
}

#[test]
fn skopeo_and_umoci_read_what_save_writes() {
    let home = Home::new();
    let (small, second) = (images::small("real/saved:latest"), images::zstd());
    for image in [&small, second] {
        pulled(&home, image);
    }
    let docker = home.arg("docker.tar");
    home.run(&["save", "-o", &docker, &small.name, &second.name]).exits(0);
    let oci = home.arg("oci.tar");
    home.run(&["save", "--format", "oci-archive", "-o", &oci, &small.name, &second.name]).exits(0);
    for image in [&small, second] {
        let config = |from: String| run(skopeo("inspect").args(["--config", "--raw"]).arg(from)).expect(0).stdout;
        let stored = config(format!("oci:{}:{}", home.store().display(), image.name));
        assert_eq!(config(format!("docker-archive:{docker}:{}", image.name)), stored);
        assert_eq!(config(format!("oci-archive:{oci}:{}", image.name)), stored);
        let raw = run(skopeo("inspect").args(["--raw"]).arg(format!("oci-archive:{oci}:{}", image.name))).expect(0);
        assert_eq!(raw.stdout, image.document());
        // skopeo verifies all diff_ids.
        let copy = home.path("copy");
        run(skopeo("copy")
            .arg(format!("docker-archive:{docker}:{}", image.name))
            .arg(format!("oci:{}:x", copy.display())))
        .expect(0);
        images::remove(&copy);
    }
    let layout = home.path("layout");
    fs::create_dir(&layout).unwrap();
    run(command("tar").args(["-xf", &oci, "-C"]).arg(&layout)).expect(0);
    let umoci = images::unpacked_by_umoci(&layout, &small.name);
    assert_same_as_umoci(&umoci, &expected(&small), "umoci unpack of an oci-archive");
}

/// podman needs namespaces and mounts that an ordinary user of a build machine may not have.
#[test]
fn podman_loads_what_save_writes_and_load_reads_what_podman_saves() {
    if !is_root() {
        eprintln!("not root: podman is tested as root only");
        return;
    }
    let home = Home::new();
    let scratch = Scratch::new("podman");
    let folder = scratch.path.clone();
    let archive = home.arg("archive.tar");
    let loads = |format: &str, name: &str| {
        home.run(&["save", "--format", format, "-o", &archive, name]).exits(0);
        run(podman(&folder).args(["load", "-q", "-i", &archive])).expect(0);
        let found = run(podman(&folder).args(["images", "-q", "--no-trunc", name])).expect(0).stdout;
        assert_eq!(found.trim(), id(&home, name), "{format}");
    };
    let pushed = images::small("real/podman:1");
    pulled(&home, &pushed);
    loads("docker-archive", &pushed.name);
    loads("oci-archive", &pushed.name);

    let script = "cd \"$1\" && mkdir r && echo x > r/f && tar -C r -cf r.tar . && zstd -q r.tar";
    run(command("sh").args(["-c", script, "sh"]).arg(&folder)).expect(0);
    let names = ["localhost/one:1", "localhost/two:2"];
    for (name, tar) in names.iter().chain(&["localhost/zstd:1"]).zip(["r.tar", "r.tar", "r.tar.zst"]) {
        let change = format!("LABEL name={name}");
        home.run(&["import", "-c", &change, folder.join(tar).to_str().unwrap(), name]).exits(0);
    }
    loads("oci-archive", names[0]);
    loads("docker-archive", names[1]);
    let saved = folder.join("saved.tar");
    for format in ["docker-archive", "oci-archive"] {
        run(podman(&folder).args(["save", "-q", "--format", format, "-o"]).arg(&saved).arg(names[0])).expect(0);
        let second = loaded(&saved, &format!("Loaded image: {}\n", names[0]));
        assert_eq!(id(&second, names[0]), id(&home, names[0]), "{format}");
        second.run(&["unpack", "--pull", "never", names[0], &second.arg("root")]).exits(0);
        assert_eq!(fs::read_to_string(second.path("root/f")).unwrap(), "x\n", "{format}");
        fs::remove_file(&saved).unwrap();
    }
    run(podman(&folder).args(["save", "-q", "-m", "-o"]).arg(&saved).args(names)).expect(0);
    loads("docker-archive", "localhost/zstd:1");
    loads("oci-archive", "localhost/zstd:1");
    let second = Home::new();
    let printed = second.run(&["load", "-i", saved.to_str().unwrap()]).exits(0).stdout;
    let mut lines: Vec<&str> = printed.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, names.map(|name| format!("Loaded image: {name}")));
    for name in names {
        assert_eq!(id(&second, name), id(&home, name));
    }
}

/// buildah needs namespaces and mounts that an ordinary user of a build machine may not have.
#[test]
fn reads_what_buildah_writes() {
    if !is_root() {
        eprintln!("not root: buildah is tested as root only");
        return;
    }
    let scratch = Scratch::new("buildah");
    let folder = &scratch.path;
    let buildah = |args: &[&str]| {
        let mut command = command("buildah");
        command.args(["--storage-driver", "vfs", "--root"]).arg(folder.join("storage"));
        command.arg("--runroot").arg(folder.join("run")).args(args).env("TMPDIR", folder);
        run(&mut command).expect(0).stdout.trim().to_owned()
    };
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (layout, oci, docker) = (path("layout"), path("oci.tar"), path("docker.tar"));
    fs::create_dir_all(folder.join("root/d")).unwrap();
    fs::write(folder.join("root/d/f"), "by buildah").unwrap();
    let container = buildah(&["from", "scratch"]);
    buildah(&["copy", &container, &path("root"), "/data"]);
    buildah(&["config", "--cmd", "[\"/run\"]", "--label", "role=test", &container]);
    buildah(&["commit", "--format", "oci", &container, &format!("oci:{layout}:one")]);
    buildah(&["commit", "--format", "oci", &container, &format!("oci-archive:{oci}:localhost/one:1")]);
    buildah(&["commit", "--format", "docker", &container, &format!("docker-archive:{docker}:localhost/one:1")]);
    let home = Home::new();
    let check = |store: &[&str], name: &str| {
        let on = |args: &[&str]| home.run(&[args, store].concat()).exits_in(name, 0).stdout;
        assert_eq!(on(&["cat", name, "/data/d/f"]), "by buildah");
        assert_eq!(on(&["inspect", "--format", "{{.Config.Cmd}} {{.Config.Labels.role}}", name]), "[/run] test\n");
        on(&["verify", name]);
        on(&["unpack", "--pull", "never", name, &home.arg("root")]);
        assert_eq!(fs::read_to_string(home.path("root/data/d/f")).unwrap(), "by buildah");
        images::remove(&home.path("root"));
    };
    check(&["--store", &layout], "one");
    for archive in [&oci, &docker] {
        let store = home.arg("loaded");
        home.run(&["load", "--store", &store, "-i", archive]).exits(0).prints("Loaded image: localhost/one:1\n");
        check(&["--store", &store], "localhost/one:1");
        images::remove(&home.path("loaded"));
    }
}
