//! The story: a name is resolved to a manifest for this platform, its config is checked against it, and its layers
//! are fetched into the store, one after the other. Start reading here.

use crate::convert;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::host::{self, Accounts};
use crate::image::config::Config;
use crate::image::manifest::{self, Artifact, Descriptor, Document, Manifest};
use crate::image::media_type;
use crate::image::platform::Platform;
use crate::image::reference::Reference;
use crate::image::schema1::{self, Schema1};
use crate::limits::Limits;
use crate::local::Image;
use crate::options::Options;
use crate::patience::Patience;
use crate::progress::{Event, Layer, LayerState, Progress};
use crate::registry::{self, Body, Connections, Repository};
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
    pub(crate) options: Options,
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
    pub(crate) content: Content,
    /// Whether an index said that it is for this platform.
    is_chosen: bool,
    pub(crate) repository: Repository<'a>,
    progress: &'a dyn Progress,
}

/// What a manifest is of.
#[derive(Clone)]
pub(crate) enum Content {
    Image(Manifest),
    /// An image whose manifest and config have to be made.
    Schema1(Schema1),
    Artifact(Artifact),
}

/// What a fetch of config and layers came to.
struct Fetched {
    platform: Platform,
    layers: usize,
    /// The manifest as the store names it: of OCI's media types.
    manifest: Descriptor,
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
    pub(crate) fn open<'a>(&'a self, name: &Reference, progress: &'a dyn Progress) -> Result<Repository<'a>> {
        let credentials = match &self.options.credentials {
            Some(given) => Some(given.clone()),
            None => self.accounts.find(name, progress)?,
        };
        Repository::open(&self.connections, name, credentials, progress)
    }

    pub(crate) fn resolve_inner<'a>(
        &'a self,
        name: &Reference,
        known: Option<&Store>,
        progress: &'a dyn Progress,
    ) -> Result<Resolved<'a>> {
        let limits = self.options.bounds();
        let mut repository = self.open(name, progress)?;
        let answer = self.patience(progress).with(|| repository.manifest(&name.selector()))?;
        if schema1::is_schema_1(&answer.bytes, &answer.content_type) {
            return self.resolve_schema1(name, answer, repository, known, progress);
        }
        let digest = proven_digest(name, &answer.bytes)?;
        let (mut document, mut media_type) = Document::parse(&answer.bytes, &answer.content_type, None, limits)?;
        let mut bytes = answer.bytes;
        let mut descriptor = Descriptor { media_type: media_type.clone(), digest, size: bytes.len() as u64 };
        let mut is_chosen = false;
        for depth in 0.. {
            let content = match document {
                Document::Manifest(manifest) => Content::Image(manifest),
                Document::Artifact(artifact) => Content::Artifact(artifact),
                Document::Index(_) if depth == limits.index_depth => break,
                Document::Index(index) => {
                    (descriptor, is_chosen) = index.choose(&self.platform)?;
                    let content_type;
                    (bytes, content_type) = self.document_of(&descriptor, &mut repository, known, progress)?;
                    let expected = Some(descriptor.media_type.as_str());
                    (document, media_type) = Document::parse(&bytes, &content_type, expected, limits)?;
                    descriptor.media_type.clone_from(&media_type);
                    continue;
                }
            };
            let name = name.clone();
            return Ok(Resolved { name, digest, descriptor, bytes, content, is_chosen, repository, progress });
        }
        Err(Limits::exceeded("indexes within each other", limits.index_depth))
    }

    /// Schema 1: what was made of it before, where that is known, else what it says itself.
    fn resolve_schema1<'a>(
        &self,
        name: &Reference,
        answer: registry::Manifest,
        repository: Repository<'a>,
        known: Option<&Store>,
        progress: &'a dyn Progress,
    ) -> Result<Resolved<'a>> {
        let limits = self.options.bounds();
        let payload = schema1::payload(&answer.bytes)?;
        let digest = proven_digest(name, &payload)?;
        progress.report(Event::Note(
            "this image has a manifest of Docker's schema 1, which is deprecated: push it anew with a current tool",
        ));
        let schema1 = Schema1::parse(&payload, limits)?;
        let name = name.clone();
        if let Some(made) = known.and_then(|store| convert::made_before(store, &digest, limits)) {
            let (descriptor, bytes, content) = (made.descriptor, made.bytes, Content::Image(made.manifest));
            return Ok(Resolved { name, digest, descriptor, bytes, content, is_chosen: false, repository, progress });
        }
        let content = Content::Schema1(schema1);
        let descriptor =
            Descriptor { media_type: media_type::essence(&answer.content_type), digest, size: payload.len() as u64 };
        let bytes = answer.bytes;
        Ok(Resolved { name, digest, descriptor, bytes, content, is_chosen: false, repository, progress })
    }

    /// A manifest or index by digest, from the store or the registry, verified.
    fn document_of(
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
        let fetched = match resolved.content.clone() {
            Content::Image(manifest) => self.fetch_image(&mut resolved, &manifest, store)?,
            Content::Schema1(schema1) => self.fetch_schema1(&mut resolved, &schema1, store)?,
            Content::Artifact(artifact) => return Err(artifact.is_no_image(&resolved.name.familiar())),
        };
        let is_fetched = fetched.layers > 0;
        let entry = resolved.entry(fetched);
        let is_new = is_fetched || before.is_none_or(|before| !is_same(&before, &entry));
        if is_new {
            store.name(&entry)?;
        }
        Ok(Pulled { image: Image::load(store, entry, self.options.bounds())?, is_new })
    }

    fn fetch_image(&self, resolved: &mut Resolved<'_>, manifest: &Manifest, store: &Store) -> Result<Fetched> {
        store.create()?;
        let config_bytes = self.config(resolved, &manifest.config, store)?;
        let platform = Config::parse(&config_bytes, manifest)?.platform;
        self.check_platform(&platform, resolved)?;
        let layers = self.fetch_layers(resolved, manifest, store)?;
        store.put(&manifest.config, &config_bytes, &self.options.cancel)?;
        // What the registry has is kept as it came, so that it need not be asked for it again.
        store.put(&resolved.descriptor, &resolved.bytes, &self.options.cancel)?;
        let named = match resolved.descriptor.media_type == media_type::OCI_MANIFEST {
            true => resolved.descriptor.clone(),
            false => {
                let (descriptor, bytes) = manifest.to_oci();
                store.put(&descriptor, &bytes, &self.options.cancel)?;
                descriptor
            }
        };
        Ok(Fetched { platform, layers, manifest: named })
    }

    /// Schema 1 tells neither sizes nor diff_ids: the layers come first, and from them its documents are made.
    fn fetch_schema1(&self, resolved: &mut Resolved<'_>, schema1: &Schema1, store: &Store) -> Result<Fetched> {
        self.check_platform(&schema1.platform, resolved)?;
        store.create()?;
        let (total, mut blobs, mut layers) = (schema1.layers.len(), Vec::new(), 0);
        for (index, digest) in schema1.layers.iter().enumerate() {
            let known = store.size(digest)?;
            let mut layer = Layer { index, total, digest: *digest, size: known.unwrap_or(0) };
            let state = if known.is_some() { LayerState::Exists } else { LayerState::Waiting };
            resolved.progress.report(Event::Layer { layer, state });
            if known.is_none() {
                layer.size = self.fetch_unmeasured(resolved, store, layer).map_err(|e| e.context(shown(&layer)))?;
                layers += 1;
            }
            blobs.push((*digest, layer.size));
        }
        let made = convert::make(schema1, &blobs, store, (self.options.bounds(), &self.options.cancel))?;
        (resolved.descriptor, resolved.bytes) = (made.descriptor, made.bytes);
        Ok(Fetched { platform: schema1.platform.clone(), layers, manifest: resolved.descriptor.clone() })
    }

    /// Fetches a layer whose size only the answer itself tells; one that does not is read twice.
    fn fetch_unmeasured(&self, resolved: &mut Resolved<'_>, store: &Store, layer: Layer) -> Result<u64> {
        let limit = self.options.bounds().unpacked;
        let unmeasured = Descriptor { media_type: String::new(), digest: layer.digest, size: 0 };
        let (size, body) = self.patience(resolved.progress).with(|| {
            let (body, _) = resolved.repository.blob(&unmeasured, 0)?;
            match body.length() {
                Some(size) if size > limit => Err(Limits::exceeded("bytes of layers", limit)),
                Some(size) => Ok((size, Some(body))),
                None => self.count(body, layer.digest, limit).map(|size| (size, None)),
            }
        })?;
        let blob = Descriptor { media_type: String::new(), digest: layer.digest, size };
        self.fetch_layer(resolved, store, Layer { size, ..layer }, (&blob, body))?;
        Ok(size)
    }

    /// Reads all of a body, to know how much it is.
    fn count(&self, body: Body, digest: Digest, limit: u64) -> Result<u64> {
        let size = Size::AtMost(limit, "bytes of layers");
        let mut body = Verified::new(body, digest, size, self.options.cancel.clone());
        let drained = body.drain(&mut vec![0; 16 << 10]);
        drained.map_err(|e| Error::through_read(e, |e| Error::new(ErrorKind::Network, e.to_string())))?;
        Ok(body.count())
    }

    fn config(&self, resolved: &mut Resolved<'_>, descriptor: &Descriptor, store: &Store) -> Result<Vec<u8>> {
        if let Ok(bytes) = store.document(descriptor, self.options.bounds().document) {
            return Ok(bytes);
        }
        let fetched = self.patience(resolved.progress).with(|| {
            let (body, _) = resolved.repository.blob(descriptor, 0)?;
            self.verify(descriptor, body)
        });
        fetched.map_err(|e| e.context("config"))
    }

    /// A manifest that no index calls fitting may be for another machine. Where a platform was asked for that is an
    /// error, as with Docker.
    fn check_platform(&self, platform: &Platform, resolved: &Resolved<'_>) -> Result<()> {
        if resolved.is_chosen || platform.os().is_empty() || self.platform.rank(platform).is_some() {
            return Ok(());
        }
        let text = format!("the image is for {platform} and not for {}", self.platform);
        match self.options.platform {
            Some(_) => Err(Error::new(ErrorKind::Unsupported, text)),
            None => {
                resolved.progress.report(Event::Note(&text));
                Ok(())
            }
        }
    }

    /// Fetches the layers that the store lacks, in order, and tells how many those were.
    fn fetch_layers(&self, resolved: &mut Resolved<'_>, manifest: &Manifest, store: &Store) -> Result<usize> {
        let layers = layers(manifest);
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
            self.fetch_layer(resolved, store, *layer, (descriptor, None)).map_err(|e| e.context(shown(layer)))?;
        }
        Ok(missing.len())
    }

    /// Fetches one layer, from a body that is on its way already if there is one.
    fn fetch_layer(
        &self,
        resolved: &mut Resolved<'_>,
        store: &Store,
        layer: Layer,
        (blob, mut body): (&Descriptor, Option<Body>),
    ) -> Result<()> {
        let progress = resolved.progress;
        let Some(mut ingest) = store.ingest(blob, &self.options.cancel)? else {
            progress.report(Event::Layer { layer, state: LayerState::Exists });
            return Ok(());
        };
        let mut patience = self.patience(progress);
        let (mut is_resumed, mut was_afresh) = (ingest.offset() > 0, false);
        loop {
            let before = ingest.offset();
            let blob = (blob, body.take());
            let error = match self.fetch_rest(&mut resolved.repository, &mut ingest, layer, blob, progress) {
                Ok(()) => break,
                Err(error) => error,
            };
            if error.kind() == ErrorKind::Mismatch && is_resumed && !was_afresh {
                // What was there from before may be what is wrong; what comes now is proven from its first byte.
                was_afresh = true;
                progress.report(Event::Note(&format!("{}: starting afresh: {error}", layer.digest.short())));
                continue;
            }
            let gained = ingest.offset().saturating_sub(before);
            is_resumed |= gained > 0;
            patience.gain(gained, layer.size - before);
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
        (blob, body): (&Descriptor, Option<Body>),
        progress: &dyn Progress,
    ) -> Result<()> {
        let cancel = &self.options.cancel;
        cancel.check()?;
        let report = &mut |count| progress.report(Event::Layer { layer, state: LayerState::Downloading(count) });
        let offset = ingest.offset();
        if offset == blob.size {
            return ingest.append(std::io::empty(), offset, cancel, report);
        }
        let (body, start) = body.map_or_else(|| repository.blob(blob, offset), |body| Ok((body, 0)))?;
        ingest.append(body, start, cancel, report)
    }

    pub(crate) fn patience<'a>(&'a self, progress: &'a dyn Progress) -> Patience<'a> {
        Patience::new(self.options.retries.0, &self.options.cancel, progress)
    }

    /// Reads all of a small body and proves that it is what the descriptor promises.
    fn verify(&self, descriptor: &Descriptor, body: impl std::io::Read) -> Result<Vec<u8>> {
        let limit = self.options.bounds().document;
        let size = Size::Exactly(descriptor.size);
        let body = Verified::new(body, descriptor.digest, size, self.options.cancel.clone());
        body.document(limit, |e| Error::new(ErrorKind::Network, e.to_string()))
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

    /// The manifest for the platform, byte for byte as the registry has it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of config and layers together; of an artifact's blobs. 0 where a manifest of schema 1 does not tell.
    pub fn size(&self) -> u64 {
        match &self.content {
            Content::Image(manifest) => manifest.size(),
            Content::Schema1(_) => 0,
            Content::Artifact(artifact) => artifact.size(),
        }
    }

    fn entry(&self, fetched: Fetched) -> Entry {
        let Fetched { platform, manifest, .. } = fetched;
        let source = self.descriptor.digest;
        Entry { name: self.name.to_string(), resolved: self.digest, source, manifest, platform }
    }
}

fn layers(manifest: &Manifest) -> Vec<(Layer, Descriptor)> {
    let total = manifest.layers.len();
    let place = |(index, layer): (usize, &manifest::Layer)| {
        let blob = layer.blob.clone();
        (Layer { index, total, digest: blob.digest, size: blob.size }, blob)
    };
    manifest.layers.iter().enumerate().map(place).collect()
}

fn shown(layer: &Layer) -> String {
    format!("layer {} of {} ({})", layer.index + 1, layer.total, layer.digest.short())
}

/// The digest of what a tag gave, or the proof that a pinned digest gave just that.
pub(crate) fn proven_digest(name: &Reference, bytes: &[u8]) -> Result<Digest> {
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
