//! Reads and writes the text of `index.json` piece by piece. Only the text itself is in memory, because a tree of its values
//! takes fifteen times as much. Members and entries of other tools are kept as they are.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::digest::Digest;
use crate::oci::descriptor::Descriptor;
#[cfg(feature = "manage")]
use crate::oci::media_type::OCI_INDEX;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::oci::strict::Object;

/// The annotation with the name of an entry. Holds the full name, because one store holds many repositories.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation with the name that containerd reads.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// The annotation with the digest to which the name resolved, if that is an index and not the manifest itself.
const RESOLVED: &str = "pullet.resolved.digest";
/// The annotation with the digest of the registry's manifest, if the store has it converted to OCI media types.
const SOURCE: &str = "pullet.source.digest";
/// The annotation with the digest of the manifest or index that a signature document without a name signs.
const SUBJECT: &str = "pullet.subject";
/// The annotation `kind` of entries that cosign writes for what is attached to an image (`pkg/oci/layout`).
#[cfg(feature = "manage")]
const COSIGN_ATTACHED: [&str; 2] = ["dev.cosignproject.cosign/sigs", "dev.cosignproject.cosign/atts"];
/// The member with the entries.
const MANIFESTS: &str = "manifests";

/// A manifest, or index, of `index.json`.
#[derive(Clone, Debug)]
pub(crate) struct ImageEntry {
    /// The names in its annotations, the fullest first. An image that lost its name has none, and neither does a signature.
    pub(crate) names: Vec<String>,
    /// The digest that a signature document signs, as an annotation claims. It only decides how long the document is kept.
    pub(crate) subject: Option<Digest>,
    /// The digest to which the name resolved at the registry, as an annotation claims. Prove it before you rely on it.
    pub(crate) resolved: Digest,
    /// The registry's manifest for the platform, as an annotation claims. It differs from `manifest` if that was converted.
    pub(crate) source: Digest,
    pub(crate) manifest: Descriptor,
    pub(crate) platform: Platform,
}

impl ImageEntry {
    /// The name to show.
    pub(crate) fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    /// An entry for a manifest with signatures of `subject`.
    #[cfg(feature = "trust")]
    pub(crate) fn of_signature(manifest: Descriptor, subject: Digest) -> Self {
        Self {
            names: Vec::new(),
            subject: Some(subject),
            resolved: manifest.digest,
            source: manifest.digest,
            manifest,
            platform: Platform::new("", "", ""),
        }
    }

    /// The digest that this entry signs: it has the annotation for that, or a tag that cosign gives to signatures.
    pub(crate) fn signed(&self) -> Option<Digest> {
        let of_name = |name: &String| name.parse::<Reference>().ok()?.signed();
        self.subject.or_else(|| self.names.iter().find_map(of_name))
    }
}

/// A piece of an index.
pub(super) enum Piece<'a> {
    /// A member that is not the list of entries: its name, and the text of its value.
    Member(&'a str, &'a str),
    /// The list of entries begins.
    Entries,
    /// The text of an entry.
    Entry(&'a str),
}

/// Reads an index and calls `visit` for each piece, in order. Fails if the text is not an index; the pieces before the
/// fault were visited then.
pub(super) fn read(text: &[u8], visit: &mut dyn FnMut(Piece<'_>)) -> serde_json::Result<()> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    deserializer.deserialize_map(IndexVisitor { visit })?;
    deserializer.end()
}

/// The text of an index in which `entries` replace the entries of the same names, and those without a name that are equal.
/// They come last, so that the order of the index is the order in which images got their names.
pub(super) fn with_entries(text: &[u8], entries: &[ImageEntry]) -> serde_json::Result<Vec<u8>> {
    let new: Vec<String> = entries.iter().map(|entry| describe(entry).to_string()).collect();
    let mut is_other = |other: &str| !entries.iter().any(|entry| replaces(entry, other));
    edited(text, &mut is_other, &new)
}

fn replaces(entry: &ImageEntry, other: &str) -> bool {
    match entry.names.first() {
        Some(name) => names(other).iter().any(|other| is_same_name(other, name)),
        None => parse_entry(other).is_some_and(|other| is_same_unnamed(entry, &other)),
    }
}

/// The text of an index with the entries that `keep` accepts, and `new` ones after them.
pub(super) fn edited(text: &[u8], keep: &mut dyn FnMut(&str) -> bool, new: &[String]) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() + new.iter().map(String::len).sum::<usize>() + 64);
    out.push(b'{');
    let mut failure = None;
    read(text, &mut |piece| {
        if let Piece::Member(name, value) = piece {
            match serde_json::to_writer(&mut out, name) {
                Ok(()) => {}
                Err(error) => failure = Some(error),
            }
            for part in [":", value, ","] {
                out.extend_from_slice(part.as_bytes());
            }
        }
    })?;
    if let Some(error) = failure {
        return Err(error);
    }
    out.extend_from_slice(b"\"manifests\":[");
    let begin = out.len();
    let mut push = |text: &str| {
        if out.len() > begin {
            out.push(b',');
        }
        out.extend_from_slice(text.as_bytes());
    };
    read(text, &mut |piece| {
        if let Piece::Entry(other) = piece
            && keep(other)
        {
            push(other);
        }
    })?;
    new.iter().for_each(|entry| push(entry));
    out.extend_from_slice(b"]}");
    Ok(out)
}

/// Parses an entry. `None` if its descriptor is malformed.
pub(super) fn parse_entry(text: &str) -> Option<ImageEntry> {
    let mut entry = Object::parse(text.as_bytes()).ok()?;
    let annotations = Annotations::take(&mut entry).ok()?;
    let manifest = Descriptor {
        media_type: entry.take_text("mediaType").ok()??,
        digest: entry.take_text("digest").ok()??.parse().ok()?,
        size: entry.take_number("size").ok()??,
    };
    let mut platform = entry.take_object("platform").ok()?.unwrap_or_default();
    let mut of_platform = |name| platform.take_text(name).map(Option::unwrap_or_default).ok();
    let claimed = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
    Some(ImageEntry {
        resolved: claimed(&annotations.resolved).unwrap_or(manifest.digest),
        source: claimed(&annotations.source).unwrap_or(manifest.digest),
        subject: claimed(&annotations.subject),
        names: annotations.names(),
        manifest,
        platform: Platform::new(&of_platform("os")?, &of_platform("architecture")?, &of_platform("variant")?),
    })
}

/// An entry of the index of another layout, such as one in an archive.
#[cfg(feature = "manage")]
pub(crate) struct ForeignEntry {
    pub(crate) entry: ImageEntry,
    /// Whether `cosign save` wrote it for signatures or attestations of the image next to it.
    pub(crate) is_attached: bool,
}

/// The entries of the index of another layout. The error is a text for people.
#[cfg(feature = "manage")]
pub(crate) fn foreign_entries(text: &[u8], most: usize) -> Result<Vec<ForeignEntry>, String> {
    let (mut entries, mut outcome) = (Vec::new(), Ok(()));
    let read = read(text, &mut |piece| {
        let Piece::Entry(text) = piece else { return };
        let kind = Annotations::of_entry(text).kind;
        let is_attached = kind.is_some_and(|kind| COSIGN_ATTACHED.contains(&kind.as_str()));
        match parse_entry(text) {
            _ if entries.len() == most => outcome = Err(format!("more than {most} entries")),
            Some(entry) => entries.push(ForeignEntry { entry, is_attached }),
            None => outcome = Err("an entry is not a descriptor".to_owned()),
        }
    });
    read.map_err(|e| e.to_string())?;
    outcome.map(|()| entries)
}

/// The text of an index with these entries.
#[cfg(feature = "manage")]
pub(crate) fn index_text(entries: &[ImageEntry]) -> String {
    let entries: Vec<Value> = entries.iter().map(describe).collect();
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries }).to_string()
}

/// The annotations of an entry that matter here.
#[derive(Default)]
struct Annotations {
    ref_name: Option<String>,
    image_name: Option<String>,
    resolved: Option<String>,
    source: Option<String>,
    subject: Option<String>,
    #[cfg(feature = "manage")]
    kind: Option<String>,
}

impl Annotations {
    /// The annotations of an entry of which nothing else counts. There are none if they are malformed.
    fn of_entry(text: &str) -> Self {
        Object::parse(text.as_bytes()).and_then(|mut entry| Self::take(&mut entry)).unwrap_or_default()
    }

    fn take(entry: &mut Object) -> Result<Self, String> {
        let mut members = entry.take_object("annotations")?.unwrap_or_default();
        Ok(Self {
            ref_name: members.take_text(REF_NAME)?,
            image_name: members.take_text(IMAGE_NAME)?,
            resolved: members.take_text(RESOLVED)?,
            source: members.take_text(SOURCE)?,
            subject: members.take_text(SUBJECT)?,
            #[cfg(feature = "manage")]
            kind: members.take_text("kind")?,
        })
    }

    /// containerd's annotation comes first, because next to it the other one may have a tag or a short name. It does not count
    /// if the other one has another name: umoci copies an entry with all annotations, and changes only the one that it knows.
    fn names(mut self) -> Vec<String> {
        if let (Some(image), Some(name)) = (&self.image_name, &self.ref_name)
            && name.contains(['/', ':'])
            && !image.ends_with(name.as_str())
            && !is_same_name(image, name)
        {
            self.image_name = None;
        }
        let mut names: Vec<String> = Vec::new();
        for name in [self.image_name, self.ref_name].into_iter().flatten() {
            if !name.is_empty() && !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

fn names(text: &str) -> Vec<String> {
    Annotations::of_entry(text).names()
}

/// Whether two names mean the same image, one of them perhaps in short form.
fn is_same_name(one: &str, other: &str) -> bool {
    match (one.parse::<Reference>(), other.parse::<Reference>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// Whether two entries without a name are for the same document and subject.
fn is_same_unnamed(one: &ImageEntry, other: &ImageEntry) -> bool {
    other.names.is_empty() && one.subject == other.subject && one.manifest.digest == other.manifest.digest
}

fn describe(entry: &ImageEntry) -> Value {
    let mut platform = Map::new();
    platform.insert("os".to_owned(), entry.platform.os().into());
    platform.insert("architecture".to_owned(), entry.platform.architecture().into());
    if !entry.platform.variant().is_empty() {
        platform.insert("variant".to_owned(), entry.platform.variant().into());
    }
    let mut annotations = Map::new();
    if !entry.names.is_empty() {
        for key in [REF_NAME, IMAGE_NAME] {
            annotations.insert(key.to_owned(), entry.name().into());
        }
    }
    if let Some(subject) = entry.subject {
        annotations.insert(SUBJECT.to_owned(), subject.to_string().into());
    }
    for (key, digest) in [(RESOLVED, entry.resolved), (SOURCE, entry.source)] {
        if digest != entry.manifest.digest {
            annotations.insert(key.to_owned(), digest.to_string().into());
        }
    }
    let mut described = json!({
        "mediaType": entry.manifest.media_type,
        "digest": entry.manifest.digest.to_string(),
        "size": entry.manifest.size,
        "annotations": annotations,
    });
    // Signatures have none.
    if let Some(members) = described.as_object_mut().filter(|_| !entry.platform.os().is_empty()) {
        members.insert("platform".to_owned(), platform.into());
    }
    described
}

struct IndexVisitor<'v> {
    visit: &'v mut dyn FnMut(Piece<'_>),
}

impl<'de> Visitor<'de> for IndexVisitor<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an image index")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut has_manifests = false;
        while let Some(name) = members.next_key::<String>()? {
            if name != MANIFESTS {
                let value = members.next_value::<&RawValue>()?;
                (self.visit)(Piece::Member(&name, value.get()));
                continue;
            }
            if has_manifests {
                return Err(A::Error::duplicate_field(MANIFESTS));
            }
            has_manifests = true;
            (self.visit)(Piece::Entries);
            members.next_value_seed(Entries { visit: &mut *self.visit })?;
        }
        Ok(())
    }
}

/// The list of entries.
struct Entries<'v> {
    visit: &'v mut dyn FnMut(Piece<'_>),
}

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list of manifests")
    }

    /// A list that is `null` is an empty one, as in Go programs.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        while let Some(entry) = entries.next_element::<&RawValue>()? {
            (self.visit)(Piece::Entry(entry.get()));
        }
        Ok(())
    }
}
