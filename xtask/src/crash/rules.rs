//! The rules for the files of a run: with which mode each is created, and what must be on the disk before it gets its
//! name. `promises` checks them in the trace of every scenario. A path without a rule is an error.
//!
//! Paths are relative to the folder of the run. `*` is any part of a name, and `**` at the end is everything below.

/// How a file, folder or device is created.
pub struct Creation {
    pub path: &'static str,
    pub kind: Kind,
    pub mode: Mode,
    /// The flags with which a file must be opened.
    pub flags: &'static [&'static str],
    /// The modes that it may get later.
    pub later: Later,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A folder. Its name must be on the disk when the run ends, unless it is below a staging folder.
    Folder,
    File,
    Device,
}

pub enum Mode {
    Exactly(u32),
    /// No bits but these.
    Within(u32),
}

pub enum Later {
    Only(&'static [u32]),
    /// The image decides.
    Any,
}

/// A name that a complete file or tree gets by a rename. The file, or everything in the tree, must be synced before,
/// and the folder of the name afterwards. Nothing at or below the name changes in any other way.
pub struct Final {
    pub path: &'static str,
    /// The names that must be on the disk before.
    pub needs: &'static [&'static str],
}

/// A name that is removed.
pub struct Removal {
    pub path: &'static str,
    /// The names that must be on the disk before.
    pub needs: &'static [&'static str],
}

const EXCLUSIVE: &[&str] = &["O_EXCL", "O_NOFOLLOW"];
const NO_LINK: &[&str] = &["O_NOFOLLOW"];

pub const CREATIONS: &[Creation] = &[
    folder("store", 0o755, Later::Only(&[])),
    folder("store/blobs", 0o755, Later::Only(&[])),
    folder("store/blobs/*", 0o755, Later::Only(&[])),
    folder("store/ingest", 0o700, Later::Only(&[0o700])),
    folder("store/layers", 0o700, Later::Only(&[])),
    folder("store/layers/*", 0o755, Later::Only(&[])),
    file("store/layers.lock", 0o600, NO_LINK, Later::Only(&[0o600])),
    folder("store/layers/*/.*.pullet", 0o700, Later::Only(&[0o700])),
    folder("store/layers/*/.*.pullet/root", 0o700, Later::Any),
    folder("store/layers/*/.*.pullet/root/**", 0o700, Later::Any),
    Creation {
        path: "store/layers/*/.*.pullet/root/**",
        kind: Kind::File,
        mode: Mode::Within(0o777),
        flags: EXCLUSIVE,
        later: Later::Any,
    },
    Creation {
        path: "store/layers/*/.*.pullet/root/**",
        kind: Kind::Device,
        mode: Mode::Within(0o600),
        flags: &[],
        later: Later::Any,
    },
    file("store/lock", 0o600, NO_LINK, Later::Only(&[0o600])),
    file("store/prune.lock", 0o600, NO_LINK, Later::Only(&[0o600])),
    // O_EXCL follows no link either.
    file("store/ingest/arrival-*.partial", 0o600, &["O_EXCL"], Later::Only(&[0o600, 0o644])),
    // Its last mode is that of the blob.
    file("store/ingest/*.partial", 0o600, NO_LINK, Later::Only(&[0o600, 0o644])),
    file("store/*.new", 0o644, EXCLUSIVE, Later::Only(&[])),
    file("store/time.new", 0o600, EXCLUSIVE, Later::Only(&[])),
    folder("store/versions", 0o700, Later::Only(&[])),
    file("store/versions/*.new", 0o600, EXCLUSIVE, Later::Only(&[])),
    folder("store/watch", 0o700, Later::Only(&[0o700])),
    file("store/watch/*.json.lock", 0o600, NO_LINK, Later::Only(&[0o600])),
    file("store/watch/*.json.new", 0o644, EXCLUSIVE, Later::Only(&[])),
    folder("home/.docker", 0o700, Later::Only(&[])),
    file("home/.docker/config.json.*.new", 0o600, &["O_EXCL"], Later::Only(&[0o600])),
    // It keeps the mode of the file that it replaces.
    file("targets/.*.pullet-new", 0o600, NO_LINK, Later::Only(&[0o644])),
    folder("targets/.*.pullet", 0o700, Later::Only(&[0o700])),
    file("targets/.*.pullet/partial", 0o600, NO_LINK, Later::Only(&[0o644])),
    folder("targets/.*.pullet/root", 0o700, Later::Any),
    folder("targets/.*.pullet/root/**", 0o700, Later::Any),
    // Others may pass through to a tree that the target is a link to.
    folder("targets/.*.releases", 0o700, Later::Only(&[0o711])),
    folder("targets/.*.releases/*", 0o700, Later::Only(&[0o711])),
    folder("targets/.*.releases/probe.*/probe.*", 0o700, Later::Only(&[])),
    file("targets/.*.releases/*/pending.json", 0o600, EXCLUSIVE, Later::Only(&[])),
    folder("targets/.*.releases/*/.*.pullet", 0o700, Later::Only(&[0o700])),
    folder("targets/.*.releases/*/.*.pullet/root", 0o700, Later::Any),
    folder("targets/.*.releases/*/.*.pullet/root/**", 0o700, Later::Any),
    Creation {
        path: "targets/.*.releases/*/.*.pullet/root/**",
        kind: Kind::File,
        mode: Mode::Within(0o777),
        flags: EXCLUSIVE,
        later: Later::Any,
    },
    Creation {
        path: "targets/.*.releases/*/.*.pullet/root/**",
        kind: Kind::Device,
        mode: Mode::Exactly(0o600),
        flags: &[],
        later: Later::Any,
    },
    Creation {
        path: "targets/.*.pullet/root/**",
        kind: Kind::File,
        mode: Mode::Within(0o777),
        flags: EXCLUSIVE,
        later: Later::Any,
    },
    Creation {
        path: "targets/.*.pullet/root/**",
        kind: Kind::Device,
        mode: Mode::Exactly(0o600),
        flags: &[],
        later: Later::Any,
    },
];

pub const FINALS: &[Final] = &[
    Final { path: "store/oci-layout", needs: &[] },
    // The index names blobs.
    Final { path: "store/index.json", needs: &["store/blobs", "store/blobs/**"] },
    Final { path: "store/*.damaged", needs: &[] },
    Final { path: "store/blobs/*/*", needs: &[] },
    Final { path: "store/time", needs: &[] },
    Final { path: "store/versions/*.version", needs: &[] },
    Final { path: "home/.docker/config.json", needs: &[] },
    Final { path: "store/watch/*.json", needs: &[] },
    // The record says which tree it is, and the link that it needs trees of layers.
    Final { path: "targets/root", needs: &["targets/.*.releases/*/pending.json", "store/layers/folders/*"] },
    Final { path: "targets/.*.releases/*/root", needs: &[] },
    Final { path: "targets/.*.releases/*/release.json", needs: &[] },
    Final { path: "store/layers/*/sha256-*", needs: &[] },
    Final { path: "store/layers/*/chain-*", needs: &[] },
];

/// Other files may be removed at any time.
pub const REMOVALS: &[Removal] = &[
    Removal { path: "store/blobs/*/*", needs: &["store/index.json"] },
    // A tree that loses files must have lost its name before.
    Removal { path: "store/layers/*/removed-*/**", needs: &["store/layers/*/removed-*"] },
    Removal { path: "store/versions/*.proposed", needs: &["store/versions/*.version"] },
];

/// Links that are not in a tree.
pub const LINKS: &[&str] = &["store/layers/folders/*"];

/// Folders with trees that get their final names later and are synced then, or whose trees have lost them.
pub const STAGING: &[&str] = &[
    "targets/.*.pullet",
    "targets/.*.releases/*/.*.pullet",
    "targets/.*.releases/*.removed",
    "targets/.*.releases/probe.*",
    "targets/.*.releases/link",
    "store/layers/*/.*.pullet",
    "store/layers/*/removed-*",
];

/// True if the path is below a staging folder.
pub fn is_below_staging(path: &str) -> bool {
    STAGING.iter().any(|folder| matches(&format!("{folder}/**"), path))
}

/// True for a staging folder itself.
pub fn is_staging(path: &str) -> bool {
    STAGING.iter().any(|folder| matches(folder, path))
}

const fn folder(path: &'static str, mode: u32, later: Later) -> Creation {
    Creation { path, kind: Kind::Folder, mode: Mode::Exactly(mode), flags: &[], later }
}

const fn file(path: &'static str, mode: u32, flags: &'static [&'static str], later: Later) -> Creation {
    Creation { path, kind: Kind::File, mode: Mode::Exactly(mode), flags, later }
}

/// True if the pattern is the path's.
pub fn matches(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut names) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), names.next()) {
            (None, None) => return true,
            (Some("**"), Some(_)) => return true,
            (Some(pattern), Some(name)) if matches_name(pattern, name) => {}
            _ => return false,
        }
    }
}

fn matches_name(pattern: &str, name: &str) -> bool {
    let Some((start, end)) = pattern.split_once('*') else { return pattern == name };
    name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_paths() {
        assert!(matches("store/blobs/*/*", "store/blobs/sha256/ab"));
        assert!(!matches("store/blobs/*/*", "store/blobs/sha256"));
        assert!(is_below_staging("targets/.root.pullet/root/etc") && !is_staging("targets/.root.pullet/root/etc"));
        assert!(is_staging("targets/.root.pullet") && !is_below_staging("targets/.root.pullet"));
        assert!(!matches("targets/.*.pullet", "targets/root"));
        assert!(matches("store/*.new", "store/index.json.new"));
        assert!(!matches("a*a", "a"));
    }
}
