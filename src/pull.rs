//! The story: a name is resolved to a manifest for this platform, its config is checked against it, and its layers
//! are fetched into the store, one after the other. Start reading here.

use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::host::{self, Accounts};
use crate::image::config::Config;
use crate::image::manifest::{self, Descriptor, Document, Manifest};
use crate::image::media_type;
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::limits::{Limits, read_capped, within};
use crate::local::Image;
use crate::options::Options;
use crate::patience::Patience;
use crate::progress::{Event, Layer, LayerState, Progress};
use crate::registry::{Connections, Repository};
use crate::store::{Entry, Ingest, Store};
use crate::verify::{Size, Verified};

/// Pulls images from registries. One client keeps its connections; its methods may be called many times.
///
/// ```no_run
/// use pullet::{Client, Options, Silent, Store};
///
/// let client = Client::new(Options::new())?;
/// let store = Store::open("/var/lib/pullet");
/// let pulled = client.pull(&"alpine:3.20".parse()?, &store, &Silent)?;
/// println!("{} is {}", pulled.image.name(), pulled.image.digest());
/// # Ok::<(), pullet::Error>(())
/// ```
pub struct Client {
    options: Options,
    platform: Platform,
    pub(crate) accounts: Accounts,
    pub(crate) connections: Connections,
}

/// What a name means at its registry, for one platform. Holds the session, so that a fetch goes on with its token.
pub struct Resolved<'a> {
    name: Reference,
    digest: Digest,
    descriptor: Descriptor,
    bytes: Vec<u8>,
    manifest: Manifest,
    /// Whether an index said that it is for this platform.
    is_chosen: bool,
    repository: Repository<'a>,
    progress: &'a dyn Progress,
}

/// The result of a pull.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pulled {
    /// The image, in the store.
    pub image: Image,
    /// Whether the store was changed; `false` says that the image was up to date.
    pub is_new: bool,
}

impl Client {
    /// Fails with [`ErrorKind::Usage`] if the options contradict themselves; never replaces a bad one by its default.
    /// What the machine says of proxies and certificates is obeyed: the environment is read here, files when they are
    /// needed.
    pub fn new(mut options: Options) -> Result<Self> {
        let platform = options.platform.clone().unwrap_or_else(host::platform);
        let connections = Connections::new(options.registry())?;
        let accounts = Accounts::new(options.authfile.clone());
        Ok(Self { options, platform, accounts, connections })
    }

    /// Resolves `name` and fetches what `store` lacks of it.
    pub fn pull(&self, name: &Reference, store: &Store, progress: &dyn Progress) -> Result<Pulled> {
        let label = name.digest().map_or_else(|| name.selector(), Digest::to_string);
        progress.report(Event::Pulling { label: &label, path: name.path() });
        let resolved = self.resolve(name, Some(store), progress)?;
        self.fetch(resolved, store)
    }

    /// Asks the registry what `name` is: one request, and one more for each index on the way. Documents that `known`
    /// has are not fetched again. Nothing is written.
    pub fn resolve<'a>(
        &'a self,
        name: &Reference,
        known: Option<&Store>,
        progress: &'a dyn Progress,
    ) -> Result<Resolved<'a>> {
        self.resolve_inner(name, known, progress).map_err(|e| e.context(format!("pull {name}")))
    }

    /// Fetches what `store` lacks of an image: its config, then its layers in order, each verified before it has a
    /// name. Nothing is named in the store's index before all of it is there.
    pub fn fetch(&self, resolved: Resolved<'_>, store: &Store) -> Result<Pulled> {
        let name = resolved.name.clone();
        self.fetch_inner(resolved, store).map_err(|e| e.context(format!("pull {name}")))
    }

    /// All tags of a repository.
    pub fn tags(&self, repository: &Reference, progress: &dyn Progress) -> Result<Vec<String>> {
        let tags =
            self.open(repository, progress).and_then(|mut session| self.patience(progress).with(|| session.tags()));
        tags.map_err(|e| e.context(format!("list tags of {}", repository.repository())))
    }

    /// A session with the credentials that were given, else with those that the machine's configuration has.
    fn open<'a>(&'a self, name: &Reference, progress: &'a dyn Progress) -> Result<Repository<'a>> {
        let credentials = match &self.options.credentials {
            Some(given) => Some(given.clone()),
            None => self.accounts.find(name, progress)?,
        };
        Repository::open(&self.connections, name, credentials, progress)
    }

    fn resolve_inner<'a>(
        &'a self,
        name: &Reference,
        known: Option<&Store>,
        progress: &'a dyn Progress,
    ) -> Result<Resolved<'a>> {
        let limits = self.options.bounds();
        let mut repository = self.open(name, progress)?;
        let answer = self.patience(progress).with(|| repository.manifest(&name.selector()))?;
        let digest = proven_digest(name, &answer.bytes)?;
        let (mut document, mut media_type) = Document::parse(&answer.bytes, &answer.content_type, None, limits)?;
        let mut bytes = answer.bytes;
        let mut descriptor = Descriptor { media_type: media_type.clone(), digest, size: bytes.len() as u64 };
        let mut is_chosen = false;
        for depth in 0.. {
            let index = match document {
                Document::Manifest(manifest) => {
                    let name = name.clone();
                    return Ok(Resolved { name, digest, descriptor, bytes, manifest, is_chosen, repository, progress });
                }
                Document::Index(_) if depth == limits.index_depth => break,
                Document::Index(index) => index,
            };
            (descriptor, is_chosen) = index.choose(&self.platform)?;
            let content_type;
            (bytes, content_type) = self.document(&descriptor, &mut repository, known, progress)?;
            let expected = Some(descriptor.media_type.as_str());
            (document, media_type) = Document::parse(&bytes, &content_type, expected, limits)?;
            descriptor.media_type.clone_from(&media_type);
        }
        Err(Limits::exceeded("indexes within each other", limits.index_depth))
    }

    /// A manifest or index by digest, from the store or the registry, verified.
    fn document(
        &self,
        descriptor: &Descriptor,
        repository: &mut Repository<'_>,
        known: Option<&Store>,
        progress: &dyn Progress,
    ) -> Result<(Vec<u8>, String)> {
        let limit = self.options.bounds().document;
        if let Some(bytes) = known.and_then(|store| store.document(descriptor, limit).ok()) {
            return Ok((bytes, String::new()));
        }
        let answer = self.patience(progress).with(|| repository.manifest(&descriptor.digest.to_string()))?;
        let bytes = self.verify(descriptor, answer.bytes.as_slice())?;
        Ok((bytes, answer.content_type))
    }

    fn fetch_inner(&self, mut resolved: Resolved<'_>, store: &Store) -> Result<Pulled> {
        let before = store.entries()?.into_iter().find(|entry| entry.name == resolved.name.to_string());
        store.create()?;
        let config_bytes = self.config(&mut resolved, store)?;
        let config = Config::parse(&config_bytes, &resolved.manifest)?;
        self.check_platform(&config, &resolved)?;
        let fetched = self.fetch_layers(&mut resolved, store)?;
        store.put(&resolved.manifest.config, &config_bytes)?;
        // What the registry has is kept as it came, so that it need not be asked for it again.
        store.put(&resolved.descriptor, &resolved.bytes)?;
        let (manifest, bytes) = resolved.stored();
        store.put(&manifest, &bytes)?;
        let entry = resolved.entry(manifest, &config);
        let is_new = fetched > 0 || before.is_none_or(|before| !is_same(&before, &entry));
        if is_new {
            store.name(&entry)?;
        }
        Ok(Pulled { image: Image::load(store, entry, self.options.bounds())?, is_new })
    }

    fn config(&self, resolved: &mut Resolved<'_>, store: &Store) -> Result<Vec<u8>> {
        let descriptor = resolved.manifest.config.clone();
        if let Ok(bytes) = store.document(&descriptor, self.options.bounds().document) {
            return Ok(bytes);
        }
        let fetched = self.patience(resolved.progress).with(|| {
            let (body, _) = resolved.repository.blob(&descriptor, 0)?;
            self.verify(&descriptor, body)
        });
        fetched.map_err(|e| e.context("config"))
    }

    /// A manifest that no index calls fitting may be for another machine. Where a platform was asked for that is an
    /// error, as with Docker.
    fn check_platform(&self, config: &Config, resolved: &Resolved<'_>) -> Result<()> {
        if resolved.is_chosen || config.platform.os().is_empty() || self.platform.rank(&config.platform).is_some() {
            return Ok(());
        }
        let text = format!("the image is for {} and not for {}", config.platform, self.platform);
        match self.options.platform {
            Some(_) => Err(Error::new(ErrorKind::Unsupported, text)),
            None => {
                resolved.progress.report(Event::Note(&text));
                Ok(())
            }
        }
    }

    /// Fetches the layers that the store lacks, in order, and tells how many those were.
    fn fetch_layers(&self, resolved: &mut Resolved<'_>, store: &Store) -> Result<usize> {
        let layers = resolved.layers();
        let mut missing = Vec::new();
        for (layer, descriptor) in &layers {
            let is_repeated = missing.iter().any(|(other, _): &(Layer, Descriptor)| other.digest == layer.digest);
            let state = match is_repeated || store.contains(descriptor)? {
                true => LayerState::Exists,
                false => LayerState::Waiting,
            };
            resolved.progress.report(Event::Layer { layer: *layer, state });
            if state == LayerState::Waiting {
                missing.push((*layer, descriptor.clone()));
            }
        }
        for (layer, descriptor) in &missing {
            self.fetch_layer(resolved, store, *layer, descriptor).map_err(|e| {
                e.context(format!("layer {} of {} ({})", layer.index + 1, layer.total, layer.digest.short()))
            })?;
        }
        Ok(missing.len())
    }

    fn fetch_layer(&self, resolved: &mut Resolved<'_>, store: &Store, layer: Layer, blob: &Descriptor) -> Result<()> {
        let progress = resolved.progress;
        let Some(mut ingest) = store.ingest(blob, &self.options.cancel)? else {
            progress.report(Event::Layer { layer, state: LayerState::Exists });
            return Ok(());
        };
        let mut patience = self.patience(progress);
        let mut may_start_afresh = ingest.offset() > 0;
        loop {
            let before = ingest.offset();
            let error = match self.fetch_rest(&mut resolved.repository, &mut ingest, layer, blob, progress) {
                Ok(()) => break,
                Err(error) => error,
            };
            if error.kind() == ErrorKind::Mismatch && may_start_afresh {
                // What was there from before may be what is wrong; what comes now is proven from its first byte.
                may_start_afresh = false;
                progress.report(Event::Note(&format!("{}: starting afresh: {error}", layer.digest.short())));
                continue;
            }
            let gained = ingest.offset().saturating_sub(before);
            may_start_afresh |= gained > 0;
            patience.gain(gained, blob.size - before);
            patience.bear(error)?;
        }
        ingest.commit()?;
        progress.report(Event::Layer { layer, state: LayerState::Complete });
        Ok(())
    }

    /// Fetches what is missing of a blob, and proves the whole.
    fn fetch_rest(
        &self,
        repository: &mut Repository<'_>,
        ingest: &mut Ingest,
        layer: Layer,
        blob: &Descriptor,
        progress: &dyn Progress,
    ) -> Result<()> {
        let cancel = &self.options.cancel;
        cancel.check()?;
        let report = &mut |count| progress.report(Event::Layer { layer, state: LayerState::Downloading(count) });
        let offset = ingest.offset();
        if offset == blob.size {
            return ingest.append(std::io::empty(), offset, cancel, report);
        }
        let (body, start) = repository.blob(blob, offset)?;
        ingest.append(body, start, cancel, report)
    }

    fn patience<'a>(&'a self, progress: &'a dyn Progress) -> Patience<'a> {
        Patience::new(self.options.retries.0, &self.options.cancel, progress)
    }

    /// Reads all of a small body and proves that it is what the descriptor promises.
    fn verify(&self, descriptor: &Descriptor, body: impl std::io::Read) -> Result<Vec<u8>> {
        let limit = self.options.bounds().document;
        let size = Size::Exactly(descriptor.size);
        let mut body = Verified::new(body, descriptor.digest, size, self.options.cancel.clone());
        let bytes = read_capped(&mut body, limit)
            .map_err(|e| Error::through_read(e, |e| Error::new(ErrorKind::Network, e.to_string())))?;
        let bytes = within(bytes, "bytes of document", limit)?;
        body.finish()?;
        Ok(bytes)
    }
}

impl Resolved<'_> {
    /// The digest that the name resolved to: that of an index, or the manifest's own.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The manifest for the platform.
    pub fn manifest(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Bytes of config and layers together.
    pub fn size(&self) -> u64 {
        self.manifest.size()
    }

    fn layers(&self) -> Vec<(Layer, Descriptor)> {
        let total = self.manifest.layers.len();
        let place = |(index, layer): (usize, &manifest::Layer)| {
            let blob = layer.blob.clone();
            (Layer { index, total, digest: blob.digest, size: blob.size }, blob)
        };
        self.manifest.layers.iter().enumerate().map(place).collect()
    }

    /// The manifest as the store names it: of OCI's media types.
    fn stored(&self) -> (Descriptor, Vec<u8>) {
        match self.descriptor.media_type == media_type::OCI_MANIFEST {
            true => (self.descriptor.clone(), self.bytes.clone()),
            false => self.manifest.to_oci(),
        }
    }

    fn entry(&self, manifest: Descriptor, config: &Config) -> Entry {
        Entry {
            name: self.name.to_string(),
            resolved: self.digest,
            source: self.descriptor.digest,
            manifest,
            platform: config.platform.clone(),
        }
    }
}

/// The digest of what a tag gave, or the proof that a pinned digest gave just that.
fn proven_digest(name: &Reference, bytes: &[u8]) -> Result<Digest> {
    match name.digest() {
        None => Ok(Digest::sha256(bytes)),
        Some(digest) if digest.matches(bytes) => Ok(*digest),
        Some(digest) => {
            let got = Digest::sha256(bytes);
            Err(Error::new(ErrorKind::Mismatch, format!("digest mismatch: expected {digest}, got {got}")))
        }
    }
}

fn is_same(before: &Entry, entry: &Entry) -> bool {
    (before.manifest.digest, before.resolved) == (entry.manifest.digest, entry.resolved)
}
