//! Bundles: umoci makes the same one of the same image, and runc and crun start it.

use kit::archive::{dir, file};
use kit::debian::{command, program, run};
use kit::home::Home;
use kit::image::{Image, Layer};
use kit::process::is_root;
use kit::registry::Registry;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// An image with a shell, the libraries that it needs, and a user.
fn image() -> Image {
    let shell = fs::canonicalize(program("sh")).unwrap();
    let libraries = run(command("ldd").arg(&shell)).expect(0).stdout;
    let paths = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    let mut layers = vec![Layer::of(&[
        dir("bin"),
        file("bin/sh", fs::read(&shell).unwrap()).mode(0o755),
        dir("etc"),
        file("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n"),
        file("etc/group", "app:x:1001:\nextra:x:2000:app\n"),
        dir("tmp").mode(0o1777),
    ])];
    layers.extend(paths.map(|path| Layer::of(&[file(path, fs::read(path).unwrap()).mode(0o755)])));
    Image::with_config(layers, |config| {
        config["author"] = json!("somebody");
        config["created"] = json!("2024-02-03T04:05:06Z");
        config["config"] = json!({
            "User": "app",
            "Entrypoint": ["/bin/sh", "-c"],
            "Cmd": ["echo \"$WORD from $PWD\"; while read -r a b c; do case $a in [UG]id:) echo \"$a $b\";; esac; done < /proc/self/status"],
            "Env": ["WORD=hello"],
            "WorkingDir": "/tmp",
            "Labels": { "role": "test" },
            "ExposedPorts": { "80/tcp": {} },
            "Volumes": { "/data": {} },
            "StopSignal": "SIGTERM",
        });
    })
}

fn pulled(home: &Home) -> String {
    let registry = Registry::plain();
    let name = image().push(&registry, "bundle", "latest");
    home.run(&["pull", "-q", &name]).exits(0);
    name
}

/// crun starts nothing where cgroups are in hybrid mode, so it sees cgroup 2 alone.
const CRUN: &str = "mount -t cgroup2 none /sys/fs/cgroup && exec crun --cgroup-manager disabled \"$@\"";

/// Both need root or user namespaces, so this runs as root only; CI does.
#[test]
fn runc_and_crun_start_a_bundle() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    let name = pulled(&home);
    home.run(&["unpack", "--bundle", &name, &home.arg("bundle")]).exits(0).prints("");
    let state = home.arg("state");
    let id = format!("pullet-test-{}", std::process::id());
    program("crun");
    let mut crun = command("unshare");
    crun.args(["--mount", "sh", "-c", CRUN, "sh"]);
    for mut runtime in [command("runc"), crun] {
        let ran = run(runtime.args(["--root", &state, "run", "--bundle", &home.arg("bundle"), &id])).expect(0);
        assert_eq!(ran.stdout, "hello from /tmp\nUid: 1000\nGid: 1001\n", "{}", ran.stderr);
    }
}

/// What differs from umoci 0.4.7, and why:
///
/// - no terminal, because a service manager has none;
/// - no inheritable and ambient capabilities, which would give a user other than root capabilities, as in CVE-2022-29162;
/// - no `TERM`, which is for terminals;
/// - `acpi` and `keys` in `/proc` are masked, as by runc, and the rest of `asound` with them;
/// - names without a meaning: the host name, the source of a tmpfs, the version of the specification.
#[test]
fn umoci_writes_the_same_config() {
    let home = Home::new();
    let name = pulled(&home);
    home.run(&["unpack", "--bundle", &name, &home.arg("bundle")]).exits(0);
    let image = format!("{}:{name}", home.store().display());
    let mut umoci = command("umoci");
    let rootless: &[&str] = if is_root() { &[] } else { &["--rootless"] };
    run(umoci.arg("unpack").args(rootless).args(["--image", &image, &home.arg("umoci")])).expect(0);
    let (mut expected, mut found) = (read(&home.path("umoci")), read(&home.path("bundle")));
    expected["process"]["terminal"] = json!(false);
    for set in ["inheritable", "ambient"] {
        expected["process"]["capabilities"].as_object_mut().unwrap().remove(set);
    }
    expected["process"]["env"].as_array_mut().unwrap().retain(|pair| pair != "TERM=xterm");
    expected["hostname"] = json!("pullet");
    expected["ociVersion"] = json!("1.0.2");
    for (name, added) in [("maskedPaths", &["/proc/acpi", "/proc/asound", "/proc/keys"][..]), ("readonlyPaths", &[])] {
        let paths = expected["linux"][name].as_array_mut().unwrap();
        paths.retain(|path| path != "/proc/asound");
        paths.extend(added.iter().map(|path| json!(path)));
        sort(paths);
        sort(found["linux"][name].as_array_mut().unwrap());
    }
    for mount in expected["mounts"].as_array_mut().unwrap() {
        if mount["source"] == "none" && mount["type"] == "tmpfs" {
            mount["source"] = json!("tmpfs");
        }
    }
    if !is_root() {
        // umoci mounts resolv.conf of the host, and writes mounts in another order.
        expected.as_object_mut().unwrap().remove("mounts");
        found.as_object_mut().unwrap().remove("mounts");
    }
    assert_eq!(found, expected, "{found:#}\n{expected:#}");
}

fn sort(paths: &mut [Value]) {
    paths.sort_by(|one, other| one.as_str().cmp(&other.as_str()));
}

fn read(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap()
}
