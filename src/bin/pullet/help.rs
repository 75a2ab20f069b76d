//! The help texts. What they say is checked by tests: every option named here exists.

use crate::topic::Topic;

/// The help for the program or one of its commands.
pub(crate) fn of(topic: Topic) -> String {
    match topic {
        Topic::Program => format!("{PROGRAM}{BOOTS}{MANAGE}{CODES}"),
        Topic::Pull => format!("{PULL}\n{REGISTRY}{TRUST}{MIRRORS}{PATIENCE}\n{COMMON}\n{NAMES}"),
        Topic::Unpack => format!("{UNPACK}{TREE}\n{REGISTRY}{TRUST}{MIRRORS}{PATIENCE}\n{COMMON}\n{NAMES}"),
        #[cfg(feature = "boot")]
        Topic::Boot => format!("{BOOT}{TREE}\n{REGISTRY}{TRUST}{MIRRORS}{PATIENCE}\n{COMMON}"),
        other => of_others(other),
    }
}

#[cfg(feature = "manage")]
fn of_others(topic: Topic) -> String {
    match topic {
        Topic::Artifact => format!("{ARTIFACT}\n{REGISTRY}{TRUST}{MIRRORS}{PATIENCE}\n{COMMON}\n{NAMES}"),
        Topic::Config => format!("{CONFIG}\n{REGISTRY}{TRUST}{MIRRORS}{PATIENCE}\n{COMMON}\n{NAMES}"),
        Topic::Digest => format!("{DIGEST}\n{REGISTRY}{TRUST}{MIRRORS}{PATIENCE}\n{COMMON}\n{NAMES}"),
        Topic::Images => format!("{IMAGES}\n{COMMON}"),
        Topic::Login => format!("{LOGIN}{TRUST}\n{COMMON}"),
        Topic::Logout => format!("{LOGOUT}\n{COMMON}"),
        Topic::Manifest => format!("{MANIFEST}\n{REGISTRY}{TRUST}{MIRRORS}{PATIENCE}\n{COMMON}\n{NAMES}"),
        Topic::Tags => format!("{TAGS}\n{REGISTRY}{TRUST}{MIRRORS}{PATIENCE}\n{COMMON}"),
        Topic::Verify => format!("{VERIFY}\n{COMMON}"),
        Topic::Program | Topic::Boot | Topic::Pull | Topic::Unpack => of(Topic::Program),
    }
}

/// No pullet tells of commands that it has not.
#[cfg(not(feature = "manage"))]
fn of_others(_: Topic) -> String {
    of(Topic::Program)
}

const PROGRAM: &str = "\
pullet: a docker pull for small machines

Usage: pullet COMMAND [OPTION]… [ARGUMENT]…

Commands:
  pull      fetch and verify images into the store
  unpack    make a root filesystem out of an image
";

/// The command for an initramfs, where it is built in.
const BOOTS: &str = if cfg!(feature = "boot") {
    "  boot      mount a new root as the kernel's command line says, in an initramfs\n"
} else {
    ""
};

/// The rest of the commands, where they are built in.
const MANAGE: &str = if cfg!(feature = "manage") {
    "\
  images    list the images in the store
  verify    read the store back and check every digest
  artifact  fetch the files of an OCI artifact into a folder

Straight from the registry, nothing stored:
  tags      the tags of a repository
  digest    the digest that a name points to
  manifest  the document that a name points to
  login     try credentials with a registry and keep them
  logout    remove kept credentials
  config    what would be used for a name, and what says so
"
} else {
    ""
};

const CODES: &str = "
`pullet COMMAND --help` tells the options of a command.

Exit codes:
  0  done, or up to date            6  rate limited: later
  1  a fault of pullet's own        7  TLS: certificate, name, time
  2  bad option or name             8  digest, size or diff_id mismatch
  3  not found                      9  disk: space, permission, in the way
  4  not authorised                10  media type or platform not supported
  5  network: try again            11  hostile content, or a limit exceeded
                                  130  interrupted (143: by SIGTERM)
";

const PULL: &str = "\
Fetch and verify images into the store. What is there already is not fetched again.

Usage: pullet pull [OPTION]… NAME…

Several names are pulled one after the other; the first failure ends it.

Options:
  -a, --all-tags         every tag of the repository NAME
      --allow-foreign-layers
                         fetch layers that the registry lacks where their manifest says, over https
                         and without credentials (without this such an image is refused)
      --max-unpacked BYTES[k|m|g|t]
                         refuse an image whose blobs have more bytes (default: 256g)
  -q, --quiet            print nothing but the full name
";

const UNPACK: &str = "\
Make a root filesystem out of an image: layers merged, whiteouts applied, every diff_id proven.
DIR must not exist or be an empty folder; it appears whole, by one rename.

Usage: pullet unpack [OPTION]… NAME DIR

Options:
      --pull WHEN        ask the registry if the image is `missing` in the store (the default),
                         `always`, or `never`
      --stream           unpack while it arrives, in one pass, and keep nothing in the store; what
                         the store has already is unpacked from there, but with --pull always
      --no-devices       leave device nodes out (an ordinary user's always are)
";

/// What those have in common that make a tree.
const TREE: &str = "      --allow-foreign-layers
                         fetch layers that the registry lacks where their manifest says, over https
                         and without credentials (without this such an image is refused)
      --max-unpacked BYTES[k|m|g|t]
                         refuse an image with more bytes, holes included (default: 256g)
      --max-entries N    refuse an image with more archive entries (default: 10000000)
      --max-zstd-window BYTES[k|m|g|t]
                         refuse layers whose zstd frames need a larger window in memory
                         (default: 8m)
  -q, --quiet            show no progress
";

#[cfg(feature = "boot")]
const BOOT: &str = "\
Mount at DIR the root filesystem of the image that the kernel's command line names, in an
initramfs: waits for the network, unpacks the image while it arrives, and prints the line that
goes on with it, `switch_root DIR INIT`. Keeps no store. If it fails, what it mounted is gone.
DIR is /sysroot unless it is given.

Usage: pullet boot [OPTION]… [DIR]

Parameters on the kernel's command line, the last of each counts:
  pullet.image=NAME      the image, as with Docker; there must be one
  pullet.digest=DIGEST   the digest that NAME must have, of its manifest or index
  pullet.ca=FILE         as --ca-file, and in its place
  pullet.root=WHERE      `tmpfs` (the default), `tmpfs:SIZE` as in tmpfs:256m or tmpfs:50%, a block
                         device in /dev/, or a folder on which something is mounted. On the last two
                         the tree is in a folder named by its digest: one that is there already is
                         not fetched again, and with a pullet.digest needs no network
  pullet.overlay=tmpfs[:SIZE]
                         leave the tree as it is, and keep what is written in memory
  pullet.wait=SECS       longest wait for the network and the device together (default: 60)
  init=PATH              the program to go on with (default: the first that there is of /sbin/init,
                         /etc/init, /bin/init, /bin/sh)

Options:
      --cmdline FILE     read the parameters there and not in /proc/cmdline
";

const ARTIFACT: &str = "\
Fetch the files of an OCI artifact, each under the name that its title annotation says. Every file
is proven before it has its name. DIR must not exist or be an empty folder; it appears whole, by
one rename. Blobs without a title are listed and left out. A folder that ORAS packed stays the
archive that it is, as TITLE with .tar, .tar.gz or .tar.zst.

Usage: pullet artifact [OPTION]… NAME DIR

Options:
      --max-unpacked BYTES[k|m|g|t]
                         refuse an artifact whose blobs have more bytes (default: 256g)
  -q, --quiet            show no progress
";

const DIGEST: &str = "\
Print the digest that NAME points to: that of the index where it is one. With --platform, the
digest of the manifest for that platform.

Usage: pullet digest [OPTION]… NAME

Options:
  -q, --quiet            show no progress
";

const CONFIG: &str = "\
Print what would be used for NAME, a line a fact: endpoints in the order in which they are asked,
CA files, proxy, whose credentials, and which file, variable or option says so. Nobody is
contacted, no credential helper is run, and no secret is shown.

Usage: pullet config [OPTION]… NAME

Options:
  -q, --quiet            show no progress
";

const MANIFEST: &str = "\
Print the document that NAME points to, a manifest or an index, indented for reading; with
a --platform, the manifest for it.

Usage: pullet manifest [OPTION]… NAME

Options:
      --raw              the very bytes that the registry has
  -q, --quiet            show no progress
";

const TAGS: &str = "\
Print the tags of a repository, one a line, in the registry's order.

Usage: pullet tags [OPTION]… REPOSITORY

Options:
  -q, --quiet            show no progress
";

const IMAGES: &str = "\
List the images in the store. SIZE is what config and layers take there, compressed as they are.

Usage: pullet images [OPTION]…

Options:
  -q, --quiet            print the image IDs only
";

const VERIFY: &str = "\
Read blobs back from the store and compare them with their digests: those of the images named,
or all. Prints those that are not what they promise; repairs nothing.

Usage: pullet verify [OPTION]… [NAME…]

Options:
      --remove-corrupt   remove them; the next pull fetches them anew
  -q, --quiet            print nothing
";

const LOGIN: &str = "\
Try credentials with a registry and, if it takes them, keep them: with the credential helper that
the file names for it, else in the file itself, unencrypted and readable by its owner alone.
Docker, podman and skopeo read the same file.

Usage: pullet login [OPTION]… [HOST[:PORT]]

Without HOST it is docker.io. What is not given is asked for at the terminal.

Options:
  -u, --username USER    the user name
      --password-stdin   read the password from standard input
  -q, --quiet            print nothing
      --authfile FILE    the file (default: $REGISTRY_AUTH_FILE, else $DOCKER_CONFIG/config.json,
                         else ~/.docker/config.json)
";

const LOGOUT: &str = "\
Remove what login keeps for a registry; without HOST for docker.io.

Usage: pullet logout [OPTION]… [HOST[:PORT]]

Options:
      --authfile FILE    the file (default: as with login)
  -q, --quiet            print nothing
";

const REGISTRY: &str = "\
Registry:
      --platform OS[/ARCH[/VARIANT]]
                         choose this platform and not this machine's
      --creds USER[:PASSWORD]
                         credentials; `-` reads them from standard input
      --authfile FILE    the only file where credentials are looked for (default: the first of
                         $REGISTRY_AUTH_FILE, $DOCKER_AUTH_CONFIG, podman's auth.json and
                         Docker's config.json that has some; their helpers are asked too)
";

const TRUST: &str = "      --token-realm HOST[:PORT]
                         let this token endpoint have the credentials although it is not the
                         registry's own host
      --ca-file PEM      trust these certificates beside the machine's own
      --client-cert PEM  the certificate that is shown to the registry, and to no other server
      --client-key PEM   its key (default: what is in the file of --client-cert)
      --insecure-registry HOST[:PORT]
                         do not verify this registry's certificate, and let it speak plain HTTP;
                         may be given several times
";

const MIRRORS: &str = "      --registry-mirror [HOST[:PORT]=]URL
                         ask this mirror of HOST, or of Docker Hub, before the registry itself; may
                         be given several times, and comes before the machine's own mirrors
";

const PATIENCE: &str = "  -j, --jobs N           fetch so many layers at once, and unpack them while later ones arrive;
                         `auto` is one for each processor, at most 4 (default: 1)
      --retries N        ask again so often after a passing failure without progress (default: 5)
      --stall-timeout SECS
                         longest wait for an answer or its next bytes; a body must bring at least
                         100 bytes a second over that time (default: 60)
      --timeout SECS     longest time for the whole command (default: none)
      --limit-rate BYTES[k|m|g|t]
                         fetch at most so many bytes a second (default: no limit)
Obeyed are also $HTTPS_PROXY, $HTTP_PROXY, $ALL_PROXY and $NO_PROXY, $SSL_CERT_FILE and
$SSL_CERT_DIR, certs.d/HOST[:PORT] of Docker and of containers, and mirrors: the first that speaks
of the name of registries.conf (containers), certs.d/HOST/hosts.toml (containerd) and daemon.json
(Docker). `pullet config NAME` and -v tell what decided.
";

const COMMON: &str = "\
Common:
      --store DIR        the store, an OCI image layout (default: $PULLET_STORE, else
                         /var/lib/pullet for root, else ~/.local/share/pullet)
      --progress auto|tty|plain|json|none
                         how progress is shown on standard error; json is an object a line
  -v, --verbose          name each request, and what configuration was found where
  -h, --help             this text
  -V, --version          the version
";

const NAMES: &str = "\
NAME is as with Docker: [HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]. A registry on loopback may speak
plain HTTP. A NAME without a registry is of Docker Hub, unless registries.conf has exactly one
of unqualified-search-registries.
";
