//! The media types of manifests, indexes, configs and layers, Docker's and OCI's.

/// The kind of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DocumentKind {
    Manifest,
    Index,
}

/// The compression of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

const DOCUMENTS: [(&str, DocumentKind); 4] = [
    (OCI_MANIFEST, DocumentKind::Manifest),
    (DOCKER_MANIFEST, DocumentKind::Manifest),
    (OCI_INDEX, DocumentKind::Index),
    ("application/vnd.docker.distribution.manifest.list.v2+json", DocumentKind::Index),
];

/// The OCI media type of an index.
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's media type of a manifest, schema 2.
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The OCI media type of a manifest.
pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The OCI media type of an image config.
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

const CONFIGS: [&str; 2] = [OCI_CONFIG, "application/vnd.docker.container.image.v1+json"];

/// Media types of the config in manifests that Docker 1.10 and 1.11 pushed.
const LEGACY_CONFIGS: [&str; 4] = ["application/octet-stream", "application/json", "text/html", ""];

/// Content types that registries and proxies use for documents of unknown type.
const GENERIC: [&str; 5] = ["", "application/json", "application/octet-stream", "text/plain", "binary/octet-stream"];

/// Docker's image manifest schema 1, signed and unsigned.
const SCHEMA_1: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.docker.distribution.manifest.v1+json",
];

const LAYER_PREFIXES: [&str; 4] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
];

/// The `Accept` header for documents: the types that [`document`] knows, then schema 1 as the last resort.
pub(crate) fn accepted() -> String {
    let known = DOCUMENTS.iter().map(|(media_type, _)| *media_type);
    known.chain(SCHEMA_1).collect::<Vec<_>>().join(", ")
}

/// The kind of document of a media type without parameters; `None` if it is unknown.
pub(crate) fn document(media_type: &str) -> Option<DocumentKind> {
    DOCUMENTS.iter().find(|(known, _)| *known == media_type).map(|(_, kind)| *kind)
}

/// Returns true if the content type says nothing about the document.
pub(crate) fn is_generic(media_type: &str) -> bool {
    GENERIC.contains(&media_type)
}

/// Returns true for Docker's image manifest schema 1.
pub(crate) fn is_schema_1(media_type: &str) -> bool {
    SCHEMA_1.contains(&media_type)
}

/// Returns true for the media type of an image config, in a manifest of type `manifest`. In Docker's manifests, generic types
/// count too, as in Docker. In OCI manifests they do not, because those can be artifacts.
pub(crate) fn is_config(media_type: &str, manifest: &str) -> bool {
    CONFIGS.contains(&media_type) || (manifest == DOCKER_MANIFEST && LEGACY_CONFIGS.contains(&media_type))
}

/// The compression of a layer of this media type; `None` if it is not a supported layer type.
pub(crate) fn layer(media_type: &str) -> Option<Compression> {
    let suffix = LAYER_PREFIXES.iter().find_map(|prefix| media_type.strip_prefix(prefix))?;
    match suffix {
        "" => Some(Compression::None),
        "+gzip" | ".gzip" => Some(Compression::Gzip),
        "+zstd" | ".zstd" => Some(Compression::Zstd),
        _ => None,
    }
}

/// The compression of a blob of any media type: its suffix says it, or it is the type of the compression itself.
#[cfg(feature = "device")]
pub(crate) fn compression(media_type: &str) -> Compression {
    let media_type = essence(media_type);
    let ends = |words: [&str; 3]| words.iter().any(|word| media_type.ends_with(word));
    if ends(["+gzip", ".gzip", "/gzip"]) || media_type == "application/x-gzip" {
        return Compression::Gzip;
    }
    if ends(["+zstd", ".zstd", "/zstd"]) { Compression::Zstd } else { Compression::None }
}

/// The name of the filesystem that a layer of this media type is an image of; `None` if it is none that pullet knows. There is
/// no registered type, so tools use several: `application/vnd.erofs.layer.v1`, `…layer.squashfs+zstd`.
pub(crate) fn filesystem_image(media_type: &str) -> Option<&'static str> {
    let media_type = media_type.to_ascii_lowercase();
    let names = [("erofs", "EROFS"), ("squashfs", "squashfs")];
    names.iter().find(|(word, _)| media_type.contains(word)).map(|(_, name)| *name)
}

/// The OCI media type of a document of this kind.
pub(crate) fn oci_document(kind: DocumentKind) -> &'static str {
    match kind {
        DocumentKind::Manifest => OCI_MANIFEST,
        DocumentKind::Index => OCI_INDEX,
    }
}

/// The OCI media type of a layer of this compression.
pub(crate) fn oci_layer(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "application/vnd.oci.image.layer.v1.tar",
        Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
    }
}

/// The media type of a `Content-Type` header in lower case, without parameters.
pub(crate) fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_layers_of_docker_and_oci() {
        for (media_type, compression) in [
            ("application/vnd.oci.image.layer.v1.tar", Some(Compression::None)),
            ("application/vnd.oci.image.layer.v1.tar+gzip", Some(Compression::Gzip)),
            ("application/vnd.oci.image.layer.v1.tar+zstd", Some(Compression::Zstd)),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", Some(Compression::Gzip)),
            ("application/vnd.docker.image.rootfs.diff.tar", Some(Compression::None)),
            ("application/vnd.docker.image.rootfs.diff.tar.zstd", Some(Compression::Zstd)),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Some(Compression::Gzip)),
            ("application/vnd.oci.image.layer.v1.tar+xz", None),
            ("application/vnd.oci.image.layer.v1.tarball", None),
            ("text/plain", None),
        ] {
            assert_eq!(layer(media_type), compression, "{media_type}");
        }
    }

    #[test]
    #[cfg(feature = "device")]
    fn the_suffix_says_the_compression_of_any_blob() {
        for (media_type, expected) in [
            ("application/vnd.example.rootfs.v1+gzip", Compression::Gzip),
            ("application/vnd.oci.image.layer.v1.tar+zstd", Compression::Zstd),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::Gzip),
            ("Application/GZIP; a=b", Compression::Gzip),
            ("application/x-gzip", Compression::Gzip),
            ("application/zstd", Compression::Zstd),
            ("application/octet-stream", Compression::None),
            ("application/vnd.gzip.list", Compression::None),
            ("", Compression::None),
        ] {
            assert_eq!(compression(media_type), expected, "{media_type}");
        }
    }

    #[test]
    fn names_the_filesystem_of_a_layer() {
        for (media_type, name) in [
            ("application/vnd.erofs.layer.v1", Some("EROFS")),
            ("application/vnd.oci.image.layer.v1.EROFS", Some("EROFS")),
            ("application/vnd.stacker.image.layer.squashfs+zstd+verity", Some("squashfs")),
            ("application/vnd.oci.image.layer.v1.tar+xz", None),
        ] {
            assert_eq!((filesystem_image(media_type), layer(media_type)), (name, None), "{media_type}");
        }
    }

    #[test]
    fn strips_parameters() {
        assert_eq!(essence("Application/JSON; charset=utf-8"), "application/json");
    }
}
