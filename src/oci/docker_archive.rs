//! The documents in archives of `docker save` (`image/tarexport`): `manifest.json` lists images by the names of members, and
//! `repositories` is for versions before 1.10.

use serde_json::{Map, Value, json};

use super::json::{member, parse};
use super::reference::Reference;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// The name of the list of images.
pub(crate) const MANIFEST: &str = "manifest.json";
/// The name of the map of names, which only old versions read.
pub(crate) const REPOSITORIES: &str = "repositories";
/// The most images of an archive.
const IMAGES: usize = 1000;

/// An image of an archive, as `manifest.json` describes it.
pub(crate) struct ArchivedImage {
    /// The name of the config's member. Untrusted text, as that of a layer.
    pub(crate) config: String,
    /// From the base layer up.
    pub(crate) layers: Vec<String>,
    pub(crate) names: Vec<Reference>,
}

/// Parses `manifest.json`. Fails for a name that is malformed or has no tag, because Docker does.
pub(crate) fn parse_manifest(text: &[u8], limits: &Limits) -> Result<Vec<ArchivedImage>> {
    let value: Value = parse(text).map_err(malformed)?;
    let Value::Array(items) = value else { return Err(malformed("it is not a list")) };
    if items.len() > IMAGES {
        return Err(Limits::exceeded("images in an archive", IMAGES));
    }
    items.iter().map(|item| parse_item(item, limits)).collect()
}

fn parse_item(item: &Value, limits: &Limits) -> Result<ArchivedImage> {
    let members = item.as_object().ok_or_else(|| malformed("an image is not an object"))?;
    let config =
        member(members, "Config").and_then(Value::as_str).ok_or_else(|| malformed("an image has no Config"))?;
    let layers = strings(members, "Layers")?;
    if layers.len() > limits.layers {
        return Err(Limits::exceeded("layers", limits.layers));
    }
    let mut names = Vec::new();
    for text in strings(members, "RepoTags")? {
        let name: Reference = text.parse().map_err(|e: Error| malformed(e))?;
        // A name without a tag would mean `latest`.
        let has_tag = text.rsplit('/').next().is_some_and(|last| last.contains(':'));
        if !has_tag || name.digest().is_some() {
            return Err(malformed(format!("the name \"{text}\" has no tag")));
        }
        names.push(name);
    }
    Ok(ArchivedImage { config: config.to_owned(), layers, names })
}

fn strings(members: &Map<String, Value>, name: &str) -> Result<Vec<String>> {
    let not_strings = || malformed(format!("{name} is not a list of strings"));
    let Some(value) = member(members, name) else { return Ok(Vec::new()) };
    let mut strings = Vec::new();
    for item in value.as_array().ok_or_else(not_strings)? {
        strings.push(item.as_str().ok_or_else(not_strings)?.to_owned());
    }
    Ok(strings)
}

/// Checks the text of an `oci-layout` file. Fails for another version than 1.0.0.
pub(crate) fn check_layout(text: &[u8]) -> Result<()> {
    let malformed = |why: &str| Error::new(ErrorKind::Unsafe, format!("malformed oci-layout: {why}"));
    let value: Value = parse(text).map_err(|e| malformed(&e))?;
    match value.get("imageLayoutVersion").and_then(Value::as_str) {
        Some("1.0.0") => Ok(()),
        Some(other) => {
            Err(Error::new(ErrorKind::Unsupported, format!("image layout version \"{other}\" is not supported")))
        }
        None => Err(malformed("it has no version")),
    }
}

/// An image to list in `manifest.json`.
pub(crate) struct ListedImage {
    /// The config's digest.
    pub(crate) id: Digest,
    pub(crate) diff_ids: Vec<Digest>,
    pub(crate) names: Vec<Reference>,
}

/// The name of a config's member.
pub(crate) fn config_name(id: &Digest) -> String {
    format!("{}.json", id.hex())
}

/// The name of a layer's member. It is not in a folder, because old versions take each folder for an image.
pub(crate) fn layer_name(diff_id: &Digest) -> String {
    format!("{}.tar", diff_id.hex())
}

/// The text of `manifest.json`.
pub(crate) fn manifest_text(images: &[ListedImage]) -> String {
    let mut items = Vec::new();
    for image in images {
        let names: Vec<String> = image.names.iter().map(Reference::familiar).collect();
        let layers: Vec<String> = image.diff_ids.iter().map(layer_name).collect();
        items.push(json!({ "Config": config_name(&image.id), "RepoTags": names, "Layers": layers }));
    }
    Value::Array(items).to_string()
}

/// The text of `repositories`: the last layer of each name.
pub(crate) fn repositories_text(images: &[ListedImage]) -> String {
    let mut repositories = Map::new();
    for image in images {
        let Some(top) = image.diff_ids.last() else { continue };
        for name in &image.names {
            let tags = repositories.entry(name.familiar_repository()).or_insert_with(|| Value::Object(Map::new()));
            if let (Some(tags), Some(tag)) = (tags.as_object_mut(), name.tag()) {
                tags.insert(tag.to_owned(), top.hex().into());
            }
        }
    }
    Value::Object(repositories).to_string()
}

fn malformed(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unsafe, format!("malformed {MANIFEST}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> std::result::Result<Vec<(String, usize, Vec<String>)>, ErrorKind> {
        let images = parse_manifest(text.as_bytes(), &Limits::default()).map_err(|e| e.kind())?;
        let shown = |image: ArchivedImage| {
            (image.config, image.layers.len(), image.names.iter().map(Reference::to_string).collect())
        };
        Ok(images.into_iter().map(shown).collect())
    }

    #[test]
    fn reads_what_docker_and_podman_write() {
        let named = vec!["docker.io/library/a:1".to_owned(), "ghcr.io/b/c:2".to_owned()];
        for (text, expected) in [
            ("[]", vec![]),
            (r#"[{"Config":"x.json","RepoTags":null,"Layers":null}]"#, vec![("x.json".to_owned(), 0, vec![])]),
            (
                r#"[{"Config":"x","RepoTags":["a:1","ghcr.io/b/c:2"],"Layers":["1","2"],"LayerSources":{}}]"#,
                vec![("x".to_owned(), 2, named)],
            ),
        ] {
            assert_eq!(parsed(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn rejects_malformed_lists_and_names() {
        for text in [
            "",
            "null",
            "{}",
            "[1]",
            "[{}]",
            r#"[{"Config":1}]"#,
            r#"[{"Config":"x","Layers":"y"}]"#,
            r#"[{"Config":"x","Layers":[1]}]"#,
            r#"[{"Config":"x","RepoTags":["a"]}]"#,
            r#"[{"Config":"x","RepoTags":["a:5000/b"]}]"#,
            r#"[{"Config":"x","RepoTags":["A:1"]}]"#,
            r#"[{"Config":"x","RepoTags":["a:1\n"]}]"#,
        ] {
            assert_eq!(parsed(text), Err(ErrorKind::Unsafe), "{text}");
        }
        let many = format!("[{}]", vec![r#"{"Config":"x"}"#; IMAGES + 1].join(","));
        assert_eq!(parsed(&many), Err(ErrorKind::Unsafe));
    }

    #[test]
    fn lists_images_as_docker_does() {
        let digest = |digit: char| format!("sha256:{}", String::from(digit).repeat(64)).parse::<Digest>().unwrap();
        let names = vec!["a:1".parse().unwrap(), "ghcr.io/b:2".parse().unwrap()];
        let images = [ListedImage { id: digest('a'), diff_ids: vec![digest('b'), digest('c')], names }];
        let hex = |digit: char| String::from(digit).repeat(64);
        let (a, b, c) = (hex('a'), hex('b'), hex('c'));
        assert_eq!(
            manifest_text(&images),
            format!(r#"[{{"Config":"{a}.json","Layers":["{b}.tar","{c}.tar"],"RepoTags":["a:1","ghcr.io/b:2"]}}]"#)
        );
        assert_eq!(repositories_text(&images), format!(r#"{{"a":{{"1":"{c}"}},"ghcr.io/b":{{"2":"{c}"}}}}"#));
        assert!(parse_manifest(manifest_text(&images).as_bytes(), &Limits::default()).is_ok());
    }
}
