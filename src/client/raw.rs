//! Writes one blob as an image to a file or a block device, while it arrives: unpacked if it is compressed, and proven before
//! it becomes valid.

use std::io::Read;

use super::body::{BlobSource, ResumingBody};
use super::client::Client;
use super::resolved::ResolvedContent;
use super::retry::MismatchRetry;
use crate::advice::Advice;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::images::{Need, check_space};
use crate::layer::{Decoder, START, ZSTD_MAGIC};
use crate::oci::artifact::{ArtifactBlob, ArtifactManifest, UnpackedFacts};
use crate::oci::descriptor::Descriptor;
use crate::oci::media_type::Compression;
use crate::oci::reference::Reference;
use crate::progress::{Event, Layer, LayerState, Progress};
use crate::registry::{Body, Repository};
use crate::target::{HEAD, RawTarget, Readback, Writer, Written};
use crate::verify::{Size, Verified, VerifyState};

/// Bytes of a blob between two progress events.
const REPORT_INTERVAL: u64 = 1 << 20;
/// Bytes that are read at once of what a decoder leaves.
const DRAIN_BUFFER: usize = 16 << 10;

/// A blob, and what its unpacked content must be.
struct RawImage {
    blob: Descriptor,
    compression: Compression,
    digest: Option<Digest>,
    size: Option<u64>,
}

/// One run of the bytes of a blob to its target.
struct Transfer<'t, 'r> {
    client: &'t Client,
    repository: &'t mut Repository<'r>,
    image: &'t RawImage,
    writer: &'t mut Writer,
    progress: &'t dyn Progress,
    /// A response that has arrived already.
    response: Option<Body>,
    /// Bytes that an earlier run may have written, if they can be taken from there.
    resumed_until: u64,
    /// The image is compared with what is there up to this offset.
    compared_until: u64,
}

impl Client {
    /// Writes the blob that a name with a digest names to a file or a device. A blob has no media type, so it is unpacked only if
    /// [`WriteOptions::decompression`](crate::WriteOptions::decompression) says how.
    ///
    /// Everything is proven before the head of the image is written: the digest of the blob, the digest and the size of the
    /// unpacked image as far as they are given, and what the device returns. If this fails or is cut off, the device has its old
    /// image, or no valid head. The next call for the same blob goes on in the middle.
    ///
    /// Fails with [`ErrorKind::Mismatch`] if signatures are demanded, because a blob alone has none.
    pub fn write_blob(&self, name: &Reference, target: RawTarget, progress: &dyn Progress) -> Result<Written> {
        self.write_named_blob(name, target, progress).map_err(|e| e.context(format!("blob {name}")))
    }

    /// Writes one file of an artifact to a file or a device: the one with this title, or the only one. It is unpacked as its media
    /// type says. See [`write_blob`](Self::write_blob).
    pub fn write_artifact_file(
        &self,
        name: &Reference,
        title: Option<&str>,
        target: RawTarget,
        progress: &dyn Progress,
    ) -> Result<Written> {
        self.write_titled_file(name, title, target, progress).map_err(|e| e.context(format!("artifact {name}")))
    }

    fn write_named_blob(&self, name: &Reference, target: RawTarget, progress: &dyn Progress) -> Result<Written> {
        let digest = self.admit_blob(name, progress)?;
        let mut repository = self.open(name, progress)?;
        let (size, response) = self.measure(&mut repository, digest, &self.options.cancel, progress)?;
        let blob = Descriptor { media_type: String::new(), digest, size };
        let image = RawImage::new(blob, &UnpackedFacts::default(), &target)?;
        self.write_image(&mut repository, &image, response, target, progress)
    }

    fn write_titled_file(
        &self,
        name: &Reference,
        title: Option<&str>,
        target: RawTarget,
        progress: &dyn Progress,
    ) -> Result<Written> {
        let resolved = self.find_manifest(name, None, progress)?;
        let mut resolved = self.admit_resolved(resolved, None)?.into_resolved();
        let file = match &resolved.content {
            ResolvedContent::Artifact(manifest) => choose(manifest, title)?,
            ResolvedContent::Image(_) => {
                let error = Error::new(ErrorKind::Unsupported, "it is an image and no artifact");
                return Err(error.with_advice(Advice::FetchAsImage));
            }
        };
        let image = RawImage::new(file.blob.clone(), &file.unpacked, &target)?;
        let written = self.write_image(&mut resolved.repository, &image, None, target, progress)?;
        self.keep_versions(&resolved, None)?;
        Ok(written)
    }

    fn write_image(
        &self,
        repository: &mut Repository<'_>,
        image: &RawImage,
        response: Option<Body>,
        target: RawTarget,
        progress: &dyn Progress,
    ) -> Result<Written> {
        if let Some(size) = image.size {
            target.check_size(size)?;
            if target.is_new() {
                check_space(&[Need { path: target.path(), bytes: size, files: 1 }])?;
            }
        }
        let (reads_back, skips_same) = (target.reads_back(), target.options().skip_same);
        let blob = &image.blob;
        let layer = Layer { index: 0, total: 1, digest: blob.digest, size: blob.size };
        let mut opened = target.begin(blob.digest)?;
        let known_until = match opened.writer.record()? {
            Some(record) if record.blob == blob.digest => record.done,
            _ => 0,
        };
        let is_resumable = image.is_stored_plainly();
        let resumed_until = if is_resumable { known_until.min(blob.size) } else { 0 };
        let (size, bytes) = (blob.size, blob.size);
        progress.report(Event::Plan { layers: 1, size, missing: 1, bytes, kept: resumed_until, is_resumable });
        progress.report(Event::Layer { layer, state: LayerState::Waiting });
        let mut transfer = Transfer {
            client: self,
            repository,
            image,
            writer: &mut opened.writer,
            progress,
            response,
            resumed_until,
            compared_until: if skips_same { u64::MAX } else { known_until },
        };
        let digest = transfer.write_body(reads_back)?;
        let size = opened.writer.size();
        let readback = match (reads_back, opened.writer.reads_directly()) {
            (false, _) => Readback::Skipped,
            (true, true) => Readback::Direct,
            (true, false) => Readback::Cached,
        };
        let counts = opened.publish(reads_back)?;
        progress.report(Event::Layer { layer, state: LayerState::Complete });
        let blocks = size.div_ceil(4096);
        Ok(Written { digest, size, blocks, written: counts.written, punched: counts.punched, readback })
    }
}

impl RawImage {
    /// The image of this blob. What the caller says about it comes before what the annotations say.
    fn new(blob: Descriptor, facts: &UnpackedFacts, target: &RawTarget) -> Result<Self> {
        let options = target.options();
        let compression = options.decompression.of(&blob.media_type);
        let mut image = Self { blob, compression, digest: options.unpacked_digest, size: options.unpacked_size };
        if compression != Compression::None {
            image.digest = image.digest.or(facts.digest);
            image.size = image.size.or(facts.size);
            return Ok(image);
        }
        let expected = *image.size.get_or_insert(image.blob.size);
        if expected != image.blob.size {
            let text = format!("size mismatch: expected {expected} bytes, and the blob has {}", image.blob.size);
            return Err(Error::new(ErrorKind::Mismatch, text));
        }
        Ok(image)
    }

    /// Returns true if the image is the blob itself, so that the digest of the blob proves all of it.
    fn is_stored_plainly(&self) -> bool {
        self.compression == Compression::None && self.digest.is_none_or(|digest| digest == self.blob.digest)
    }
}

impl Transfer<'_, '_> {
    /// Writes everything behind the head, and returns the digest of the image. With `reads_back`, the device must return the same;
    /// if it does not, what differs is written once more.
    fn write_body(&mut self, reads_back: bool) -> Result<Digest> {
        self.writer.restart(self.compared_until);
        let mut is_repair = false;
        loop {
            let digest = self.fetch()?;
            self.writer.complete()?;
            if !reads_back || self.writer.read_back(digest.hasher(), &self.client.options.cancel)? == digest {
                return Ok(digest);
            }
            if std::mem::replace(&mut is_repair, true) {
                return Err(self.writer.lost_writes(self.writer.first_difference().unwrap_or_default()));
            }
            self.progress
                .report(Event::Warning("the device returned other content than was written: writing it once more"));
            self.start_over(u64::MAX);
        }
    }

    /// Fetches the blob, and repeats that after a mismatch that a repetition may resolve.
    fn fetch(&mut self) -> Result<Digest> {
        let mut mismatches = MismatchRetry::default();
        loop {
            let error = match self.fetch_once() {
                Ok(digest) => return Ok(digest),
                Err(error) => error,
            };
            let was_resumed = self.resumed_until > 0 && error.kind() == ErrorKind::Mismatch;
            if !was_resumed && !mismatches.should_repeat(&error, self.repository) {
                if matches!(error.kind(), ErrorKind::Network | ErrorKind::Interrupted | ErrorKind::RateLimited) {
                    // The next run can do without it, so a failure is not reported.
                    let _ = self.writer.keep_record();
                }
                return Err(error);
            }
            self.progress.report(Event::Warning(&format!("starting over: {error}")));
            self.start_over(self.compared_until);
        }
    }

    fn start_over(&mut self, compared_until: u64) {
        self.resumed_until = 0;
        self.writer.restart(compared_until);
    }

    fn fetch_once(&mut self) -> Result<Digest> {
        if self.image.is_stored_plainly() { self.copy_blob() } else { self.unpack_blob() }
    }

    /// Writes a blob that is the image itself. The part that an earlier run has written is hashed where it is, and not requested.
    fn copy_blob(&mut self) -> Result<Digest> {
        let cancel = &self.client.options.cancel;
        let blob = &self.image.blob;
        let source = BlobSource::registry_only(blob);
        let mut body = ResumingBody::new(self.client, self.repository, source, cancel, self.progress)
            .with_response(self.response.take());
        let mut state = VerifyState::new(blob.digest, Size::Exactly(blob.size));
        if self.resumed_until > HEAD as u64 {
            let mut head = reader(&mut body, state, self.client);
            copy(&mut head, self.writer, HEAD as u64)?;
            state = head.suspend();
            let from = self.writer.size();
            loop {
                cancel.check()?;
                let kept = self.writer.keep_existing(self.resumed_until)?;
                if kept.is_empty() {
                    break;
                }
                state.take(kept);
            }
            let kept = self.writer.size() - from;
            self.progress.report(Event::Note(&format!("kept {kept} bytes that an earlier run has written")));
            body.jump_to(self.writer.size());
        }
        let mut counted = Counted::new(&mut body, state.count(), blob, self.progress);
        let mut rest = reader(&mut counted, state, self.client);
        copy(&mut rest, self.writer, u64::MAX)?;
        Ok(*rest.finish()?.digest())
    }

    /// Writes the content of a compressed blob.
    fn unpack_blob(&mut self) -> Result<Digest> {
        let options = &self.client.options;
        let RawImage { blob, compression, digest, size } = self.image;
        let source = BlobSource::decompressed(blob, *compression);
        let mut body = ResumingBody::new(self.client, self.repository, source, &options.cancel, self.progress)
            .with_response(self.response.take());
        let mut start = vec![0; START];
        let start_length = read_start(&mut body, &mut start)?;
        let start = start.get(..start_length).unwrap_or_default();
        if let Some(size) = zstd_content_size(start).filter(|_| *compression == Compression::Zstd) {
            self.writer.check_size(size)?;
        }
        let mut body = start.chain(&mut body);
        let mut counted = Counted::new(&mut body, 0, blob, self.progress);
        let mut packed = reader(&mut counted, VerifyState::new(blob.digest, Size::Exactly(blob.size)), self.client);
        let size = size.map_or(Size::AtMost(options.limits.unpacked, "bytes of image"), Size::Exactly);
        let state = digest.map_or_else(|| VerifyState::unknown(size), |digest| VerifyState::new(digest, size));
        let mut decoder =
            Decoder::new(&mut packed as &mut (dyn Read + Send), *compression, &options.limits, &options.cancel)?;
        let mut unpacked = reader(&mut decoder, state, self.client);
        let copied = copy(&mut unpacked, self.writer, u64::MAX);
        let unpacked = copied.and_then(|()| unpacked.finish());
        if let Err(error) = &unpacked
            && !matches!(error.kind(), ErrorKind::Mismatch | ErrorKind::Unsafe)
        {
            return unpacked.map(|proof| *proof.digest());
        }
        // A wrong digest of the blob explains wrong content, so it is the error to return.
        drop(decoder);
        let drained = packed.drain(&mut vec![0; DRAIN_BUFFER]).map_err(|e| Error::through_read(e, unread));
        let verified = drained.and_then(|()| packed.finish());
        match (unpacked, verified) {
            (_, Err(error)) => Err(error),
            // The blob is what was asked for, so another download would not help.
            (Err(error), Ok(_)) => Err(error.finally()),
            (Ok(proof), Ok(_)) => Ok(*proof.digest()),
        }
    }
}

/// One type for all readers that verify, because each further one would add code.
fn reader<'a>(
    inner: &'a mut (dyn Read + Send),
    state: VerifyState,
    client: &Client,
) -> Verified<&'a mut (dyn Read + Send)> {
    Verified::resume(state, inner, client.options.cancel.clone())
}

/// Copies bytes to the writer until it has `until` bytes, or the reader ends.
fn copy(reader: &mut dyn Read, writer: &mut Writer, until: u64) -> Result<()> {
    while writer.size() < until {
        let n = reader.read(writer.space()?).map_err(|e| Error::through_read(e, unread))?;
        if n == 0 {
            break;
        }
        writer.advance(n);
    }
    Ok(())
}

/// Reads the first bytes of a blob, fewer only if it has fewer.
fn read_start(body: &mut dyn Read, start: &mut [u8]) -> Result<usize> {
    let mut count = 0;
    while let Some(rest) = start.get_mut(count..).filter(|rest| !rest.is_empty()) {
        match body.read(rest) {
            Ok(0) => break,
            Ok(n) => count += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::through_read(e, unread)),
        }
    }
    Ok(count)
}

/// The size of the content that a zstd frame declares (RFC 8878, section 3.1.1.1). It is only a claim: with it, an image that
/// does not fit is refused before anything is written.
fn zstd_content_size(frame: &[u8]) -> Option<u64> {
    let (descriptor, rest) = frame.strip_prefix(ZSTD_MAGIC)?.split_first()?;
    let is_single_segment = descriptor & 0x20 != 0;
    let length = match descriptor >> 6 {
        0 if is_single_segment => 1,
        0 => return None,
        flag => 1_usize << flag,
    };
    let dictionary = [0, 1, 2, 4].get(usize::from(descriptor & 3)).copied().unwrap_or_default();
    let skipped = usize::from(!is_single_segment) + dictionary;
    let bytes = rest.get(skipped..skipped + length)?;
    let size = bytes.iter().rev().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
    Some(if length == 2 { size + 256 } else { size })
}

fn unread(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Network, error.to_string())
}

/// The file with this title, or the only one.
fn choose<'m>(manifest: &'m ArtifactManifest, title: Option<&str>) -> Result<&'m ArtifactBlob> {
    let titles: Vec<&str> = manifest.blobs.iter().filter_map(|file| file.title.as_deref()).collect();
    let hint = format!("it has {}", titles.join(", "));
    let Some(title) = title else {
        return match manifest.blobs.as_slice() {
            [file] => Ok(file),
            files => {
                let text = format!("it has {} files, and only one can be written", files.len());
                Err(Error::new(ErrorKind::Usage, text).with_hint(format!("add the title of one to the name: {hint}")))
            }
        };
    };
    let mut found = manifest.blobs.iter().filter(|file| file.title.as_deref() == Some(title));
    match (found.next(), found.next()) {
        (Some(file), None) => Ok(file),
        (Some(_), Some(_)) => Err(Error::new(ErrorKind::Unsafe, format!("it has two files \"{title}\""))),
        (None, _) => Err(Error::new(ErrorKind::NotFound, format!("it has no file \"{title}\"")).with_hint(hint)),
    }
}

/// Reports how many bytes of a blob were read.
struct Counted<'a> {
    inner: &'a mut (dyn Read + Send),
    count: u64,
    reported: u64,
    layer: Layer,
    progress: &'a dyn Progress,
}

impl<'a> Counted<'a> {
    fn new(inner: &'a mut (dyn Read + Send), count: u64, blob: &Descriptor, progress: &'a dyn Progress) -> Self {
        let layer = Layer { index: 0, total: 1, digest: blob.digest, size: blob.size };
        Self { inner, count, reported: count, layer, progress }
    }
}

impl Read for Counted<'_> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.count += n as u64;
        if self.count - self.reported >= REPORT_INTERVAL {
            self.reported = self.count;
            self.progress.report(Event::Layer { layer: self.layer, state: LayerState::Downloading(self.count) });
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_declared_size_of_a_zstd_frame() {
        let size = |rest: &[u8]| zstd_content_size(&[ZSTD_MAGIC, rest].concat());
        assert_eq!(size(&[0x20, 7]), Some(7));
        assert_eq!(size(&[0x00, 0x58, 7]), None);
        assert_eq!(size(&[0x60, 1, 2]), Some(256 + 1 + (2 << 8)));
        assert_eq!(size(&[0x80, 0x58, 1, 0, 0, 1]), Some((1 << 24) + 1));
        assert_eq!(size(&[0x81, 0x58, 9, 1, 0, 0, 0]), Some(1));
        assert_eq!(size(&[0xe3, 9, 9, 9, 9, 0, 0, 0, 0, 1, 0, 0, 0]), Some(1 << 32));
        assert_eq!(size(&[0xc0, 0x58, 1]), None);
        assert_eq!(zstd_content_size(b"gzip"), None);
    }
}
