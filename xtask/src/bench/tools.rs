//! The measured tools, and the script of each task. Scripts run in an empty folder. `$1` is the tool's program, `$2`
//! the image's name, `$3` its tag, `$4` the registry, `$5` the decompressor, and the URLs of the layers follow.

use std::path::{Path, PathBuf};

use crate::{Result, cargo, disk, shell};

/// A task that tools do with an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Task {
    /// Pull it into a store.
    Store,
    /// Pull it and unpack it.
    Tree,
    /// Pull it into a store that already has it.
    Repeat,
    /// Pull it into a store over a link with a long round trip.
    Far,
    /// Write its first layer, unpacked, to a block device, and prove what the device has.
    Device,
}

/// A program that can do some of the tasks.
pub struct Tool {
    pub name: &'static str,
    pub program: PathBuf,
    peer: &'static Peer,
}

struct Peer {
    name: &'static str,
    /// The programs that must be installed; the first is `$1`.
    programs: &'static [&'static str],
    store: &'static str,
    tree: &'static str,
    /// Runs after [`DEVICE`].
    device: &'static str,
    repeats: bool,
    /// True if it can unpack zstd layers.
    takes_zstd: bool,
}

const PULLET: Peer = Peer {
    name: "pullet",
    programs: &[],
    store: r#"exec "$1" pull --quiet --store store "$2""#,
    tree: r#"exec "$1" unpack --quiet --store store "$2" tree"#,
    device: r#""$1" blob --quiet "${2%:*}@${6##*/}" --decompress "$format" --output "$device""#,
    repeats: true,
    takes_zstd: true,
};

/// Makes a loop device of 1.1 GiB, which is on the file system of the run.
const DEVICE: &str = r#"truncate -s 1126M disk; device=$(losetup --find --show disk); trap 'losetup -d $device' EXIT
    case $5 in zstd*) format=zstd ;; *) format=gzip ;; esac
"#;

/// Two jobs, for two processors.
const TWO_JOBS: Peer = Peer {
    store: "",
    tree: r#"exec "$1" unpack --quiet -j 2 --store store "$2" tree"#,
    device: "",
    repeats: false,
    ..PULLET
};

/// As many connections as the tool with the most connections uses.
const SIX_JOBS: Peer =
    Peer { store: r#"exec "$1" pull --quiet -j 6 --store store "$2""#, tree: "", device: "", repeats: false, ..PULLET };

/// A build of pullet.
struct Build {
    name: &'static str,
    peer: &'static Peer,
    /// Options for cargo.
    options: &'static [&'static str],
    is_static: bool,
}

const BUILDS: &[Build] = &[
    Build { name: "pullet", ..RELEASE },
    Build { name: "pullet -j 2", peer: &TWO_JOBS, ..RELEASE },
    Build { name: "pullet -j 6", peer: &SIX_JOBS, ..RELEASE },
    Build { name: "pullet (fast)", options: &["--profile=release-fast"], ..RELEASE },
    Build { name: "pullet (fast-inflate)", options: &["--profile=release", "--features=fast-inflate"], ..RELEASE },
    Build { name: "pullet (static)", options: &[], is_static: true, ..RELEASE },
    Build { name: "pullet (static, fast-inflate)", options: &["--features=fast-inflate"], is_static: true, ..RELEASE },
];

const RELEASE: Build = Build { name: "", peer: &PULLET, options: &["--profile=release"], is_static: false };

/// The other tools. Each has its own option for plain HTTP.
const PEERS: &[Peer] = &[
    Peer {
        name: "skopeo (+ umoci)",
        programs: &["skopeo", "umoci"],
        store: r#"exec "$1" --insecure-policy copy --quiet --src-tls-verify=false "docker://$2" "oci:layout:$3""#,
        tree: r#""$1" --insecure-policy copy --quiet --src-tls-verify=false "docker://$2" "oci:layout:$3"
            umoci unpack --image "layout:$3" bundle"#,
        device: "",
        repeats: true,
        takes_zstd: false,
    },
    Peer {
        name: "podman",
        programs: &["podman"],
        store: "",
        tree: r#"echo '{"default":[{"type":"insecureAcceptAnything"}]}' >policy
            exec "$1" --root="$PWD/root" --runroot="$PWD/run" --storage-driver=overlay \
                pull --quiet --signature-policy=policy --tls-verify=false "$2""#,
        device: "",
        repeats: true,
        takes_zstd: true,
    },
    Peer {
        name: "crane (+ tar)",
        programs: &["crane"],
        store: r#"exec "$1" pull --insecure --format=oci "$2" layout"#,
        tree: r#"mkdir tree; "$1" export --insecure "$2" - | tar -xp --numeric-owner -C tree"#,
        device: "",
        repeats: true,
        takes_zstd: true,
    },
    Peer {
        name: "regctl",
        programs: &["regctl"],
        store: r#"echo "{\"hosts\":{\"$4\":{\"tls\":\"disabled\",\"hostname\":\"$4\"}}}" >regctl.json
            REGCTL_CONFIG=regctl.json exec "$1" image copy "$2" "ocidir://layout:$3""#,
        tree: "",
        device: "",
        repeats: true,
        takes_zstd: true,
    },
    Peer {
        name: "oras",
        programs: &["oras"],
        store: r#"exec "$1" copy --from-plain-http "$2" --to-oci-layout "layout:$3""#,
        tree: "",
        device: "",
        repeats: true,
        takes_zstd: true,
    },
    Peer {
        name: "curl (| gunzip | tar)",
        programs: &["curl"],
        store: r#"program=$1; shift 5; "$program" -sS --remote-name-all "$@"; exec sha256sum sha256:*"#,
        tree: r#"program=$1; unpack=$5; shift 5; mkdir tree
            for url; do "$program" -sS "$url" | $unpack | tar -xp --numeric-owner -C tree; done"#,
        device: r#"size=$("$1" -sS "$6" | $5 | dd of="$device" bs=1M iflag=fullblock conv=fsync 2>&1 | sed -n 's/ bytes.*//p')
            blockdev --flushbufs "$device"; head -c "$size" "$device" | sha256sum"#,
        repeats: false,
        takes_zstd: true,
    },
];

impl Task {
    /// The tasks that are measured by default. They can be done with any image, and without root.
    pub const USUAL: &[Self] = &[Self::Store, Self::Tree, Self::Repeat, Self::Far];

    pub fn parse(word: &str) -> Result<Self> {
        let found = Self::USUAL.iter().chain([&Self::Device]).find(|task| task.name() == word);
        found.copied().ok_or_else(|| format!("bench: no task {word:?}: expected T1, T2, repeat, far or device"))
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Store => "T1",
            Self::Tree => "T2",
            Self::Repeat => "repeat",
            Self::Far => "far",
            Self::Device => "device",
        }
    }
}

impl Tool {
    /// The script of the task, or `None` if the tool cannot do it.
    pub fn script(&self, task: Task, is_zstd: bool) -> Option<String> {
        let peer = self.peer;
        let script = match task {
            Task::Device if peer.device.is_empty() => "",
            Task::Device => return Some(format!("{DEVICE}{}", peer.device)),
            Task::Store | Task::Far => peer.store,
            Task::Tree if is_zstd && !peer.takes_zstd => "",
            Task::Tree => peer.tree,
            Task::Repeat if !peer.repeats => "",
            // A tool without a store keeps what it unpacked.
            Task::Repeat => [peer.store, peer.tree].into_iter().find(|script| !script.is_empty())?,
        };
        (!script.is_empty()).then(|| script.to_owned())
    }
}

/// Every build of pullet that this machine can make, and every installed tool. `wanted` selects by name, if not empty.
pub fn all(bench: &Path, wanted: &[String]) -> Result<Vec<Tool>> {
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let mut tools = Vec::new();
    for Build { name, peer, options, is_static } in BUILDS.iter().filter(|build| is_wanted(build.name)) {
        let built =
            if *is_static { cargo::build_static(options)? } else { Some(cargo::build_with("--bin=pullet", options)?) };
        if let Some(built) = built {
            tools.push(Tool { name, program: copy(bench, name, &built)?, peer });
        }
    }
    for peer in PEERS.iter().filter(|peer| is_wanted(peer.name)) {
        let programs: Option<Vec<PathBuf>> = peer.programs.iter().map(|program| shell::find(program)).collect();
        if let Some(program) = programs.into_iter().flatten().next() {
            tools.push(Tool { name: peer.name, program, peer });
        }
    }
    Ok(tools)
}

/// Copies a build to a name that the next build does not overwrite.
fn copy(bench: &Path, name: &str, built: &Path) -> Result<PathBuf> {
    let folder = bench.join("bin");
    disk::create_folder(&folder)?;
    let program = folder.join(name.replace([' ', '(', ')', ','], "_"));
    disk::named("copy to", &program, std::fs::copy(built, &program))?;
    Ok(program)
}
