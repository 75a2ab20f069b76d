//! An OCI runtime bundle: the folder that `runc run` and `crun run` start, with the root filesystem in `rootfs` and the
//! `config.json` that the image config describes.

use std::path::Path;

use super::accounts::find_user;
use super::assembly::Assembly;
use super::image::AdmittedImage;
use super::layers::image_layers;
use super::space::{Need, check_space, least_tree};
use super::unpack_options::UnpackOptions;
use crate::error::Result;
use crate::host;
use crate::oci::runtime::RuntimeConfig;
use crate::progress::{Event, Progress};
use crate::unpack::Tally;

/// The folder of the root filesystem in the bundle.
const ROOTFS: &str = "rootfs";
const CONFIG: &str = "config.json";

impl AdmittedImage {
    /// Unpacks the image as an OCI runtime bundle into `target`, which must not exist or be an empty folder:
    /// `target/rootfs` and `target/config.json`. The bundle appears by one rename, complete, or not at all.
    ///
    /// The process, its environment, user, annotations and volumes are those of the image config; everything else is as
    /// `runc spec` writes it, without a terminal. A user or group name is looked up in the `/etc/passwd` and `/etc/group`
    /// of the image; an unknown one is an error of the kind [`Unsupported`](crate::ErrorKind::Unsupported). For a process
    /// that is not root, the bundle is rootless, as of `runc spec --rootless`.
    ///
    /// ```no_run
    /// use pullet::{Client, Options, Silent, Store, UnpackOptions};
    /// use std::path::Path;
    ///
    /// let name = "alpine".parse()?;
    /// let image = Store::open("/var/lib/pullet").image(&name)?;
    /// let image = Client::new(Options::new())?.admit(&name, image, &Silent)?;
    /// image.unpack_bundle(Path::new("/srv/bundle"), &UnpackOptions::new(), &Silent)?;
    /// # Ok::<(), pullet::Error>(())
    /// ```
    pub fn unpack_bundle(&self, target: &Path, options: &UnpackOptions, progress: &dyn Progress) -> Result<Tally> {
        let unpacked = self.make_bundle(target, options, progress);
        unpacked.map_err(|e| e.context(format!("unpack {}", self.name())))
    }

    fn make_bundle(&self, target: &Path, options: &UnpackOptions, progress: &dyn Progress) -> Result<Tally> {
        let _kept = self.store().keep();
        let config = RuntimeConfig::parse(&self.store().document(&self.manifest().config, options.limits.document)?)?;
        let layers = image_layers(self.manifest(), self.config());
        check_space(&[Need { path: target, bytes: least_tree(&layers), files: 0 }])?;
        progress.report(Event::unpack_plan(layers.iter().map(|layer| layer.layer)));
        let mut assembly = Assembly::begin_inside(target, ROOTFS, options, progress)?;
        for layer in &layers {
            assembly.apply_stored(self.store(), layer)?;
        }
        let user = find_user(assembly.root(), config.user())?;
        let rootless = host::rootless();
        if rootless.is_some() && (user.uid, user.gid) != (0, 0) {
            let (uid, gid) = (user.uid, user.gid);
            let text =
                format!("the image runs as {uid}:{gid}, for which {CONFIG} needs more uidMappings and gidMappings");
            progress.report(Event::Warning(&text));
        }
        let text = config.to_bundle(&user, rootless)?;
        assembly.add_file(CONFIG, text.as_bytes())?;
        assembly.publish()
    }
}
