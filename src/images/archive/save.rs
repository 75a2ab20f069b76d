//! Saves images of the store as an archive, in one pass and in fixed memory. The same images give the same bytes.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::path::Path;

use super::members::{INDEX, LAYOUT};
use crate::advice::Advice;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::images::assembly::explain;
use crate::images::chain::{documents_below, read_document};
use crate::images::image::Image;
use crate::images::layers::{ImageLayer, image_layers};
use crate::images::selector::Selector;
use crate::layer::{Decoder, EntryKind, FileContent, TarEntry, TarWriter, Time};
use crate::limits::Limits;
use crate::oci::descriptor::Descriptor;
use crate::oci::docker_archive::{
    ListedImage, MANIFEST, REPOSITORIES, config_name, layer_name, manifest_text, repositories_text,
};
use crate::oci::media_type::Compression;
use crate::oci::reference::Reference;
use crate::store::{ImageEntry, Store, index_text, linked_blobs};
use crate::target::NewFile;
use crate::verify::{Size, Verified, filled};

const BUFFER: usize = 64 << 10;
/// The mode of all members: nobody changes an archive in place.
const MODE: u32 = 0o444;

/// The format of an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArchiveFormat {
    /// The format of `docker save`. Layers are uncompressed, because not every version of every tool that reads the format
    /// accepts others. Manifests and signatures are not part of it.
    #[default]
    Docker,
    /// An OCI image layout in a tar. It has the blobs as they are in the store, with the documents and signatures that belong
    /// to an image.
    Oci,
}

/// Options of [`Store::save`].
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct SaveOptions {
    format: ArchiveFormat,
    cancel: Cancel,
}

impl SaveOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The format. Default: [`ArchiveFormat::Docker`].
    pub fn format(self, format: ArchiveFormat) -> Self {
        Self { format, ..self }
    }

    /// A flag that stops the work. Default: a flag that is never raised.
    pub fn cancel(self, cancel: Cancel) -> Self {
        Self { cancel, ..self }
    }
}

impl Store {
    /// Writes images to `out` as one archive; blobs that they share are written once. Every blob is verified while it is
    /// written. A name means the image for this machine's platform; an image that its ID selects has no name in the archive.
    /// Nothing is written if an image is missing. If an error follows later, the archive is incomplete.
    ///
    /// ```no_run
    /// use pullet::{ArchiveFormat, SaveOptions, Store};
    ///
    /// let store = Store::open("/var/lib/pullet");
    /// let mut file = std::fs::File::create("app.tar").unwrap();
    /// store.save(&["app:1".parse()?], &SaveOptions::new().format(ArchiveFormat::Oci), &mut file)?;
    /// # Ok::<(), pullet::Error>(())
    /// ```
    pub fn save(&self, selectors: &[Selector], options: &SaveOptions, out: &mut dyn Write) -> Result<()> {
        // The names may be moved to other images meanwhile.
        let _kept = self.keep();
        let images = self.select_all(selectors)?;
        let mut buffered = io::BufWriter::with_capacity(BUFFER, out);
        let tar = TarWriter::new(&mut buffered);
        let source = Source { store: self, cancel: &options.cancel, limits: Limits::default() };
        let mut saving = Saving { source, tar };
        match options.format {
            ArchiveFormat::Docker => saving.write_docker(&images)?,
            ArchiveFormat::Oci => saving.write_oci(&images)?,
        }
        saving.tar.finish()
    }

    /// Saves images to a file, which appears whole or not at all, also in place of an older file. Only its owner can read a new
    /// file. A device or a pipe is written directly. See [`save`](Self::save).
    pub fn save_file(&self, selectors: &[Selector], options: &SaveOptions, path: &Path) -> Result<()> {
        let mut file = NewFile::begin(path)?;
        self.save(selectors, options, &mut file)?;
        file.publish()
    }

    /// The images that selectors mean, each once, with all the names by which they were selected.
    fn select_all(&self, selectors: &[Selector]) -> Result<Vec<SavedImage>> {
        let mut images: Vec<SavedImage> = Vec::new();
        for selector in selectors {
            let context = |e: Error| e.context(format!("save {selector}"));
            let selected = self.selected(selector).map_err(context)?;
            let image = self.select(selector).map_err(context)?;
            if !image.is_complete().map_err(context)? {
                let text = "the store lacks a layer of it";
                let error = Error::new(ErrorKind::NotFound, text).with_advice(Advice::Pull(image.name().to_owned()));
                return Err(context(error));
            }
            let name = if selected.is_by_id { None } else { image.name().parse::<Reference>().ok() };
            let entry = selected.entries.into_iter().find(|entry| entry.names.iter().any(|name| name == image.name()));
            let known = images.iter_mut().find(|known| known.image.manifest_digest() == image.manifest_digest());
            let saved = match known {
                Some(known) => known,
                None => {
                    images.push(SavedImage { image, entry: entry.clone(), names: Vec::new() });
                    let Some(last) = images.last_mut() else { continue };
                    last
                }
            };
            let is_new = |name: &Reference| !saved.names.contains(name);
            let name = name.filter(is_new);
            saved.names.extend(name);
        }
        Ok(images)
    }
}

/// An image to save.
struct SavedImage {
    image: Image,
    /// Its entry in the index of the store, whose claims are kept.
    entry: Option<ImageEntry>,
    names: Vec<Reference>,
}

struct Saving<'a> {
    source: Source<'a>,
    tar: TarWriter<'a>,
}

/// Where the content of an archive comes from.
struct Source<'a> {
    store: &'a Store,
    cancel: &'a Cancel,
    limits: Limits,
}

impl Saving<'_> {
    fn write_docker(&mut self, images: &[SavedImage]) -> Result<()> {
        let mut written = HashSet::new();
        let mut listed: Vec<ListedImage> = Vec::new();
        for SavedImage { image, names, .. } in images {
            for layer in image_layers(image.manifest(), image.config()) {
                if written.insert(layer.diff_id) {
                    self.write_layer(&layer).map_err(|e| e.context(layer.layer.label()))?;
                }
            }
            let config = &image.manifest().config;
            // Manifests that differ only in the compression of layers have the same config.
            if let Some(known) = listed.iter_mut().find(|known| known.id == config.digest) {
                known.names.extend(names.iter().cloned());
                continue;
            }
            let bytes = self.source.store.document(config, self.source.limits.document)?;
            self.write_file(&config_name(&config.digest), &bytes)?;
            let (id, diff_ids) = (config.digest, image.config().diff_ids.clone());
            listed.push(ListedImage { id, diff_ids, names: names.clone() });
        }
        self.write_file(MANIFEST, manifest_text(&listed).as_bytes())?;
        self.write_file(REPOSITORIES, repositories_text(&listed).as_bytes())
    }

    /// Writes a layer uncompressed. Its size must be known first, so a compressed one is read twice.
    fn write_layer(&mut self, layer: &ImageLayer<'_>) -> Result<()> {
        let size = match layer.descriptor.compression {
            Compression::None => layer.descriptor.blob.size,
            Compression::Gzip | Compression::Zstd => {
                let limit = Size::AtMost(self.source.limits.unpacked, "bytes of unpacked layers");
                self.source.decode(layer, limit, &mut |_| Ok(()))?
            }
        };
        let tar = &mut self.tar;
        tar.entry(&member(layer_name(&layer.diff_id), size))?;
        self.source.decode(layer, Size::Exactly(size), &mut |bytes| tar.data(bytes)).map(drop)
    }

    fn write_oci(&mut self, images: &[SavedImage]) -> Result<()> {
        let mut plan = Plan::default();
        for image in images {
            self.source.plan(image, &mut plan)?;
        }
        self.write_file(LAYOUT, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        self.write_file(INDEX, index_text(&plan.entries).as_bytes())?;
        for folder in ["blobs/", "blobs/sha256/"] {
            let entry = TarEntry { kind: EntryKind::Directory, mode: 0o755, ..member(folder.to_owned(), 0) };
            self.tar.entry(&entry)?;
        }
        for blob in &plan.blobs {
            let tar = &mut self.tar;
            tar.entry(&member(format!("blobs/{}/{}", blob.digest.algorithm(), blob.digest.hex()), blob.size))?;
            let mut file = self.source.store.blob(blob)?;
            let verified =
                self.source.copy(&mut file, blob.digest, Size::Exactly(blob.size), &mut |bytes| tar.data(bytes));
            verified.map_err(|e| e.with_advice(Advice::RepairStore).context(format!("blob {}", blob.digest)))?;
        }
        Ok(())
    }

    fn write_file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.tar.entry(&member(name.to_owned(), bytes.len() as u64))?;
        self.tar.data(bytes)
    }
}

/// The content of an OCI archive.
#[derive(Default)]
struct Plan {
    entries: Vec<ImageEntry>,
    /// Each blob once.
    blobs: Vec<Descriptor>,
    known: HashSet<Digest>,
}

impl Plan {
    fn add(&mut self, blob: &Descriptor) {
        if self.known.insert(blob.digest) {
            self.blobs.push(blob.clone());
        }
    }
}

impl Source<'_> {
    /// Adds an image with the documents that led to its manifest, and with its signatures.
    fn plan(&self, saved: &SavedImage, plan: &mut Plan) -> Result<()> {
        let image = &saved.image;
        let manifest = image.descriptor();
        let source = saved.entry.as_ref().map_or(manifest.digest, |entry| entry.source);
        let names: Vec<Vec<String>> = match saved.names.as_slice() {
            [] => vec![Vec::new()],
            names => names.iter().map(|name| vec![name.to_string()]).collect(),
        };
        plan.entries.extend(names.into_iter().map(|names| ImageEntry {
            names,
            subject: None,
            resolved: *image.digest(),
            source,
            manifest: manifest.clone(),
            platform: image.platform().clone(),
        }));
        for claimed in [image.digest(), &source] {
            let read = |digest: &Digest| Ok(read_document(self.store, digest, &self.limits));
            documents_below(claimed, &self.limits, self.cancel, &read)?.iter().for_each(|document| plan.add(document));
        }
        plan.add(manifest);
        plan.add(&image.manifest().config);
        image.manifest().layers.iter().for_each(|layer| plan.add(&layer.blob));
        self.plan_signatures(&[*image.digest(), manifest.digest, source], plan)
    }

    /// Adds the signatures in the store of documents with these digests.
    fn plan_signatures(&self, subjects: &[Digest], plan: &mut Plan) -> Result<()> {
        let signs = |entry: &ImageEntry| entry.signed().is_some_and(|signed| subjects.contains(&signed));
        for entry in self.store.all_entries_where(&signs)? {
            let Some(bytes) = read_document(self.store, &entry.manifest.digest, &self.limits) else { continue };
            for digest in linked_blobs(&bytes).unwrap_or_default().blobs {
                if let Some(size) = self.store.size(&digest)? {
                    plan.add(&Descriptor { media_type: String::new(), digest, size });
                }
            }
            plan.add(&entry.manifest);
            plan.entries.push(ImageEntry { subject: entry.signed(), names: Vec::new(), ..entry });
        }
        Ok(())
    }

    /// Decompresses a layer, verifies its diff_id, and returns its size.
    fn decode(&self, layer: &ImageLayer<'_>, size: Size, write: &mut Sink<'_>) -> Result<u64> {
        let mut file = self.store.blob(&layer.descriptor.blob)?;
        let blob: &mut (dyn Read + Send) = &mut file;
        let mut tar = Decoder::new(blob, layer.descriptor.compression, &self.limits, self.cancel)?;
        let copied = self.copy(&mut tar, layer.diff_id, size, write);
        copied.map_err(|e| explain(e, self.store, layer.layer.digest, self.cancel))
    }

    /// Copies content, verifies its digest, and returns its size.
    fn copy(&self, content: &mut dyn Read, digest: Digest, size: Size, write: &mut Sink<'_>) -> Result<u64> {
        let mut content = Verified::new(content, digest, size, self.cancel.clone());
        let mut buffer = vec![0; BUFFER];
        loop {
            let n =
                content.read(&mut buffer).map_err(|e| Error::through_read(e, |e| Error::disk("read", "blob", e)))?;
            if n == 0 {
                let size = content.count();
                return content.finish().map(|_| size);
            }
            write(filled(&buffer, n)?)?;
        }
    }
}

/// Takes the next bytes.
type Sink<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

/// A regular file that belongs to root and is from 1970.
fn member(name: String, size: u64) -> TarEntry {
    TarEntry {
        path: name.into_bytes(),
        kind: EntryKind::Regular(FileContent { size, extents: None }),
        mode: MODE,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        atime: Time::default(),
        xattrs: Vec::new(),
    }
}
