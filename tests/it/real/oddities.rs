//! Files that few images have and every unpacker must place: links of every kind, devices, odd names, attributes, times and holes.

use kit::process::is_root;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use rustix::fs::{lsetxattr, makedev, mknodat, utimensat};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};

/// The folder that contains them.
pub(crate) const FOLDER: &str = "srv/odd";

/// `cap_net_raw+ep` as the kernel keeps it: revision 2 with the effective bit, then permitted and inheritable, low and high words.
const CAP_NET_RAW: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const SPARSE_SIZE: u64 = 32 << 20;

/// Adds all of them. As an ordinary user it omits devices, other owners and `security.*`.
pub(crate) fn add(root: &Path) {
    let folder = root.join(FOLDER);
    fs::create_dir_all(&folder).unwrap();
    let odd = Folder(folder);
    odd.links();
    odd.modes();
    odd.names();
    odd.attributes();
    odd.holes();
    if is_root() {
        odd.devices();
        odd.owners();
        odd.security();
    }
    // Last, because the steps before change times.
    odd.times();
}

struct Folder(PathBuf);

impl Folder {
    fn links(&self) {
        self.file("linked", "one inode, three names");
        self.dir("inner");
        self.dir("closed");
        self.file("closed/before", "in a folder that its owner may not write to");
        for name in ["linked-2", "inner/linked-3"] {
            fs::hard_link(self.at("linked"), self.at(name)).unwrap();
        }
        symlink("/etc/passwd", self.at("absolute")).unwrap();
        symlink("../../etc/hostname", self.at("relative")).unwrap();
        symlink("nowhere/at/all", self.at("dangling")).unwrap();
        symlink("itself", self.at("itself")).unwrap();
        fs::hard_link(self.at("absolute"), self.at("absolute-2")).unwrap();
    }

    fn modes(&self) {
        // Without root, tar could not read a file that nobody may read.
        let nothing = if is_root() { 0o000 } else { 0o400 };
        for (name, mode) in [("suid", 0o4755), ("sgid", 0o2755), ("both", 0o6711), ("all", 0o777), ("nothing", nothing)]
        {
            self.file(name, name);
            self.chmod(name, mode);
        }
        for (name, mode) in [("sticky", 0o1777), ("inherited", 0o2775)] {
            self.dir(name);
            self.chmod(name, mode);
        }
        self.xattr("closed", "user.folder", b"on a folder that its owner may not write to");
        self.chmod("closed", 0o500);
        self.node("fifo", FileType::Fifo, (0, 0));
    }

    fn names(&self) {
        self.file_at(OsStr::from_bytes(b"latin1-caf\xe9-\xff\xfe"), "not UTF-8");
        self.file("utf8-zażółć-🐓", "UTF-8");
        self.file("line\nbreak\tand\x1b[31mescape", "controls");
        self.file(" blank ", "blanks at both ends");
        self.file("back\\slash", "a backslash");
        self.file("..almost", "two dots");
        self.file("long-".repeat(51).as_str(), "255 bytes");
        let deep = "n".repeat(120);
        fs::create_dir_all(self.at(&deep).join(&deep).join(&deep)).unwrap();
        self.file(&format!("{deep}/{deep}/{deep}/f"), "a path of more than 255 bytes");
        symlink(format!("{deep}/{deep}/{deep}/f"), self.at("long-target")).unwrap();
        fs::hard_link(self.at(&format!("{deep}/{deep}/{deep}/f")), self.at("long-linked")).unwrap();
        // Exactly the length of the name field of a POSIX header.
        self.file(&"h".repeat(100 - FOLDER.len() - 1), "100 bytes");
    }

    fn attributes(&self) {
        self.file("commented", "user.*");
        self.xattr("commented", "user.comment", b"plain text");
        self.xattr("commented", "user.bytes", b"\x00\xff=\n\x00");
        self.file("commented-empty", "an attribute without a value");
        self.xattr("commented-empty", "user.empty", b"");
        self.file("read-only", "an attribute on a file that its owner may not write to");
        self.xattr("read-only", "user.comment", b"set before the mode");
        self.chmod("read-only", 0o444);
        self.xattr("inner", "user.folder", b"on a folder");
        self.xattr("linked", "user.linked", b"seen by all three names");
    }

    fn holes(&self) {
        let mut file = File::create(self.at("holes")).unwrap();
        for offset in [1 << 20, SPARSE_SIZE / 2, SPARSE_SIZE - 5] {
            file.seek(SeekFrom::Start(offset)).unwrap();
            file.write_all(b"data").unwrap();
        }
        file.set_len(SPARSE_SIZE).unwrap();
        File::create(self.at("only-a-hole")).unwrap().set_len(1 << 20).unwrap();
        self.file("empty", "");
    }

    fn devices(&self) {
        self.node("char", FileType::CharacterDevice, (1, 3));
        self.node("block", FileType::BlockDevice, (7, 200));
        // More than the twelve and eight bits of old device numbers.
        self.node("char-big", FileType::CharacterDevice, (300, 70_000));
        fs::hard_link(self.at("char"), self.at("char-2")).unwrap();
    }

    fn owners(&self) {
        for (name, uid, gid) in [("all", 1, 2), ("fifo", 12_345, 54_321), ("relative", 7, 8), ("inner", 33, 33)] {
            lchown(self.at(name), Some(uid), Some(gid)).unwrap();
        }
        // More than seven octal digits.
        self.file("owner-big", "nobody in a nested container");
        lchown(self.at("owner-big"), Some(3_000_000), Some(4_000_000_000)).unwrap();
        self.file("suid-other", "chown clears the bit, so it must come first");
        lchown(self.at("suid-other"), Some(33), Some(33)).unwrap();
        self.chmod("suid-other", 0o6755);
    }

    fn security(&self) {
        self.file("capable", "security.capability");
        self.xattr("capable", "security.capability", &CAP_NET_RAW);
        self.file("measured", "security.ima");
        self.xattr("measured", "security.ima", b"\x01signature");
        self.file("labelled", "security.selinux");
        self.xattr("labelled", "security.selinux", b"system_u:object_r:etc_t:s0\0");
        self.file("capable-other", "chown clears the capability, so it must come first");
        lchown(self.at("capable-other"), Some(33), Some(33)).unwrap();
        self.xattr("capable-other", "security.capability", &CAP_NET_RAW);
        // overlayfs marks opaque folders with this. It must not come from an image.
        self.xattr("inner", "trusted.overlay.opaque", b"y");
    }

    fn times(&self) {
        self.file("before-1970", "a negative time with a fraction");
        self.file("after-2038", "more than 31 bits");
        self.touch("before-1970", -100_000_000, 250_000_000);
        self.touch("after-2038", 4_000_000_000, 1);
        self.touch("linked", 981_173_106, 123_456_789);
        self.touch("relative", 1_044_252_296, 500_000_000);
        self.touch("fifo", 1_000_000_000, 999_999_999);
        self.touch("inner", 946_684_799, 987_654_321);
        self.touch("closed", 1, 2);
        utimensat(CWD, &self.0, &at(1_234_567_890, 987_654_321), AtFlags::empty()).unwrap();
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn file(&self, name: &str, content: &str) {
        self.file_at(OsStr::new(name), content);
    }

    fn file_at(&self, name: &OsStr, content: &str) {
        fs::write(self.0.join(name), content).unwrap();
    }

    fn dir(&self, name: &str) {
        fs::create_dir(self.at(name)).unwrap();
    }

    fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn node(&self, name: &str, kind: FileType, (major, minor): (u32, u32)) {
        let made = mknodat(CWD, self.at(name), kind, Mode::from_raw_mode(0o640), makedev(major, minor));
        made.unwrap_or_else(|e| panic!("mknod {name}: {e} (root without CAP_MKNOD?)"));
    }

    fn xattr(&self, name: &str, key: &str, value: &[u8]) {
        let set = lsetxattr(self.at(name), key, value, XattrFlags::empty());
        set.unwrap_or_else(|e| {
            panic!("set {key} in {}: {e} (a file system without it, or root without CAP_SYS_ADMIN?)", self.0.display())
        });
    }

    fn touch(&self, name: &str, seconds: i64, nanos: i64) {
        utimensat(CWD, self.at(name), &at(seconds, nanos), AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

fn at(tv_sec: i64, tv_nsec: i64) -> Timestamps {
    let time = Timespec { tv_sec, tv_nsec };
    Timestamps { last_access: time, last_modification: time }
}
