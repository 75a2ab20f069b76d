//! The members of an archive that is being loaded. Blobs go to temporary files of the store while they pass, because the
//! documents that say which are needed may come last. Names are looked up as text only: no member is ever a path.

use std::collections::HashMap;
use std::io::{self, Read};

use crate::advice::Limit;
use crate::cancel::Cancel;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::layer::{Entries, EntryKind, SafePath, TarEntry, malformed};
use crate::limits::{Limits, read_capped, within};
use crate::oci::descriptor::Descriptor;
use crate::oci::docker_archive::{MANIFEST, REPOSITORIES};
use crate::store::{Arrival, Expected, Store};
use crate::verify::Size;

/// The index of an OCI layout.
pub(super) const INDEX: &str = "index.json";
/// The file that marks an OCI layout.
pub(super) const LAYOUT: &str = "oci-layout";

/// The most members of an archive. Each takes about 300 bytes of memory.
const MEMBERS: usize = 20_000;
/// The most bytes of all members' names and links together.
const NAMES: usize = 4 << 20;
/// The most bytes of a document that is kept in memory. Its parsed values may take fifteen times as much.
const DOCUMENT: usize = 1 << 20;
/// The most links from a name to its member.
const LINKS: usize = 16;

/// The members of an archive.
#[derive(Default)]
pub(super) struct Members {
    by_name: HashMap<Vec<u8>, Member>,
    blobs: HashMap<Digest, Arrival>,
    /// Bytes of names and links so far.
    names: usize,
    /// Bytes of blobs so far.
    bytes: u64,
}

/// A member, by its name.
#[derive(PartialEq)]
enum Member {
    /// A small file that the format defines by its name: `manifest.json`, `index.json`, `oci-layout`.
    Document(Vec<u8>),
    /// Any other file, which may be a blob.
    Blob(Digest),
    /// A link to the member with this name.
    Link(Vec<u8>),
}

/// What receiving members needs.
pub(super) struct Receiver<'a> {
    pub(super) store: &'a Store,
    pub(super) limits: &'a Limits,
    pub(super) cancel: &'a Cancel,
}

impl Receiver<'_> {
    /// Reads an uncompressed archive to its end.
    pub(super) fn receive(&self, archive: &mut dyn Read) -> Result<Members> {
        let mut entries = Entries::new(archive, self.limits);
        let mut members = Members::default();
        let mut count = 0;
        while let Some(entry) = entries.next()? {
            self.cancel.check()?;
            count += 1;
            if count > MEMBERS {
                return Err(Limits::exceeded("members in an archive", MEMBERS));
            }
            self.take(entry, &mut entries, &mut members)?;
        }
        Ok(members)
    }

    fn take(&self, entry: TarEntry, entries: &mut Entries<'_>, members: &mut Members) -> Result<()> {
        let path = SafePath::parse(&entry.path)?;
        let member = match entry.kind {
            EntryKind::Regular(content) => {
                if content.extents.is_some() {
                    return Err(malformed("a sparse file among its members"));
                }
                let mut data = MemberReader(entries);
                match path.as_bytes() {
                    name if is_document(name) => Member::Document(self.document(&mut data)?),
                    // Only old versions of Docker need it.
                    name if name == REPOSITORIES.as_bytes() => return Ok(()),
                    name => Member::Blob(self.blob(name, content.size, &mut data, members)?),
                }
            }
            EntryKind::Symlink(target) => Member::Link(resolve(path.parent(), &target)),
            EntryKind::HardLink(target) => Member::Link(SafePath::parse(&target)?.as_bytes().to_vec()),
            // No image refers to one.
            _ => return Ok(()),
        };
        members.insert(path.as_bytes().to_vec(), member)
    }

    fn document(&self, data: &mut dyn Read) -> Result<Vec<u8>> {
        let limit = self.limits.document.min(DOCUMENT);
        let bytes = read_capped(data, limit).map_err(|e| Error::through_read(e, |e| malformed(&e.to_string())))?;
        within(bytes, "bytes of document", limit)
    }

    /// Receives a blob. The name of one in a layout has its digest, which is verified.
    fn blob(&self, name: &[u8], size: u64, data: &mut dyn Read, members: &mut Members) -> Result<Digest> {
        members.bytes = members.bytes.saturating_add(size);
        if members.bytes > self.limits.unpacked {
            return Err(Limits::exceeded_adjustable(Limit::Unpacked, "bytes of blobs", self.limits.unpacked));
        }
        let expected = Expected { digest: digest_in(name), size: Size::Exactly(size) };
        let arrival = self.store.receive(data, expected, self.cancel);
        let arrival = arrival.map_err(|e| e.context(String::from_utf8_lossy(name)))?;
        let digest = *arrival.digest();
        members.blobs.entry(digest).or_insert(arrival);
        Ok(digest)
    }
}

impl Members {
    /// Fails if a name is used twice for different content, because readers differ in which one they take.
    fn insert(&mut self, name: Vec<u8>, member: Member) -> Result<()> {
        self.names += name.len();
        if let Member::Link(target) = &member {
            self.names += target.len();
        }
        if self.names > NAMES {
            return Err(Limits::exceeded("bytes of names in an archive", NAMES));
        }
        match self.by_name.get(&name) {
            Some(known) if *known != member => {
                Err(malformed(&format!("two members with the name \"{}\"", String::from_utf8_lossy(&name))))
            }
            _ => {
                self.by_name.insert(name, member);
                Ok(())
            }
        }
    }

    /// The document with this name.
    pub(super) fn document(&self, name: &str) -> Option<&[u8]> {
        match self.by_name.get(name.as_bytes()) {
            Some(Member::Document(bytes)) => Some(bytes),
            _ => None,
        }
    }

    /// The blob of the member with this name, which a document refers to. Follows links.
    pub(super) fn named(&self, name: &str) -> Result<&Arrival> {
        let missing = || malformed(&format!("it has no member \"{name}\""));
        let mut path = SafePath::parse(name.as_bytes())?.as_bytes().to_vec();
        for _ in 0..LINKS {
            match self.by_name.get(&path) {
                Some(Member::Link(target)) => path.clone_from(target),
                Some(Member::Blob(digest)) => return self.blobs.get(digest).ok_or_else(missing),
                _ => return Err(missing()),
            }
        }
        Err(malformed(&format!("more than {LINKS} links from \"{name}\"")))
    }

    /// The blob with this digest.
    pub(super) fn blob(&self, digest: &Digest) -> Option<&Arrival> {
        self.blobs.get(digest)
    }

    /// The blob with this digest, in order to commit it.
    pub(super) fn blob_mut(&mut self, digest: &Digest) -> Option<&mut Arrival> {
        self.blobs.get_mut(digest)
    }

    /// Reads a small blob of the archive or else of the store.
    pub(super) fn read(&self, blob: &Descriptor, store: &Store, limit: usize) -> Result<Vec<u8>> {
        match self.sized_blob(blob)? {
            Some(arrival) => arrival.document(limit),
            None => store.document(blob, limit),
        }
    }

    /// The blob of a descriptor. Fails if it has another size.
    pub(super) fn sized_blob(&self, blob: &Descriptor) -> Result<Option<&Arrival>> {
        let Some(arrival) = self.blob(&blob.digest) else { return Ok(None) };
        let size = arrival.descriptor().size;
        if size != blob.size {
            let text = format!("blob {}: size mismatch: expected {} bytes, got {size}", blob.digest, blob.size);
            return Err(Error::new(ErrorKind::Mismatch, text));
        }
        Ok(Some(arrival))
    }
}

/// The data of the current member.
struct MemberReader<'e, 'r>(&'e mut Entries<'r>);

impl Read for MemberReader<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.0.read_data(buf)?)
    }
}

fn is_document(name: &[u8]) -> bool {
    [MANIFEST, INDEX, LAYOUT].iter().any(|document| name == document.as_bytes())
}

/// The digest in the name of a layout's blob, `blobs/ALGORITHM/HEX`.
fn digest_in(name: &[u8]) -> Option<Digest> {
    let (algorithm, hex) = std::str::from_utf8(name).ok()?.strip_prefix("blobs/")?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}

/// The name to which a symlink in `folder` leads. As in a chroot, nothing leads above the archive's root.
fn resolve(folder: &[u8], target: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> =
        if target.starts_with(b"/") { Vec::new() } else { folder.split(|&b| b == b'/').collect() };
    for part in target.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_in_the_archive() {
        for (folder, target, expected) in [
            ("a", "../b/layer.tar", "b/layer.tar"),
            ("", "b.tar", "b.tar"),
            ("a/b", "./c//d", "a/b/c/d"),
            ("a", "../../../etc/passwd", "etc/passwd"),
            ("a", "/etc/passwd", "etc/passwd"),
            ("a", "..", ""),
        ] {
            assert_eq!(resolve(folder.as_bytes(), target.as_bytes()), expected.as_bytes(), "{folder} {target}");
        }
    }
}
