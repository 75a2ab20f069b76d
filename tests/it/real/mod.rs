//! Real images: made, pushed and read back by Debian's own tools, and pulled and unpacked by pullet in between.
//!
//! The tests compare pullet with `umoci unpack`, and with a model of the layers (`model`), which is also right where umoci 0.4.7 is
//! wrong. As root the images contain a debootstrapped Debian with device nodes, other owners and `security.*` attributes. An ordinary
//! user cannot create those, so the images contain real files of the machine instead. Everything else is the same.

mod archives;
mod behind;
mod bundle;
mod compare;
mod images;
mod layers;
mod model;
mod oddities;
mod platforms;
mod policy;
mod sigstore;
mod source;
mod store;
mod tar_reader;
mod user;

use images::Pushed;
use kit::home::Home;
use kit::process::is_root;
use kit::tree::{Kind, Tree};
use rustix::process::{getegid, geteuid};

/// Folders whose time umoci 0.4.7 leaves at "now" instead of the time in their last entry. Their times are not compared.
///
/// umoci restores the time of the direct parent of an entry only. The first two lose children to a later opaque marker in the layer.
/// The next two get a child folder that has no entry, and the last three are such folders.
const UMOCI_LOSES_TIME: [&str; 7] =
    ["opt/app/bin", "opt/app/data", "srv", "var", "srv/fresh", "var/implied", "var/implied/by"];

/// Paths on which umoci 0.4.7 loses an extended attribute. Their attributes are not compared with umoci.
///
/// The first has an empty value, which GNU tar keeps and Go's tar reader treats as a deleted record. The next two are not writable
/// for their owner, and umoci sets modes before attributes, which then fails for an ordinary user. umoci ignores SELinux labels.
const UMOCI_LOSES_XATTRS: [&str; 4] =
    ["srv/odd/commented-empty", "srv/odd/closed", "srv/odd/read-only", "srv/odd/labelled"];

/// Unpacks an image in the store of `home` with pullet, and returns the tree.
fn unpacked(home: &Home, image: &Pushed) -> Tree {
    home.run(&["unpack", "--pull", "never", &image.name, &home.arg("root")]).exits(0).prints("");
    read_and_remove(home, "root")
}

/// Reads the tree and removes it, because some trees are large.
fn read_and_remove(home: &Home, folder: &str) -> Tree {
    let root = home.path(folder);
    let tree = Tree::read(&root);
    images::remove(&root);
    tree
}

/// The tree of the model, without what the user of the tests cannot create.
fn expected(image: &Pushed) -> Tree {
    if is_root() {
        image.model().clone()
    } else {
        without_privileges(image.model(), geteuid().as_raw(), getegid().as_raw())
    }
}

/// The tree as an unpacker without privileges creates it: all entries belong to its user, without devices and `security.*` attributes.
fn without_privileges(tree: &Tree, uid: u32, gid: u32) -> Tree {
    tree.map(|_, node| {
        (node.uid, node.gid) = (uid, gid);
        node.xattrs.retain(|name, _| !name.starts_with(b"security."));
        !matches!(node.kind, Kind::Char(..) | Kind::Block(..))
    })
}

/// Asserts that umoci's tree is the same, except where umoci is known to be wrong.
///
/// For an ordinary user umoci records owners in an attribute, which is ignored.
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
