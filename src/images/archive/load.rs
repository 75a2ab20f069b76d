//! Loads an archive into a store: takes its members, decides from its documents which images they make, verifies the
//! diff_ids of all layers, and commits what the images need. No image gets a name here, because the caller may refuse it.

use std::io::{self, Read};

use super::docker::load_docker;
use super::members::{LAYOUT, Members, Receiver};
use super::oci::load_layout;
use super::reader::{ArchiveReader, ReceivedImages};
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::layer::{Decoder, Sniffed, malformed, sniff};
use crate::limits::Limits;
use crate::oci::docker_archive::MANIFEST;

const BUFFER: usize = 64 << 10;

/// Reads an archive, compressed or not, to its end. The caller must have created
/// the store, and must prevent the removal of unnamed blobs until the images have their names.
pub(crate) fn load_archive(reader: &ArchiveReader<'_>, archive: &mut (dyn Read + Send)) -> Result<ReceivedImages> {
    let mut archive = TypedReader { archive, cancel: reader.cancel };
    let Sniffed { compression, mut stream } = sniff(&mut archive)?;
    let stream: &mut (dyn Read + Send) = &mut stream;
    let mut tar = Decoder::new(stream, compression, reader.limits, reader.cancel)?;
    let receiver = Receiver { store: reader.store, limits: reader.limits, cancel: reader.cancel };
    let mut members = receiver.receive(&mut tar)?;
    drain(reader, &mut tar)?;
    load(reader, &mut members)
}

/// Reads what follows the end of the archive, so that the writer of a pipe does not fail, and the checksum of a
/// compressed archive is verified.
fn drain(reader: &ArchiveReader<'_>, tar: &mut dyn Read) -> Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut count = 0;
    loop {
        reader.cancel.check()?;
        match tar.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => count += n as u64,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::through_read(e, |e| malformed(&e.to_string()))),
        }
        if count > reader.limits.unpacked {
            return Err(Limits::exceeded("bytes after the end of an archive", reader.limits.unpacked));
        }
    }
}

/// An archive of Docker 25 and later is both a layout and a `docker save` archive. The layout keeps the manifests, so it
/// comes first. Some versions write one that lacks layers or images; then `manifest.json` decides.
fn load(reader: &ArchiveReader<'_>, members: &mut Members) -> Result<ReceivedImages> {
    let (has_layout, has_list) = (members.document(LAYOUT).is_some(), members.document(MANIFEST).is_some());
    match (has_layout, has_list) {
        (true, true) => match load_layout(reader, members) {
            Ok(received) if !received.images.is_empty() => Ok(received),
            Err(error) if !is_incomplete(&error) => Err(error),
            _ => load_docker(reader, members),
        },
        (true, false) => {
            let received = load_layout(reader, members)?;
            if received.images.is_empty() {
                return Err(Error::new(ErrorKind::NotFound, "the archive has no image"));
            }
            Ok(received)
        }
        (false, true) => load_docker(reader, members),
        (false, false) => {
            let text = "neither manifest.json nor oci-layout is in the archive";
            let error = Error::new(ErrorKind::Unsupported, text);
            Err(error.with_hint("expected an archive of docker save, podman save or skopeo copy"))
        }
    }
}

/// Gives the errors of an archive's reader a type, because others are taken for a malformed archive.
pub(super) struct TypedReader<'a> {
    pub(super) archive: &'a mut (dyn Read + Send),
    pub(super) cancel: &'a Cancel,
}

impl Read for TypedReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.archive.read(buf).map_err(|e| {
            if e.kind() == io::ErrorKind::Interrupted {
                return e;
            }
            let error = self.cancel.check().err();
            error.unwrap_or_else(|| Error::through_read(e, |e| Error::disk("read", "the archive", e))).into()
        })
    }
}

/// Whether an error says that a layout lacks something, and not that it is hostile.
fn is_incomplete(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Mismatch | ErrorKind::NotFound)
}
