//! The scenarios: a command of pullet and its start state.
//!
//! A new scenario is a line in [`SCENARIOS`]. The sweep records its run, breaks it at each call, and compares what is
//! left with the states before and after. If the command creates files that no other one creates, or gives a name to a
//! file that no other one names, the sweep fails until `rules` has a rule for them. If it leaves something outside of
//! the store, the home and the target, [`State`](super::place::State) needs a member for it.

use super::images::{IMAGE, MOVED, OTHER};
use super::place::{INDEX, LOGIN, Place};
use super::server::SIGNED;
use crate::{Result, disk};

pub struct Scenario {
    pub name: &'static str,
    /// The images to pull before: the repository, and the content that its tag names then.
    pub before: &'static [(&'static str, &'static str)],
    /// The arguments of a command that writes the archive from a store with `IMAGE`; none for no archive.
    pub archive: &'static [&'static str],
    /// The arguments of commands that are run in each new place, because a copy of what they make would not be the same: the
    /// records of releases have inodes.
    pub prepare: &'static [&'static [&'static str]],
    /// The arguments. `@` is replaced by the registry, `GUARDED` by the one that requires a login, `KEY` by the
    /// key that has signed the image, `TARGET` by the target, and `ARCHIVE` by the archive.
    pub words: &'static [&'static str],
    /// The arguments of one more command, if the next run does not finish all of the work.
    pub finish: &'static [&'static str],
    /// Changes the start state after the pulls.
    pub arrange: fn(&Place) -> Result,
    /// True if the user nobody runs it, not root.
    pub is_ordinary: bool,
    /// True if the command works with several threads.
    pub has_threads: bool,
}

impl Scenario {
    /// True if the command removes blobs.
    pub fn removes(&self) -> bool {
        matches!(self.words, ["rmi" | "prune", ..])
    }

    /// The exit code of the next run: it refuses a target that exists, unless it replaces it, and cannot go back twice.
    pub fn next_code(&self, has_target: bool, is_done: bool) -> i32 {
        match self.words {
            ["rollback", ..] if is_done => NOT_FOUND,
            ["rollback" | "save", ..] => 0,
            words if words.contains(&"-o") || words.contains(&"--replace") => 0,
            words if words.contains(&"--in-place") && !is_done => 0,
            _ if has_target => DISK,
            _ => 0,
        }
    }

    /// False for a call without which the result is taken for complete: a folder that is filled in place gets its own time last,
    /// because removing the marks changes it.
    pub fn is_judged(&self, line: &str) -> bool {
        !self.words.contains(&"--in-place") || !line.contains("targets/root>, NULL, [{tv_sec")
    }

    /// True if the command changes a file in place, by the rules for devices, or fills a folder in place. The tests of
    /// `src/target/device` check the order of its writes, and `tests/it/in_place.rs` breaks the other one at each call.
    pub fn is_in_place(&self) -> bool {
        self.words.contains(&"--skip-same") || self.words.contains(&"--in-place")
    }
}

pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "pull into an empty store", words: &["pull", "@/image"], ..NOTHING },
    Scenario {
        name: "pull in addition to another image",
        before: &[(OTHER, OTHER)],
        words: &["pull", "@/image"],
        ..NOTHING
    },
    Scenario {
        // Only here does the pull rename no blob, so only here nothing but the sync before the index makes names durable.
        name: "pull with all blobs and an empty index",
        before: &[(IMAGE, IMAGE)],
        words: &["pull", "@/image"],
        arrange: empty_index,
        ..NOTHING
    },
    Scenario {
        name: "pull with a damaged index",
        before: &[(OTHER, OTHER)],
        words: &["pull", "@/image"],
        arrange: damage_index,
        ..NOTHING
    },
    Scenario { name: "pull with 4 jobs", words: &["pull", "-j", "4", "@/image"], has_threads: true, ..NOTHING },
    Scenario { name: "pull a tag that moved", before: &[(MOVED, OTHER)], words: &["pull", "@/moved"], ..NOTHING },
    Scenario {
        name: "pull a signed image",
        before: &[(OTHER, OTHER)],
        words: &["pull", "--verify-key", "KEY", "@/signed"],
        ..NOTHING
    },
    Scenario {
        // Only the signature is new.
        name: "pull the signature of a stored image",
        before: &[(SIGNED, SIGNED)],
        words: &["pull", "--verify-key", "KEY", "@/signed"],
        ..NOTHING
    },
    Scenario {
        name: "unpack from the store",
        before: &[(IMAGE, IMAGE)],
        words: &["unpack", "@/image", "TARGET"],
        ..NOTHING
    },
    Scenario { name: "unpack with its pull", words: &["unpack", "@/image", "TARGET"], ..NOTHING },
    Scenario { name: "unpack as it arrives", words: &["unpack", "--stream", "@/image", "TARGET"], ..NOTHING },
    Scenario {
        name: "unpack with its pull, with 4 jobs",
        words: &["unpack", "-j", "4", "@/image", "TARGET"],
        has_threads: true,
        ..NOTHING
    },
    Scenario {
        name: "unpack as it arrives, with 4 jobs",
        words: &["unpack", "-j", "4", "--stream", "@/image", "TARGET"],
        has_threads: true,
        ..NOTHING
    },
    Scenario { name: "tag", before: &[(IMAGE, IMAGE)], words: &["tag", "@/image", "copy:1"], ..NOTHING },
    Scenario {
        name: "rmi",
        before: &[(OTHER, OTHER), (IMAGE, IMAGE)],
        words: &["rmi", "-f", "@/image"],
        // Blobs that are left over have no name, by which rmi could find them.
        finish: &["prune", "-f"],
        ..NOTHING
    },
    Scenario {
        name: "prune after a tag moved",
        before: &[(MOVED, OTHER), (MOVED, MOVED)],
        words: &["prune", "-f"],
        ..NOTHING
    },
    Scenario { name: "prune all", before: &[(OTHER, OTHER), (IMAGE, IMAGE)], words: &["prune", "-a", "-f"], ..NOTHING },
    Scenario {
        name: "unpack in layers",
        before: &[(IMAGE, IMAGE)],
        words: &["unpack", "--layered", "@/image", "TARGET"],
        ..NOTHING
    },
    Scenario {
        name: "unpack in layers, with 4 jobs",
        before: &[(IMAGE, IMAGE)],
        words: &["unpack", "--layered", "-j", "4", "@/image", "TARGET"],
        has_threads: true,
        ..NOTHING
    },
    Scenario {
        name: "prune trees of layers",
        before: &[(IMAGE, IMAGE)],
        words: &["prune", "-f"],
        arrange: create_unused_tree,
        ..NOTHING
    },
    Scenario { name: "unpack to a bundle", words: &["unpack", "--bundle", "@/other", "TARGET"], ..NOTHING },
    Scenario {
        name: "load a docker-archive into an empty store",
        archive: &["save", "-o", "ARCHIVE", "@/image"],
        words: &["load", "-i", "ARCHIVE"],
        finish: FINISH_ARRIVALS,
        ..NOTHING
    },
    Scenario {
        // Its lowest layer is in the store already.
        name: "load an oci-archive in addition to another image",
        before: &[(OTHER, OTHER)],
        archive: &["save", "--format", "oci-archive", "-o", "ARCHIVE", "@/image"],
        words: &["load", "-i", "ARCHIVE"],
        finish: FINISH_ARRIVALS,
        ..NOTHING
    },
    Scenario {
        name: "import",
        before: &[(OTHER, OTHER)],
        archive: &["export", "-o", "ARCHIVE", "@/image"],
        words: &["import", "ARCHIVE", "app:1"],
        finish: FINISH_ARRIVALS,
        ..NOTHING
    },
    Scenario {
        name: "save to a new file",
        before: &[(IMAGE, IMAGE)],
        words: &["save", "-o", "TARGET", "@/image"],
        ..NOTHING
    },
    Scenario {
        name: "save over another file",
        before: &[(IMAGE, IMAGE)],
        words: &["save", "--format", "oci-archive", "-o", "TARGET", "@/image"],
        arrange: write_target,
        ..NOTHING
    },
    Scenario { name: "artifact", words: &["artifact", "@/artifact", "TARGET"], ..NOTHING },
    Scenario {
        name: "artifact to a new file",
        words: &["artifact", "@/firmware", "--readback", "-o", "TARGET"],
        ..NOTHING
    },
    Scenario {
        name: "artifact in place",
        words: &["artifact", "@/firmware", "--readback", "--skip-same", "-o", "TARGET"],
        arrange: write_firmware,
        ..NOTHING
    },
    Scenario {
        name: "unpack to a folder in place",
        before: &[(IMAGE, IMAGE)],
        words: &["unpack", "--in-place", "@/image", "TARGET"],
        arrange: create_target,
        ..NOTHING
    },
    Scenario {
        name: "unpack over another tree",
        before: &[(OTHER, OTHER), (IMAGE, IMAGE)],
        prepare: &[&["unpack", "--replace", "@/other", "TARGET"]],
        words: &["unpack", "--replace", "@/image", "TARGET"],
        ..NOTHING
    },
    Scenario {
        name: "unpack over a link to another tree",
        before: &[(OTHER, OTHER), (IMAGE, IMAGE)],
        prepare: &[&["unpack", "--replace", "--symlink", "@/other", "TARGET"]],
        words: &["unpack", "--replace", "@/image", "TARGET"],
        ..NOTHING
    },
    Scenario {
        name: "rollback",
        before: &[(OTHER, OTHER), (IMAGE, IMAGE)],
        prepare: &[&["unpack", "--replace", "@/other", "TARGET"], &["unpack", "--replace", "@/image", "TARGET"]],
        words: &["rollback", "--to", "1", "TARGET"],
        ..NOTHING
    },
    Scenario { name: "watch", words: &["watch", "--once", "--exec", "true", "@/image"], ..NOTHING },
    Scenario { name: "confirm", words: &["confirm", "r.example/app"], arrange: propose_version, ..NOTHING },
    Scenario { name: "login", words: &["login", "-u", "me", "--password-stdin", "GUARDED"], ..NOTHING },
    Scenario {
        name: "login over another",
        words: &["login", "-u", "me", "--password-stdin", "GUARDED"],
        arrange: log_in_elsewhere,
        ..NOTHING
    },
    Scenario {
        name: "unpack with its pull, as an ordinary user",
        words: &["unpack", "@/image", "TARGET"],
        is_ordinary: true,
        ..NOTHING
    },
];

/// The temporary files of a load or import that was killed have names that the next one does not know.
const FINISH_ARRIVALS: &[&str] = &["prune", "-f"];

/// The exit code for errors of the disk.
pub const DISK: i32 = 9;
const NOT_FOUND: i32 = 3;

const NOTHING: Scenario = Scenario {
    name: "",
    before: &[],
    archive: &[],
    prepare: &[],
    words: &[],
    finish: &[],
    arrange: |_| Ok(()),
    is_ordinary: false,
    has_threads: false,
};

/// The scenario with this name.
pub fn find(name: &str) -> Result<&'static Scenario> {
    let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
    let names = || SCENARIOS.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join("; ");
    found.ok_or_else(|| format!("no scenario {name:?}; there are: {}", names()))
}

fn empty_index(place: &Place) -> Result {
    let text = "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}";
    disk::write(&place.store().join(INDEX), text)
}

/// Creates a folder that the command fills.
fn create_target(place: &Place) -> Result {
    disk::create_folder(&place.target())
}

/// Writes a file that the command replaces.
fn write_target(place: &Place) -> Result {
    disk::write(&place.target(), "an older file")
}

/// Writes an older firmware, larger than the head of an image.
fn write_firmware(place: &Place) -> Result {
    disk::write(&place.target(), "an older firmware; ".repeat(30_000).as_str())
}

/// Creates a tree of a layer that no image has.
fn create_unused_tree(place: &Place) -> Result {
    let tree = place.store().join("layers/trusted/sha256-0/tree");
    disk::create_folder(&tree.join("folder"))?;
    disk::write(&tree.join("folder/file"), "unused")?;
    disk::write(&tree.join("file"), "unused")
}

/// Leaves the versions of an image that is not confirmed.
fn propose_version(place: &Place) -> Result {
    let folder = place.store().join("versions");
    disk::create_folder(&folder)?;
    for number in ["1", "2"] {
        let digest = format!("sha256:{}", number.repeat(64));
        let text = format!("1.{number}.0\nr.example/app\n{digest}\n{digest}\n");
        disk::write(&folder.join(format!("{number}.proposed")), text)?;
    }
    Ok(())
}

/// Cuts the end of the index off.
fn damage_index(place: &Place) -> Result {
    let path = place.store().join(INDEX);
    let text = disk::read(&path)?;
    disk::write(&path, text.trim_end().trim_end_matches(['}', ']']))
}

fn log_in_elsewhere(place: &Place) -> Result {
    let path = place.home().join(LOGIN);
    disk::create_folder(path.parent().unwrap_or(&path))?;
    disk::write(&path, "{\"auths\":{\"localhost:1\":{\"auth\":\"bWU6cGFzc3dvcmQ=\"}}}")
}
