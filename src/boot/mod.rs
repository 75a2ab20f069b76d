//! Creates the root file system of a booting machine from an image: reads the kernel's command line, waits for the disk and
//! the network, unpacks the image, and mounts its tree where `switch_root` takes it. If a step fails, everything that was
//! mounted is unmounted. It neither loads modules nor configures the network, and it does not switch the root.

mod cmdline;
#[cfg(fuzzing)]
mod fuzzing;
mod init;
mod mounts;
mod wait;

use std::path::{Path, PathBuf};
use std::time::Duration;

#[cfg(fuzzing)]
pub use self::fuzzing::boot_line;

use self::cmdline::{Parameters, RootLocation};
use self::mounts::Mounts;
use self::wait::{FirstResponseProgress, WaitLimit};
use crate::client::{Client, Resolved, Sandbox, report_pulling};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::images::UnpackOptions;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::progress::{Event, Progress};
use crate::target::Staging;
use crate::unpack::Tally;
use crate::workers;

/// The mount point for the file system with the trees.
const TREES: &str = "/run/pullet/root";
/// The mount point for the changes of an overlay.
const CHANGES: &str = "/run/pullet/overlay";
/// How long an attempt may take before the wait is reported.
const SILENCE: Duration = Duration::from_secs(3);
/// Time between two attempts to reach the registry.
const NETWORK_INTERVAL: Duration = Duration::from_secs(1);

/// The boot parameters on the kernel's command line.
#[derive(Debug)]
pub struct BootParameters(Parameters);

/// A mounted root file system.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Booted {
    /// The path of the init program in the new root.
    pub init: String,
    /// Counts of what was unpacked and left out. `None` if the tree existed already.
    pub tally: Option<Tally>,
}

impl BootParameters {
    /// Reads the `pullet.` parameters and `init` from `/proc/cmdline`, or from another file. Fails with
    /// [`ErrorKind::Usage`] if one of them is malformed, unknown or missing.
    pub fn read(cmdline: Option<&Path>) -> Result<Self> {
        Parameters::parse(&cmdline::read_cmdline(cmdline)?).map(Self)
    }

    /// The name of the image, not parsed.
    pub fn image(&self) -> &str {
        &self.0.image
    }

    /// A file with CA certificates in PEM to trust.
    pub fn ca_file(&self) -> Option<&Path> {
        self.0.ca.as_deref()
    }

    /// The policy to obey: [`Options::policy`](crate::Options::policy).
    pub fn policy_file(&self) -> Option<&Path> {
        self.0.policy.as_deref()
    }

    /// The files with public keys of which one must have signed the image:
    /// [`Options::verify_key`](crate::Options::verify_key).
    pub fn key_files(&self) -> &[PathBuf] {
        &self.0.keys
    }

    /// Adds the digest of `pullet.digest` to the name.
    fn pin(&self, name: &Reference) -> Result<Reference> {
        let Some(digest) = self.0.digest else { return Ok(name.clone()) };
        if let Some(other) = name.digest()
            && *other != digest
        {
            let text = format!("kernel command line: pullet.digest is {digest}, but pullet.image has {other}");
            return Err(Error::new(ErrorKind::Usage, text));
        }
        Ok(name.with_digest(digest))
    }
}

impl Client {
    /// Mounts the root file system of an image at `target`, as the parameters say. Waits for the disk and the network as
    /// long as they allow. The image is unpacked while it arrives, unless the disk has its tree already.
    ///
    /// Untrusted input is read on a separate thread. `confine` is called there before the first request, with the folders
    /// that must stay writable. It must not restrict the whole process, because mounts would fail then.
    pub fn boot(
        &self,
        name: &Reference,
        parameters: &BootParameters,
        target: &Path,
        options: &UnpackOptions,
        confine: &(dyn Fn(&Sandbox) + Sync),
        progress: &dyn Progress,
    ) -> Result<Booted> {
        let name = &parameters.pin(name)?;
        let parameters = &parameters.0;
        let wait = WaitLimit::start(parameters.wait);
        let boot = Boot { client: self, name, parameters, options, wait, progress };
        boot.run(target, confine).map_err(|e| e.context(format!("boot {name}")))
    }
}

/// One boot, with everything that its steps need.
struct Boot<'a> {
    client: &'a Client,
    /// Has a digest if it is known before the registry responds.
    name: &'a Reference,
    parameters: &'a Parameters,
    options: &'a UnpackOptions,
    wait: WaitLimit,
    progress: &'a dyn Progress,
}

/// The unpacked tree of an image.
struct Tree {
    path: PathBuf,
    /// `None` if the tree existed already.
    tally: Option<Tally>,
}

impl Boot<'_> {
    fn run(&self, target: &Path, confine: &(dyn Fn(&Sandbox) + Sync)) -> Result<Booted> {
        let mut mounts = Mounts::default();
        self.mount_trees(&mut mounts)?;
        let tree = self.find_or_create_tree(confine)?;
        let init = choose_init(&tree.path, self.parameters.init.as_deref())?;
        self.mount_target(&tree.path, target, mounts)?;
        Ok(Booted { init, tally: tree.tally })
    }

    /// Mounts the file system for the trees at [`TREES`].
    fn mount_trees(&self, mounts: &mut Mounts) -> Result<()> {
        let trees = Path::new(TREES);
        match &self.parameters.root {
            RootLocation::Memory(tmpfs) => mounts.tmpfs(trees, tmpfs.size.as_deref()),
            RootLocation::Device(device) => {
                self.wait.wait_for_device(device, &self.client.options.cancel, self.progress)?;
                mounts.device(device, trees)
            }
            RootLocation::Folder(folder) => {
                if mounts::is_on_root_filesystem(folder)? {
                    let text = format!("nothing is mounted at {} or above it", folder.display());
                    let hint = "files in the initramfs itself are lost when the root is switched";
                    return Err(Error::new(ErrorKind::Disk, text).with_hint(hint));
                }
                mounts.bind(folder, trees)
            }
        }
    }

    /// Returns the tree of the image. If the digest is known and its tree exists, no request is sent.
    fn find_or_create_tree(&self, confine: &(dyn Fn(&Sandbox) + Sync)) -> Result<Tree> {
        let tree = match self.name.digest().and_then(|digest| self.existing_tree(digest)) {
            Some(path) => Tree { path, tally: None },
            // On a separate thread, because a sandbox is permanent and this thread still has to mount.
            None => workers::on_new_thread(|| {
                confine(&Sandbox::new().target(&Path::new(TREES).join("tree")));
                self.fetch_tree()
            })?,
        };
        if tree.tally.is_none() {
            self.progress.report(Event::Note("the tree exists already"));
        }
        Ok(tree)
    }

    /// Returns the existing tree of a manifest, or of an index for this platform. A tree gets its name when it is complete.
    fn existing_tree(&self, digest: &Digest) -> Option<PathBuf> {
        let names = [tree_name(digest, None), tree_name(digest, Some(&self.client.platform))];
        names.into_iter().map(|name| Path::new(TREES).join(name)).find(|tree| tree.is_dir())
    }

    /// Resolves the image at the registry, and unpacks it unless its tree exists.
    fn fetch_tree(&self) -> Result<Tree> {
        // A network that fails during the download gets the same time to come back.
        let client = &self.client.with_outage(self.wait.limit);
        report_pulling(self.name, self.progress);
        let single_attempt = self.client.scout(self.wait.deadline);
        let progress = FirstResponseProgress::new(self.progress);
        let reached = self.wait_for_registry(&single_attempt, &progress)?;
        // The limit of the wait does not apply to the download.
        let connections = single_attempt.connections.with_cancel(&client.options.cancel);
        let resolved = match reached {
            Some(resolved) => Resolved { repository: resolved.repository.with_connections(&connections), ..resolved },
            // The registry responded, but the attempt failed: now with retries.
            None => client.find_manifest(self.name, None, self.progress)?,
        };
        // Before a tree that exists is used, because an earlier boot may have demanded no signature.
        let admitted = client.admit_resolved(resolved, None)?;
        let resolved = admitted.resolved();
        let is_from_index = resolved.digest != resolved.descriptor.digest;
        let platform = is_from_index.then_some(&client.platform);
        let path = Path::new(TREES).join(tree_name(&resolved.digest, platform));
        if path.is_dir() {
            return Ok(Tree { path, tally: None });
        }
        // Remove what an interrupted boot has left.
        let is_tree = |name: &str| name.starts_with("sha256-") || name.starts_with("sha512-");
        Staging::sweep(Path::new(TREES), &is_tree, &client.options.cancel);
        let tally = client.stream_admitted(admitted, &path, self.options)?.tally;
        Ok(Tree { path, tally: Some(tally) })
    }

    /// Resolves the name with a client that does not retry, again and again until a server responds. Returns `None` if one
    /// responded but the attempt failed.
    fn wait_for_registry<'a>(
        &self,
        client: &'a Client,
        progress: &'a FirstResponseProgress<'a>,
    ) -> Result<Option<Resolved<'a>>> {
        let report_silence = || {
            if !progress.has_response() {
                self.wait.report("the network: no response yet", progress);
            }
        };
        loop {
            let resolve = || client.find_manifest(self.name, None, progress);
            let error = match workers::report_if_slow(SILENCE, report_silence, resolve)? {
                Err(error) if error.kind() == ErrorKind::Network => error,
                other => return other.map(Some),
            };
            if progress.has_response() {
                return Ok(None);
            }
            self.wait.report(&format!("the network: {error}"), progress);
            progress.repeat();
            if !self.wait.pause(NETWORK_INTERVAL, &self.client.options.cancel)? {
                let text = format!("the network did not come up within {} s: {error}", self.wait.limit.as_secs());
                return Err(Error::new(ErrorKind::Network, text).with_hint("pullet.wait=TIME sets a longer limit"));
            }
        }
    }

    /// Mounts the tree, or an overlay on it, at `target`. The other mounts are removed; the kernel keeps what `target`
    /// needs of them.
    fn mount_target(&self, tree: &Path, target: &Path, mut mounts: Mounts) -> Result<()> {
        match &self.parameters.overlay {
            None => mounts.bind(tree, target)?,
            Some(tmpfs) => {
                if matches!(self.parameters.root, RootLocation::Device(_)) {
                    mounts::make_read_only(Path::new(TREES));
                }
                mounts.tmpfs(Path::new(CHANGES), tmpfs.size.as_deref())?;
                mounts.overlay(tree, Path::new(CHANGES), target)?;
            }
        }
        mounts.keep_last();
        Ok(())
    }
}

/// Returns the folder name of a tree: the digest that the image's name resolves to, and if that is the digest of an index,
/// the platform that was chosen from it.
fn tree_name(digest: &Digest, platform: Option<&Platform>) -> String {
    let name = format!("{}-{}", digest.algorithm(), digest.hex());
    match platform {
        Some(platform) => format!("{name}-{}", platform.to_string().replace('/', "-")),
        None => name,
    }
}

/// Returns the init program: the one that `init=` names, which must exist, else the first usual one that exists.
fn choose_init(tree: &Path, named: Option<&str>) -> Result<String> {
    let text = match named {
        Some(path) if init::has_program(tree, path) => return Ok(path.to_owned()),
        Some(path) => format!("the image has no program {path}, which init= names"),
        None => match init::DEFAULTS.iter().find(|path| init::has_program(tree, path)) {
            Some(path) => return Ok((*path).to_owned()),
            None => format!("the image has none of {}", init::DEFAULTS.join(", ")),
        },
    };
    Err(Error::new(ErrorKind::NotFound, text).with_hint("init=PATH names the program to start"))
}
