//! The same images as an ordinary user: pullet omits what needs root, reports that once, and unpacks the rest.

use super::{images, read_and_remove, without_privileges};
use kit::home::Home;
use kit::process::is_root;
use kit::tree::Kind;
use rustix::process::{getegid, geteuid};

/// Debian's `nobody` and `nogroup`.
const NOBODY: u32 = 65_534;

/// When the tests run as root, pullet runs as `nobody`; otherwise as the user of the tests.
#[test]
fn an_ordinary_user_gets_the_tree_without_owners_and_devices() {
    let (uid, gid) = if is_root() { (NOBODY, NOBODY) } else { (geteuid().as_raw(), getegid().as_raw()) };
    for image in [images::debian(), images::layered()] {
        let home = Home::new();
        let user = is_root().then_some(NOBODY);
        home.pullet(&["pull", "-q", &image.name]).user(user).run().exits(0);
        let ran = home.pullet(&["unpack", "--pull", "never", &image.name, &home.arg("root")]).user(user).run();
        let ran = ran.exits(0).prints("");
        let tree = read_and_remove(&home, "root").map(|_, node| {
            // A kernel with SELinux but no policy lets the owner set labels, others do not. Either is right.
            node.xattrs.remove(&b"security.selinux"[..]);
            true
        });
        let what = format!("{} as an ordinary user", image.name);
        without_privileges(image.model(), uid, gid).assert_same(&tree, &what);
        assert_reported_once(&ran.stderr, "owner");
        if is_root() {
            assert_reported_once(&ran.stderr, "device");
        }
        if image.layers() == 1 {
            // With more layers pullet also counts devices that a later layer deletes.
            let devices =
                image.model().0.values().filter(|node| matches!(node.kind, Kind::Char(..) | Kind::Block(..))).count();
            assert_eq!(ran.stderr.contains(&format!("{devices} device")), is_root(), "{ran}");
        }
    }
}

#[track_caller]
fn assert_reported_once(stderr: &str, word: &str) {
    assert_eq!(stderr.lines().filter(|line| line.contains(word)).count(), 1, "{word:?} in one line of\n{stderr}");
}
