//! Real images: made, pushed and read back by Debian's own tools, and pulled and unpacked by pullet in between.
//!
//! The tests compare pullet with `umoci unpack`, and with the tests' own reading of the layers (`model`), which also stands where umoci
//! 0.4.7 is wrong. As root the images hold a debootstrapped Debian with device nodes, foreign owners and `security.*` attributes. An
//! ordinary user cannot make those: then the images hold real files of the machine instead, and everything else is the same.

mod behind;
mod compare;
mod images;
mod layers;
mod model;
mod oddities;
mod platforms;
mod source;
mod store;
mod tar_reader;
mod user;

use images::Pushed;
use kit::home::Home;
use kit::process::is_root;
use kit::tree::{Kind, Tree};
use rustix::process::{getegid, geteuid};

/// Folders whose time umoci 0.4.7 leaves at "now", where the last entry that names them gives it; only their times are not compared.
///
/// It puts back the time of an entry's direct parent only. The first two lose children to an opaque marker that comes behind them in
/// the layer, the next two get a child that is itself a folder which no entry names; the last three are such folders.
const UMOCI_LOSES_TIME: [&str; 7] =
    ["opt/app/bin", "opt/app/data", "srv", "var", "srv/fresh", "var/implied", "var/implied/by"];

/// Paths on which umoci 0.4.7 loses an extended attribute; only their attributes are not compared with it.
///
/// The first has an empty value, which GNU tar keeps and Go's tar reader takes for a deleted record. The next two are closed
/// to their owner, and umoci sets modes before attributes, which an ordinary user then may not. It leaves SELinux labels out.
const UMOCI_LOSES_XATTRS: [&str; 4] =
    ["srv/odd/commented-empty", "srv/odd/closed", "srv/odd/read-only", "srv/odd/labelled"];

/// What pullet makes of an image that the home's store holds.
fn unpacked(home: &Home, image: &Pushed) -> Tree {
    home.run(&["unpack", "--pull", "never", &image.name, &home.arg("root")]).exits(0).prints("");
    taken(home, "root")
}

/// Reads the tree and removes it: some of them are large.
fn taken(home: &Home, folder: &str) -> Tree {
    let root = home.path(folder);
    let tree = Tree::read(&root);
    images::remove(&root);
    tree
}

/// The model's tree, as far as whoever runs the tests may make it.
fn expected(image: &Pushed) -> Tree {
    if is_root() {
        image.model().clone()
    } else {
        without_privileges(image.model(), geteuid().as_raw(), getegid().as_raw())
    }
}

/// The tree as an unpacker without privileges makes it: everything is its own, no devices, no `security.*` attributes.
fn without_privileges(tree: &Tree, uid: u32, gid: u32) -> Tree {
    tree.map(|_, node| {
        (node.uid, node.gid) = (uid, gid);
        node.xattrs.retain(|name, _| !name.starts_with(b"security."));
        !matches!(node.kind, Kind::Char(..) | Kind::Block(..))
    })
}

/// Fails unless umoci's tree, as far as umoci gets it right, is the same.
///
/// As an ordinary user it notes in an attribute the owners that it cannot give.
fn assert_same_as_umoci(umoci: &Tree, tree: &Tree, what: &str) {
    let one_of = |paths: &[&str], path: &[u8]| paths.iter().any(|wrong| wrong.as_bytes() == path);
    let right = |tree: &Tree| {
        tree.map(|path, node| {
            node.xattrs.remove(&b"user.rootlesscontainers"[..]);
            if one_of(&UMOCI_LOSES_TIME, path) {
                node.mtime = None;
            }
            if one_of(&UMOCI_LOSES_XATTRS, path) {
                node.xattrs.clear();
            }
            true
        })
    };
    right(umoci).assert_same(&right(tree), what);
}
