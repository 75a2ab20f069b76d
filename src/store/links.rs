//! The blobs that a document names: a manifest its config and layers, an index its manifests. Accepts every kind of document
//! that has the members of one of them, also with media types that cannot be unpacked, because a blob that any document
//! needs must not be removed.

use std::borrow::Cow;

use serde::Deserialize;

use super::index::{self, Piece};
use crate::digest::Digest;
use crate::error::Error;

/// The blobs that a document names.
#[derive(Default)]
pub(crate) struct Links {
    /// The manifests and indexes of an index; `None` if the document is not an index.
    pub(crate) manifests: Option<Vec<Digest>>,
    /// Configs, layers and files.
    pub(crate) blobs: Vec<Digest>,
}

/// Reads the links of a document. `None` if it is unknown what the document needs.
#[cfg(feature = "manage")]
pub(crate) fn linked_blobs(text: &[u8]) -> Option<Links> {
    Links::parse(text).ok()
}

#[derive(Deserialize)]
struct Link<'a> {
    /// Schema 1 has it as `blobSum`.
    #[serde(borrow, alias = "blobSum")]
    digest: Cow<'a, str>,
}

impl Links {
    /// Reads a document. The error is a text for people; a document without any of the members is an error, because it is
    /// unknown what it needs.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let mut links = Self::default();
        let mut outcome = Ok(());
        let mut is_known = false;
        let read = index::read(text, &mut |piece| {
            let read = match piece {
                Piece::Entries => {
                    links.manifests.get_or_insert_default();
                    Ok(())
                }
                Piece::Entry(link) => push(links.manifests.get_or_insert_default(), link),
                Piece::Member("config", link) if link != "null" => push(&mut links.blobs, link),
                Piece::Member("layers" | "blobs" | "fsLayers", list) => push_all(&mut links.blobs, list),
                Piece::Member(..) => return,
            };
            is_known = true;
            if outcome.is_ok() {
                outcome = read;
            }
        });
        read.map_err(|e| e.to_string())?;
        outcome?;
        if is_known { Ok(links) } else { Err("it is neither a manifest nor an index".to_owned()) }
    }
}

fn push_all(digests: &mut Vec<Digest>, list: &str) -> Result<(), String> {
    let links: Option<Vec<Link<'_>>> = serde_json::from_slice(list.as_bytes()).map_err(|e| e.to_string())?;
    for link in links.into_iter().flatten() {
        digests.push(link.digest.parse().map_err(|e: Error| e.to_string())?);
    }
    Ok(())
}

fn push(digests: &mut Vec<Digest>, link: &str) -> Result<(), String> {
    let link: Link<'_> = serde_json::from_slice(link.as_bytes()).map_err(|e| e.to_string())?;
    digests.push(link.digest.parse().map_err(|e: Error| e.to_string())?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(digit: char) -> String {
        format!("sha256:{}", digit.to_string().repeat(64))
    }

    fn parse(text: &str) -> Result<(Vec<String>, Vec<String>), String> {
        let text = text.replace("@A", &hex('a')).replace("@B", &hex('b'));
        let links = Links::parse(text.as_bytes())?;
        let shown = |digests: Vec<Digest>| digests.iter().map(Digest::to_string).collect();
        Ok((shown(links.manifests.unwrap_or_default()), shown(links.blobs)))
    }

    #[test]
    fn reads_every_kind_of_document() {
        let (a, b) = (hex('a'), hex('b'));
        for (text, manifests, blobs) in [
            (r#"{"config":{"digest":"@A"},"layers":[{"digest":"@B","mediaType":"x/y"}]}"#, vec![], vec![&a, &b]),
            (r#"{"manifests":[{"digest":"@A"},{"digest":"@B"}]}"#, vec![&a, &b], vec![]),
            (r#"{"manifests":[],"config":null,"layers":null}"#, vec![], vec![]),
            (r#"{"blobs":[{"digest":"@A"}],"subject":{"digest":"@B"}}"#, vec![], vec![&a]),
            (r#"{"schemaVersion":1,"fsLayers":[{"blobSum":"@A"}]}"#, vec![], vec![&a]),
            (r#"{"config":{"digest":"sha256:\u0061AAA"},"layers":[]}"#, vec![], vec![&a]),
        ] {
            let text = text.replace("AAA", &"a".repeat(63));
            let expected = |digests: Vec<&String>| digests.into_iter().cloned().collect();
            assert_eq!(parse(&text), Ok((expected(manifests), expected(blobs))), "{text}");
        }
    }

    #[test]
    fn does_not_guess_what_an_unknown_document_needs() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"architecture":"amd64"}"#,
            r#"{"config":{}}"#,
            r#"{"layers":[{"digest":"md5:00"}]}"#,
            r#"{"layers":{"digest":"@A"}}"#,
            r#"{"manifests":[{"digest":"x"}]}"#,
            r#"{"manifests":[]} x"#,
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
