//! A new root for a machine that boots: from the kernel's command line to a mount point that a `switch_root` can take. What
//! was mounted on the way is unmounted again if it fails. It neither loads modules nor sets up the network, and it does not
//! switch.

mod cmdline;
#[cfg(fuzzing)]
mod fuzzing;
mod init;
mod mounts;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[cfg(fuzzing)]
pub use self::fuzzing::boot_line;

use self::cmdline::{Memory, Parameters, RootPlace};
use self::mounts::Mounts;
use crate::cancel::Cancel;
use crate::client::Client;
use crate::client::Sandbox;
use crate::client::{Resolved, report_pulling};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::images::UnpackOptions;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::progress::{Event, Progress};
use crate::target::Staging;
use crate::unpack::Tally;
use crate::workers;

/// Where the trees are while the new root is made of one.
const BASE: &str = "/run/pullet/root";
/// Where what is written to an overlay goes.
const CHANGES: &str = "/run/pullet/overlay";
/// Time between two looks at the network.
const NETWORK_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two looks for a device.
const DEVICE_INTERVAL: Duration = Duration::from_millis(100);

/// What the kernel's command line says of the system to be booted.
#[derive(Debug)]
pub struct BootParameters(Parameters);

/// A root filesystem that is mounted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Booted {
    /// The program in it to go on with, as a path in the new root.
    pub init: String,
    /// What was done and left out; `None` if the tree was there already.
    pub tally: Option<Tally>,
}

impl BootParameters {
    /// Reads the `pullet.` parameters, and `init`, out of `/proc/cmdline` or a file that is like it. Fails with
    /// [`ErrorKind::Usage`] if one is malformed, unknown, or missing.
    pub fn read(cmdline: Option<&Path>) -> Result<Self> {
        Parameters::parse(&cmdline::read_cmdline(cmdline)?).map(Self)
    }

    /// The NAME of the image, not parsed.
    pub fn image(&self) -> &str {
        &self.0.image
    }

    /// A file of certificates in PEM to be trusted.
    pub fn ca_file(&self) -> Option<&Path> {
        self.0.ca.as_deref()
    }

    /// The name with the digest that it must have.
    fn pinned(&self, name: &Reference) -> Result<Reference> {
        match (&self.0.digest, name.digest()) {
            (Some(digest), Some(other)) if digest != other => {
                let text = format!("kernel command line: pullet.digest is {digest}, and pullet.image has {other}");
                Err(Error::new(ErrorKind::Usage, text))
            }
            (Some(digest), _) => Ok(name.with_digest(*digest)),
            (None, _) => Ok(name.clone()),
        }
    }
}

impl Client {
    /// Makes the root filesystem of an image appear at `target`, as the parameters say: waits for the network, and for a
    /// disk, no longer than they allow; unpacks the image as it arrives, or takes the tree that a disk has of it; mounts.
    ///
    /// What is foreign is read on a thread of its own, for the sake of `confine`: it is called there before anything is
    /// asked for, with what must stay writable. A [`Sandbox`] of the whole process would forbid the mounts.
    pub fn boot(
        &self,
        (name, parameters): (&Reference, &BootParameters),
        (target, options): (&Path, &UnpackOptions),
        confine: &(dyn Fn(&Sandbox) + Sync),
        progress: &dyn Progress,
    ) -> Result<Booted> {
        let name = parameters.pinned(name)?;
        let booted = self.boot_inner((&name, &parameters.0), (target, options), confine, progress);
        booted.map_err(|e| e.context(format!("boot {name}")))
    }

    fn boot_inner(
        &self,
        (name, parameters): (&Reference, &Parameters),
        (target, options): (&Path, &UnpackOptions),
        confine: &(dyn Fn(&Sandbox) + Sync),
        progress: &dyn Progress,
    ) -> Result<Booted> {
        let waiting = Waiting::new(parameters.wait);
        let base = Path::new(BASE);
        let mut mounts = Mounts::default();
        self.mount_base(&parameters.root, &mut mounts, &waiting, progress)?;
        let (tree, tally) = match name.digest().and_then(|digest| self.tree_of(base, digest)) {
            Some(tree) => (tree, None),
            None => workers::on_new_thread(|| {
                confine(&Sandbox::new().folder(base));
                self.arrive(name, (base, options), &waiting, progress)
            })?,
        };
        if tally.is_none() {
            progress.report(Event::Note("the tree is there already"));
        }
        let init = first_program(&tree, parameters.init.as_deref())?;
        mount_root(&tree, parameters, target, mounts)?;
        Ok(Booted { init, tally })
    }

    /// Mounts, at [`BASE`], where the trees are to be.
    fn mount_base(
        &self,
        place: &RootPlace,
        mounts: &mut Mounts,
        waiting: &Waiting,
        progress: &dyn Progress,
    ) -> Result<()> {
        let base = Path::new(BASE);
        match place {
            RootPlace::Memory(Memory { size }) => mounts.tmpfs(base, size.as_deref()),
            RootPlace::Device(device) => {
                waiting.for_device(device, &self.options.cancel, progress)?;
                mounts.device(device, base)
            }
            RootPlace::Folder(folder) => {
                if mounts::is_of_root(folder)? {
                    let text = format!("nothing is mounted at {}, nor above it", folder.display());
                    let hint = "what lies in the initramfs itself is lost when the root is switched";
                    return Err(Error::new(ErrorKind::Disk, text).with_hint(hint));
                }
                mounts.bind(folder, base)
            }
        }
    }

    /// The tree that there is of a manifest or index, for this platform. It is whole, for it has its name.
    fn tree_of(&self, base: &Path, digest: &Digest) -> Option<PathBuf> {
        let trees = [tree_name(digest, None), tree_name(digest, Some(&self.platform))];
        trees.into_iter().map(|name| base.join(name)).find(|tree| tree.is_dir())
    }

    /// The tree of the image, from the registry, or as it is there by the digest that the registry tells.
    fn arrive(
        &self,
        name: &Reference,
        (base, options): (&Path, &UnpackOptions),
        waiting: &Waiting,
        progress: &dyn Progress,
    ) -> Result<(PathBuf, Option<Tally>)> {
        report_pulling(name, progress);
        let scout = self.scout(waiting.until);
        let heard = FirstAnswerProgress::new(progress);
        let reached = self.reach(&scout, name, waiting, &heard)?;
        let connections = scout.connections.with_cancel(&self.options.cancel);
        let resolved = match reached {
            Some(resolved) => Resolved { repository: resolved.repository.with_connections(&connections), ..resolved },
            None => self.find_manifest(name, None, progress)?,
        };
        let is_of_index = resolved.digest != resolved.descriptor.digest;
        let tree = base.join(tree_name(&resolved.digest, is_of_index.then_some(&self.platform)));
        if tree.is_dir() {
            return Ok((tree, None));
        }
        // What a boot before this one had begun is of no use, and nobody else would come by.
        Staging::sweep(base, &|name| name.starts_with("sha256-") || name.starts_with("sha512-"));
        let tally = self.stream_admitted(self.admit(resolved)?, &tree, options)?.tally;
        Ok((tree, Some(tally)))
    }

    /// What the name means, as soon as there is somebody who tells; `None` if there is somebody, who failed. The scout
    /// neither asks twice nor goes on for longer than is waited.
    fn reach<'a>(
        &self,
        scout: &'a Self,
        name: &Reference,
        waiting: &Waiting,
        heard: &'a FirstAnswerProgress<'a>,
    ) -> Result<Option<Resolved<'a>>> {
        loop {
            let error = match scout.find_manifest(name, None, heard) {
                Err(error) if error.kind() == ErrorKind::Network => error,
                other => return other.map(Some),
            };
            if heard.is_answered.load(Ordering::Relaxed) {
                return Ok(None);
            }
            waiting.tell(&format!("the network: {error}"), heard);
            heard.is_again.store(true, Ordering::Relaxed);
            if !waiting.pause(NETWORK_INTERVAL, &self.options.cancel)? {
                let text = format!("the network did not come up within {} s: {error}", waiting.wait.as_secs());
                return Err(Error::new(ErrorKind::Network, text).with_hint("pullet.wait=SECS allows it more time"));
            }
        }
    }
}

/// How long is waited in all, for devices and for the network.
struct Waiting {
    wait: Duration,
    until: Instant,
}

impl Waiting {
    fn new(wait: Duration) -> Self {
        Self { wait, until: Instant::now() + wait }
    }

    fn for_device(&self, device: &Path, cancel: &Cancel, progress: &dyn Progress) -> Result<()> {
        let shown = device.display();
        if !mounts::is_block_device(device) {
            self.tell(&shown.to_string(), progress);
        }
        while !mounts::is_block_device(device) {
            if !self.pause(DEVICE_INTERVAL, cancel)? {
                let text = format!("{shown} is no block device, nor became one within {} s", self.wait.as_secs());
                return Err(Error::new(ErrorKind::Disk, text).with_hint("the initramfs must load the device's module"));
            }
        }
        Ok(())
    }

    fn tell(&self, what: &str, progress: &dyn Progress) {
        progress.report(Event::Note(&format!("waiting up to {} s for {what}", self.wait.as_secs())));
    }

    /// Waits for a moment; `false` if there is no time left.
    fn pause(&self, interval: Duration, cancel: &Cancel) -> Result<bool> {
        let left = || self.until.saturating_duration_since(Instant::now());
        cancel.wait(interval.min(left()))?;
        Ok(!left().is_zero())
    }
}

/// Hears whether anybody answers. Until then what is told at every attempt is told at the first alone.
struct FirstAnswerProgress<'a> {
    progress: &'a dyn Progress,
    is_answered: AtomicBool,
    is_again: AtomicBool,
}

impl<'a> FirstAnswerProgress<'a> {
    fn new(progress: &'a dyn Progress) -> Self {
        Self { progress, is_answered: AtomicBool::new(false), is_again: AtomicBool::new(false) }
    }
}

impl Progress for FirstAnswerProgress<'_> {
    fn report(&self, event: Event<'_>) {
        if matches!(event, Event::Answered { .. }) {
            self.is_answered.store(true, Ordering::Relaxed);
        }
        let is_old = self.is_again.load(Ordering::Relaxed) && !self.is_answered.load(Ordering::Relaxed);
        if !(is_old && matches!(event, Event::Note(_))) {
            self.progress.report(event);
        }
    }
}

/// The name of a tree: the digest that the image's name resolves to, and where that is an index's the platform that was
/// chosen from it.
fn tree_name(digest: &Digest, platform: Option<&Platform>) -> String {
    let platform = platform.map(|platform| format!("-{platform}").replace('/', "-")).unwrap_or_default();
    format!("{}-{}{platform}", digest.algorithm(), digest.hex())
}

/// The program to go on with: the one that was named, which must be there, or the first that is.
fn first_program(tree: &Path, named: Option<&str>) -> Result<String> {
    let missing =
        |what: &str| Err(Error::new(ErrorKind::NotFound, what).with_hint("init=PATH names the program to start"));
    match named {
        Some(init) if init::has_program(tree, init) => Ok(init.to_owned()),
        Some(init) => missing(&format!("the image has no program {init}, which init= names")),
        None => match init::INITS.iter().find(|init| init::has_program(tree, init)) {
            Some(init) => Ok((*init).to_owned()),
            None => missing(&format!("the image has none of {}", init::INITS.join(", "))),
        },
    }
}

/// Makes the tree appear at `target`, which keeps what it is made of; the other mounts go.
fn mount_root(tree: &Path, parameters: &Parameters, target: &Path, mut mounts: Mounts) -> Result<()> {
    match &parameters.overlay {
        None => mounts.bind(tree, target)?,
        Some(Memory { size }) => {
            if matches!(parameters.root, RootPlace::Device(_)) {
                mounts::freeze(Path::new(BASE));
            }
            mounts.tmpfs(Path::new(CHANGES), size.as_deref())?;
            mounts.overlay(tree, Path::new(CHANGES), target)?;
        }
    }
    mounts.keep_last();
    Ok(())
}
