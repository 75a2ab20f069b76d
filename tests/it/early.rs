//! As early in a boot as it gets: nothing in `/etc`, no `/proc`, no `/dev`, no variable, nowhere to write but the target,
//! and one of the two families of addresses.

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

/// Takes the machine away, but for what runs the binary.
const BARE: &str = "mount -t tmpfs none target; mount -o remount,bind,ro /; \
                    for folder in /etc /dev /run /proc; do mount -t tmpfs -o ro none $folder; done; \
                    ! mkdir there 2>&1 || exit 99; cd target; env -i \"$@\"; code=$?; test -e root/d/file || code=98; exit $code";

/// An image with all that may be done in other ways where there is no `/proc`.
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

/// Streams an image out of a registry at this address of loopback, which is asked for by `host`.
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

const EVERYWHERE: [(&str, &str); 4] =
    [("127.0.0.1", "127.0.0.1"), ("127.0.0.1", "localhost"), ("[::1]", "[::1]"), ("[::1]", "localhost")];

#[test]
fn nothing_is_needed_but_the_target() {
    for (address, host) in EVERYWHERE {
        for is_tls in [false, true] {
            stream(address, host, is_tls).exits_in(&format!("{host} at {address}, TLS: {is_tls}"), 0);
        }
    }
}

#[test]
fn one_family_of_addresses_is_enough() {
    for (without, setup) in
        [("127.0.0.1", "ip -4 address flush dev lo"), ("[::1]", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6")]
    {
        in_network(setup, || {
            for (address, host) in EVERYWHERE.into_iter().filter(|(address, _)| *address != without) {
                stream(address, host, true).exits_in(&format!("{host} without {without}"), 0);
            }
        });
    }
}

#[test]
fn a_name_that_nobody_can_resolve_is_a_fault_of_the_network() {
    let home = Home::new();
    std::fs::create_dir(home.path("target")).unwrap();
    let args = ["unpack", "--stream", "--timeout", "60", "registry.example/app", "root"];
    let outcome =
        home.pullet(&args).in_mount_namespace(&BARE.replace("|| code=98", "|| :")).run().exits(5).fails_in_one_line();
    outcome.says("registry.example");
}

/// Does `work` on a thread, and in the programs that it starts, in a network of its own that has loopback alone.
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
