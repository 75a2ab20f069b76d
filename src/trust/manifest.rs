//! Manifests whose layers are signatures, and lists of referrers (distribution-spec, "Listing Referrers"). Everything in them
//! is untrusted; only the digests that the caller has verified bind them to what was asked for.

use serde_json::Value;

use super::bundle;
use super::members::{Members, list, object, string};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::descriptor::Descriptor;
use crate::oci::media_type::{OCI_INDEX, OCI_MANIFEST};
use crate::oci::strict::parse_object;

const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const PREDICATE: &str = "dev.sigstore.bundle.predicateType";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The config of a manifest with simple signatures that is a referrer ("experimental OCI 1.1" of cosign).
const SIMPLE_REFERRER: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
const NOTARY: &str = "application/vnd.cncf.notary.signature";

/// A manifest whose layers may be signatures.
#[derive(Clone, Debug)]
pub(crate) struct SignatureManifest {
    /// The digest that it claims to be about.
    pub(crate) subject: Option<Digest>,
    /// The signatures, in the order of the manifest. Layers of other types are left out.
    pub(crate) layers: Vec<SignatureLayer>,
    /// True if an annotation says so. It is not signed, so it only decides about the order and the words.
    pub(crate) may_be_attestation: bool,
}

/// One signature of a manifest.
#[derive(Clone, Debug)]
pub(crate) struct SignatureLayer {
    pub(crate) blob: Descriptor,
    pub(crate) form: SignatureForm,
}

/// The format of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SignatureForm {
    /// The blob is a payload, and this is the base64 of its signature.
    Simple(String),
    /// The blob is a bundle.
    Bundle,
}

impl SignatureManifest {
    /// Parses a manifest. The error is a text for people.
    pub(crate) fn parse(bytes: &[u8]) -> std::result::Result<Self, String> {
        let members = parse_object(bytes)?;
        if members.get("mediaType").is_some_and(|media_type| media_type != OCI_MANIFEST) {
            return Err("it is not an OCI manifest".to_owned());
        }
        let subject = match members.get("subject") {
            None | Some(Value::Null) => None,
            Some(_) => Some(descriptor(object(&members, "subject")?)?.digest),
        };
        let layers = list(&members, "layers")?;
        let mut found = Vec::new();
        for layer in layers {
            let layer = layer.as_object().ok_or("a layer is not an object")?;
            found.extend(SignatureLayer::parse(layer)?);
        }
        // cosign writes one bundle into a manifest, and reads no others.
        if layers.len() > 1 && found.iter().any(|layer| layer.form == SignatureForm::Bundle) {
            return Err("it has a bundle together with other layers".to_owned());
        }
        Ok(Self { subject, layers: found, may_be_attestation: says_attestation(&members) })
    }
}

impl SignatureLayer {
    /// Parses a layer; `None` if it is not a signature. Embedded data and URLs are ignored.
    fn parse(layer: &Members) -> std::result::Result<Option<Self>, String> {
        let media_type = string(layer, "mediaType")?;
        let form = if media_type == SIMPLE_SIGNING {
            SignatureForm::Simple(string(object(layer, "annotations")?, SIGNATURE)?.to_owned())
        } else if media_type.starts_with(bundle::MEDIA_TYPE_PREFIX) {
            SignatureForm::Bundle
        } else {
            return Ok(None);
        };
        Ok(Some(Self { blob: descriptor(layer)?, form }))
    }
}

/// The referrers of a digest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Referrers {
    /// Manifests that may have signatures, in the order of the list.
    pub(crate) candidates: Vec<Referrer>,
    /// The number of signatures of the Notary Project.
    pub(crate) notary: usize,
}

/// An entry of a list of referrers.
#[derive(Clone, Debug)]
pub(crate) struct Referrer {
    pub(crate) manifest: Descriptor,
    /// True if an annotation says so. It is not signed, so it only decides about the order.
    pub(crate) may_be_attestation: bool,
}

impl Referrers {
    /// Adds a page of the list. Descriptors that are malformed, or of a type that has no signatures, are skipped. Indexes
    /// that tools maintain under a tag often have a wrong `artifactType` or none, so an empty one is not skipped.
    pub(crate) fn add_page(&mut self, page: &[u8]) -> Result<()> {
        let malformed = |why| Error::new(ErrorKind::Unsafe, format!("malformed list of referrers: {why}"));
        let members = parse_object(page).map_err(malformed)?;
        if members.get("mediaType").is_some_and(|media_type| media_type != OCI_INDEX) {
            return Err(malformed("it is not an OCI index".to_owned()));
        }
        let manifests = match members.get("manifests") {
            Some(Value::Null) => &[],
            _ => list(&members, "manifests").map_err(malformed)?,
        };
        for entry in manifests.iter().filter_map(Value::as_object) {
            let kind = entry.get("artifactType").and_then(Value::as_str).unwrap_or_default();
            if kind == NOTARY {
                self.notary += 1;
                continue;
            }
            let may_be_signature =
                ["", EMPTY, SIMPLE_REFERRER].contains(&kind) || kind.starts_with(bundle::MEDIA_TYPE_PREFIX);
            let is_manifest = entry.get("mediaType").is_none_or(|media_type| media_type == OCI_MANIFEST);
            if may_be_signature && is_manifest {
                let may_be_attestation = says_attestation(entry);
                self.candidates
                    .extend(descriptor(entry).ok().map(|manifest| Referrer { manifest, may_be_attestation }));
            }
        }
        Ok(())
    }
}

/// Returns true if an annotation of a manifest, or of its descriptor, names another predicate than that of a signature.
fn says_attestation(members: &Members) -> bool {
    let annotations = members.get("annotations").and_then(Value::as_object);
    let predicate = annotations.and_then(|annotations| annotations.get(PREDICATE)).and_then(Value::as_str);
    predicate.is_some_and(|predicate| predicate != bundle::SIGN)
}

fn descriptor(members: &Members) -> std::result::Result<Descriptor, String> {
    let digest = string(members, "digest")?.parse::<Digest>().map_err(|e| e.to_string())?;
    let size = members.get("size").and_then(Value::as_u64).ok_or("a size is not a number")?;
    let media_type = members.get("mediaType").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Descriptor { media_type, digest, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        Digest::sha256(text.as_bytes())
    }

    fn layer(media_type: &str, more: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"{}","size":3{more}}}"#, digest("layer"))
    }

    fn manifest(layers: &[String], more: &str) -> String {
        format!(r#"{{"schemaVersion":2,"config":{{}},"layers":[{}]{more}}}"#, layers.join(","))
    }

    fn simple() -> String {
        layer(
            SIMPLE_SIGNING,
            r#","annotations":{"dev.cosignproject.cosign/signature":"AQI="},"data":"AA==","urls":["x"]"#,
        )
    }

    #[test]
    fn finds_signatures_among_other_layers() {
        let text = manifest(&[layer("text/plain", ""), simple(), simple()], "");
        let parsed = SignatureManifest::parse(text.as_bytes()).unwrap();
        assert_eq!((parsed.layers.len(), parsed.subject), (2, None));
        assert_eq!(parsed.layers[0].form, SignatureForm::Simple("AQI=".to_owned()));
        let subject = format!(r#","subject":{{"digest":"{}","size":1}}"#, digest("s"));
        let text = manifest(&[layer("application/vnd.dev.sigstore.bundle.v0.3+json", "")], &subject);
        let parsed = SignatureManifest::parse(text.as_bytes()).unwrap();
        assert_eq!((parsed.layers[0].form.clone(), parsed.subject), (SignatureForm::Bundle, Some(digest("s"))));
    }

    #[test]
    fn refuses_malformed_manifests() {
        let bundle = layer("application/vnd.dev.sigstore.bundle.v0.3+json", "");
        for text in [
            manifest(&[bundle.clone(), bundle.clone()], ""),
            manifest(&[bundle, layer("text/plain", "")], ""),
            manifest(&[layer(SIMPLE_SIGNING, "")], ""),
            manifest(&[simple().replace("\"AQI=\"", "1")], ""),
            manifest(&[simple().replace("\"size\":3", "\"size\":-3")], ""),
            manifest(&[simple().replace("sha256:", "sha256:../")], ""),
            manifest(&["null".to_owned()], ""),
            manifest(&[], r#","subject":{"digest":"x","size":1}"#),
            manifest(&[], r#","layers":[]"#),
            manifest(&[], r#","mediaType":"application/vnd.docker.distribution.manifest.v2+json""#),
            "{}".to_owned(),
        ] {
            assert!(SignatureManifest::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn keeps_referrers_whose_type_is_wrong_or_missing() {
        let entry =
            |kind: &str| format!(r#"{{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":1{kind}}}"#, digest(kind));
        let of = |kind: &str| entry(&format!(r#","artifactType":"{kind}""#));
        let entries = [
            entry(""),
            of(EMPTY),
            of("application/vnd.dev.sigstore.bundle.v0.3+json"),
            of(SIMPLE_REFERRER),
            of(NOTARY),
            of("application/spdx+json"),
            "null".to_owned(),
            "{}".to_owned(),
        ];
        let mut referrers = Referrers::default();
        let page = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#, entries.join(","));
        referrers.add_page(page.as_bytes()).unwrap();
        assert_eq!((referrers.candidates.len(), referrers.notary), (4, 1));
        assert!(referrers.add_page(br#"{"manifests":null}"#).is_ok());
        for text in ["", "[]", "{}", r#"{"manifests":{}}"#, r#"{"manifests":[],"manifests":[]}"#] {
            assert!(referrers.add_page(text.as_bytes()).is_err(), "{text}");
        }
    }
}
