//! An environment as early in a boot as possible: an empty `/etc`, no `/proc`, no `/dev`, no environment variables, nothing
//! writable except the target, and only one address family.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use kit::archive::{dir, fifo, file, symlink};
use kit::authority::Authority;
use kit::home::Home;
use kit::image::{Image, Layer};
use kit::process::Finished;
use kit::registry::Registry;

/// A script that hides everything that the binary does not need to start, and runs it in `target`.
const BARE: &str = "mount -t tmpfs none target; mount -o remount,bind,ro /; \
                    for folder in /etc /dev /run /proc; do mount -t tmpfs -o ro none $folder; done; \
                    ! mkdir probe 2>&1 || exit 99; cd target; env -i \"$@\"; code=$?; test -e root/d/file || code=98; exit $code";

/// An image with everything that pullet unpacks in another way without `/proc`.
fn image() -> Image {
    let attribute = |entry: kit::archive::Entry| entry.pax("SCHILY.xattr.user.name", "value");
    let entries = [
        attribute(dir("d")),
        attribute(file("d/file", "text").mode(0o755)),
        attribute(fifo("d/pipe")),
        symlink("d/link", "file").owner(1, 1),
    ];
    Image::new(vec![Layer::of(&entries), Layer::of(&[file("d/.wh.link", ""), file("e", "")])])
}

/// Streams an image from a registry at this loopback address. The image name has `host`.
fn stream(address: &str, host: &str, is_tls: bool) -> Finished {
    let home = Home::new();
    std::fs::create_dir(home.path("target")).unwrap();
    let authority = Authority::new();
    let registry = if is_tls {
        Registry::tls_at(address, authority.server(&["localhost", "127.0.0.1", "::1"]))
    } else {
        Registry::plain_at(address)
    };
    image().push(&registry, "app", "latest");
    let name = format!("{host}:{}/app", registry.port());
    let ca = home.write("ca.pem", authority.pem());
    let trust: &[&str] = if is_tls { &["--ca-file", &ca] } else { &[] };
    home.pullet(&[&["unpack", "--stream"], trust, &[&name, "root"]].concat()).in_mount_namespace(BARE).run()
}

/// Loopback addresses, and the hosts by which they are reached.
const ADDRESSES: [(&str, &str); 4] =
    [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "localhost"), ("[::1]", "[::1]"), ("[::1]", "localhost")];

#[test]
fn needs_nothing_but_the_target() {
    for (address, host) in ADDRESSES {
        for is_tls in [false, true] {
            stream(address, host, is_tls).exits_in(&format!("{host} at {address}, TLS: {is_tls}"), 0);
        }
    }
}

#[test]
fn works_with_ipv4_or_ipv6_only() {
    for (without, setup) in
        [("127.0.0.1", "ip -4 address flush dev lo"), ("[::1]", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")]
    {
        in_network(setup, || {
            for (address, host) in ADDRESSES.into_iter().filter(|(address, _)| *address != without) {
                stream(address, host, true).exits_in(&format!("{host} without {without}"), 0);
            }
        });
    }
}

#[test]
fn an_unresolvable_name_is_a_network_error() {
    let home = Home::new();
    std::fs::create_dir(home.path("target")).unwrap();
    let args = ["unpack", "--stream", "--timeout", "60", "registry.example/app", "root"];
    let outcome =
        home.pullet(&args).in_mount_namespace(&BARE.replace("|| code=98", "|| :")).run().exits(5).fails_in_one_line();
    outcome.says("registry.example");
}

/// Runs `work` on a thread in a new network namespace that has only loopback. Programs that it starts are in it, too.
fn in_network(setup: &str, work: impl FnOnce() + Send) {
    let script = format!("ip link set lo up && {setup} && echo ready && read _");
    let mut holder = Command::new("unshare")
        .args(["--net", "sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare runs (apt-get install util-linux iproute2)");
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "a network namespace can only be made by root, with ip of iproute2");
    let network = File::open(format!("/proc/{}/ns/net", holder.id())).unwrap();
    std::thread::scope(|scope| {
        let entered = scope.spawn(|| {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work();
        });
        let outcome = entered.join();
        drop(holder.stdin.take());
        holder.wait().unwrap();
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}
