//! Imports a root filesystem: a tar becomes an image of one layer. The tar is stored as it is, compressed or not.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::load::TypedReader;
use crate::advice::Limit;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::host;
use crate::images::image::Image;
use crate::layer::{Decoder, Entries, EntryKind, SafePath, Sniffed, sniff};
use crate::limits::Limits;
use crate::oci::changes::{Changes, ImportedConfig};
use crate::oci::descriptor::Descriptor;
use crate::oci::manifest::{LayerDescriptor, Manifest};
use crate::oci::media_type::{Compression, OCI_CONFIG};
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::progress::Progress;
use crate::store::{Arrival, Expected, ImageEntry, LockWait, Store};
use crate::verify::{Size, Verified, VerifyState};

const BUFFER: usize = 64 << 10;
/// Docker's comment for an archive from standard input. The name of a file would make the image differ for each name.
const MESSAGE: &str = "Imported from -";

/// Options of [`Store::import`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ImportOptions {
    changes: Changes,
    message: String,
    platform: Option<Platform>,
    created: Option<i64>,
    limits: Limits,
    cancel: Cancel,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            changes: Changes::default(),
            message: MESSAGE.to_owned(),
            platform: None,
            created: None,
            limits: Limits::default(),
            cancel: Cancel::default(),
        }
    }
}

impl ImportOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies an instruction of a Dockerfile to the config: `CMD`, `ENTRYPOINT`, `ENV`, `EXPOSE`, `LABEL`, `USER`, `VOLUME`
    /// or `WORKDIR`. Fails with [`ErrorKind::Usage`] for any other one.
    ///
    /// ```
    /// let options = pullet::ImportOptions::new().change("CMD [\"/bin/sh\"]")?.change("ENV A=1")?;
    /// assert!(options.change("RUN make").is_err());
    /// # Ok::<(), pullet::Error>(())
    /// ```
    pub fn change(mut self, instruction: &str) -> Result<Self> {
        self.changes.apply(instruction)?;
        Ok(self)
    }

    /// The comment in the history of the image. Default: Docker's.
    pub fn message(self, message: impl Into<String>) -> Self {
        Self { message: message.into(), ..self }
    }

    /// The platform of the image. Default: that of this machine.
    pub fn platform(self, platform: Platform) -> Self {
        Self { platform: Some(platform), ..self }
    }

    /// When the image was made, in seconds since the Unix epoch. Default: unknown, so that the same tar gives the same image.
    pub fn created(self, seconds: i64) -> Self {
        Self { created: Some(seconds), ..self }
    }

    /// Bounds on the tar. Default: [`Limits::default`].
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// A flag that stops the work. Default: a flag that is never raised.
    pub fn cancel(self, cancel: Cancel) -> Self {
        Self { cancel, ..self }
    }
}

impl Store {
    /// Makes an image of one layer from a tar of a root filesystem, uncompressed or compressed with gzip or zstd, and gives
    /// it a name if there is one. The tar must be one that can be unpacked: its headers, names and sizes are checked.
    ///
    /// ```no_run
    /// use pullet::{ImportOptions, Silent, Store};
    ///
    /// let store = Store::open("/var/lib/pullet");
    /// let mut file = std::fs::File::open("rootfs.tar.gz").unwrap();
    /// let image = store.import(&mut file, Some(&"app:1".parse()?), &ImportOptions::new(), &Silent)?;
    /// println!("{}", image.id());
    /// # Ok::<(), pullet::Error>(())
    /// ```
    pub fn import(
        &self,
        tar: &mut (dyn Read + Send),
        name: Option<&Reference>,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Image> {
        self.import_layer(tar, name, options, progress).map_err(|e| e.context("import"))
    }

    fn import_layer(
        &self,
        tar: &mut (dyn Read + Send),
        name: Option<&Reference>,
        options: &ImportOptions,
        progress: &dyn Progress,
    ) -> Result<Image> {
        if name.is_some_and(|name| name.digest().is_some()) {
            return Err(Error::new(ErrorKind::Usage, "the name has a digest, which the image decides"));
        }
        let wait = LockWait { cancel: &options.cancel, progress };
        let _guard = self.create(wait)?;
        let mut tar = TypedReader { archive: tar, cancel: &options.cancel };
        let expected = Expected { digest: None, size: Size::AtMost(options.limits.unpacked, "bytes of archive") };
        let mut arrival = self.receive(&mut tar, expected, &options.cancel)?;
        let checked = check_layer(&arrival, &options.limits, &options.cancel)?;
        let own = host::platform();
        let platform = options.platform.as_ref().unwrap_or(&own);
        let config = ImportedConfig {
            platform,
            changes: &options.changes,
            diff_id: checked.diff_id,
            created: options.created,
            message: &options.message,
        };
        let config_bytes = config.text().into_bytes();
        let size = config_bytes.len() as u64;
        let config = Descriptor { media_type: OCI_CONFIG.to_owned(), digest: Digest::sha256(&config_bytes), size };
        let layer = LayerDescriptor {
            blob: arrival.descriptor(),
            compression: checked.compression,
            urls: Vec::new(),
            may_use_urls: false,
        };
        let manifest = Manifest { config: config.clone(), layers: vec![layer], annotations: BTreeMap::new() };
        let (descriptor, bytes) = manifest.to_oci();
        arrival.commit()?;
        self.put(&config, &config_bytes, wait)?;
        self.put(&descriptor, &bytes, wait)?;
        let entry = ImageEntry {
            names: name.iter().map(|name| name.to_string()).collect(),
            subject: None,
            resolved: descriptor.digest,
            source: descriptor.digest,
            manifest: descriptor,
            platform: platform.clone(),
        };
        self.name_all(std::slice::from_ref(&entry), wait)?;
        Image::load(self, entry, platform, &options.limits)
    }
}

/// A layer whose entries can be unpacked.
struct CheckedLayer {
    compression: Compression,
    diff_id: Digest,
}

/// Reads all entries of a layer, and computes its diff_id.
fn check_layer(arrival: &Arrival, limits: &Limits, cancel: &Cancel) -> Result<CheckedLayer> {
    let mut file = arrival.open()?;
    let Sniffed { compression, mut stream } = sniff(&mut file)?;
    let stream: &mut (dyn Read + Send) = &mut stream;
    let mut decoder = Decoder::new(stream, compression, limits, cancel)?;
    let tar: &mut dyn Read = &mut decoder;
    let state = VerifyState::unknown(Size::AtMost(limits.unpacked, "bytes of unpacked layers"));
    let mut tar = Verified::resume(state, tar, cancel.clone());
    let mut entries = Entries::new(&mut tar, limits);
    let mut count = 0;
    while let Some(entry) = entries.next()? {
        count += 1;
        if count > limits.entries {
            return Err(Limits::exceeded_adjustable(Limit::Entries, "archive entries", limits.entries));
        }
        let path = SafePath::parse_entry(&entry.path)?;
        path.kind()?;
        if path.as_bytes().split(|&b| b == b'/').count() > limits.depth {
            return Err(Limits::exceeded_adjustable(Limit::Depth, "components of a path", limits.depth as u64));
        }
        if let EntryKind::HardLink(target) = &entry.kind {
            SafePath::parse(target)?;
        }
    }
    if count == 0 {
        return Err(Error::new(ErrorKind::Unsafe, "the archive has no entry"));
    }
    let unreadable = |e: io::Error| Error::through_read(e, |e| Error::disk("read", "the archive", e));
    tar.drain(&mut vec![0; BUFFER]).map_err(unreadable)?;
    let proof = tar.finish()?;
    Ok(CheckedLayer { compression, diff_id: *proof.digest() })
}
