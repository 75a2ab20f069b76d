//! The one reader of a blob's bytes over the network. It survives a broken response: it fails over to the next endpoint,
//! or waits and retries, and continues at the byte where the response broke off.

use std::io::{self, Read};

use super::client::Client;
use super::retry::RetryState;
#[cfg(feature = "manage")]
use super::start::{Judgement, StartCheck};
use crate::advice::Advice;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::descriptor::{Descriptor, unsupported_foreign_layer};
use crate::oci::manifest::LayerDescriptor;
#[cfg(feature = "manage")]
use crate::oci::media_type::Compression;
#[cfg(feature = "manage")]
use crate::progress::Event;
use crate::progress::Progress;
use crate::registry::{Body, Repository};
use crate::store::KnownBytes;

/// Bytes that are read at once when a response starts before the wanted byte.
const SKIP_BUFFER: usize = 16 << 10;

/// A blob and its other locations.
#[derive(Clone, Copy)]
pub(crate) struct BlobSource<'s> {
    pub(crate) blob: &'s Descriptor,
    /// The URLs that may be requested if the registry does not have the blob.
    urls: &'s [String],
    /// True if the manifest has such URLs, but they may not be requested.
    has_forbidden_urls: bool,
    /// How the blob will be read, if a transfer that cannot be read so may be ended.
    #[cfg(feature = "manage")]
    format: Option<Compression>,
}

impl<'s> BlobSource<'s> {
    /// A blob that only the registry and its mirrors may serve.
    pub(crate) fn registry_only(blob: &'s Descriptor) -> Self {
        Self {
            blob,
            urls: &[],
            has_forbidden_urls: false,
            #[cfg(feature = "manage")]
            format: None,
        }
    }

    /// A layer, which its URLs may serve too if they are allowed.
    pub(crate) fn layer(layer: &'s LayerDescriptor) -> Self {
        let urls = if layer.may_use_urls { layer.urls.as_slice() } else { &[] };
        let has_forbidden_urls = urls.len() < layer.urls.len();
        Self { urls, has_forbidden_urls, ..Self::registry_only(&layer.blob) }
    }

    /// A layer that will be unpacked.
    pub(crate) fn unpacked_layer(layer: &'s LayerDescriptor) -> Self {
        Self {
            #[cfg(feature = "manage")]
            format: Some(layer.compression),
            ..Self::layer(layer)
        }
    }

    /// A blob that will be decompressed.
    #[cfg(feature = "device")]
    pub(crate) fn decompressed(blob: &'s Descriptor, compression: Compression) -> Self {
        let format = Some(compression).filter(|compression| *compression != Compression::None);
        Self { format, ..Self::registry_only(blob) }
    }
}

/// The bytes of one blob, over as many responses as it takes. They are not verified: wrap it in
/// [`Verified`](crate::verify::Verified).
pub(crate) struct ResumingBody<'f, 'r> {
    repository: &'f mut Repository<'r>,
    source: BlobSource<'f>,
    cancel: &'f Cancel,
    retry: RetryState<'f>,
    /// A response that has arrived already and starts with the first byte.
    first_response: Option<Body>,
    body: Option<Body>,
    /// The offset of the next byte.
    at: u64,
    /// The offset at which the current response started to be useful.
    begun: u64,
    /// The bytes before the first one that was asked for, to compare with what a server repeats of them.
    known: Option<KnownBytes>,
    /// Whether the last request had a range and got no body.
    was_range_refused: bool,
    /// Whether the next request must not have a range.
    from_start: bool,
    #[cfg(feature = "manage")]
    check: StartCheck<'f>,
    /// The error that followed the bytes that were returned last. Their body is gone.
    #[cfg(feature = "manage")]
    pending: Option<Error>,
}

impl<'f, 'r> ResumingBody<'f, 'r> {
    /// Reads the whole blob.
    pub(crate) fn new(
        client: &'f Client,
        repository: &'f mut Repository<'r>,
        source: BlobSource<'f>,
        cancel: &'f Cancel,
        progress: &'f dyn Progress,
    ) -> Self {
        let retry = RetryState::new(&client.options, cancel, progress);
        Self {
            repository,
            source,
            cancel,
            retry,
            first_response: None,
            body: None,
            at: 0,
            begun: 0,
            known: None,
            was_range_refused: false,
            from_start: false,
            #[cfg(feature = "manage")]
            check: StartCheck::new(client, source.blob.size, source.format),
            #[cfg(feature = "manage")]
            pending: None,
        }
    }

    /// Starts at `offset`, because the bytes before it are known.
    pub(crate) fn starting_at(mut self, offset: u64, known: KnownBytes) -> Self {
        (self.at, self.begun, self.known) = (offset, offset, Some(known));
        self
    }

    /// Starts with a response that has already arrived, and that starts with the first byte.
    pub(crate) fn with_response(mut self, body: Option<Body>) -> Self {
        self.first_response = body;
        self
    }

    /// Goes on at `offset`, because the caller has the bytes up to there.
    #[cfg(feature = "device")]
    pub(crate) fn jump_to(&mut self, offset: u64) {
        (self.at, self.begun, self.body) = (offset, offset, None);
    }

    fn read_once(&mut self, buf: &mut [u8]) -> Result<usize> {
        #[cfg(feature = "manage")]
        if let Some(error) = self.pending.take() {
            return Err(error);
        }
        // The read beyond the end, which finds a body that is too long, costs a byte of the budget.
        let has_ended = self.body.is_none() || self.repository.has_used_up_budget();
        if has_ended && self.at == self.source.blob.size {
            return Ok(0);
        }
        let mut body = match self.body.take() {
            Some(body) => body,
            None => self.open()?,
        };
        let read = self.read_from(&mut body, buf)?;
        let Some(n) = read else {
            // One connection is enough for both transfers.
            drop(body);
            return self.read_once(buf);
        };
        #[cfg(feature = "manage")]
        if n == 0 && !buf.is_empty() && body.is_bounded() {
            // The next request fails, unless another job put back a part of the budget.
            self.begun = self.at;
            return self.read_once(buf);
        }
        self.at += n as u64;
        #[cfg(feature = "manage")]
        if self.pending.is_some() {
            return Ok(n);
        }
        self.body = Some(body);
        Ok(n)
    }

    /// Reads the next bytes. Returns `None` if the first ones show that this transfer is of no use.
    #[cfg(feature = "manage")]
    fn read_from(&mut self, body: &mut Body, buf: &mut [u8]) -> Result<Option<usize>> {
        let is_judged = self.at == 0 && self.check.judges(body);
        let mut count = body.read(buf).map_err(|e| Error::through_read(e, unread))?;
        let mut has_ended = count == 0;
        while is_judged && !has_ended && self.check.needs_more(buf.get(..count).unwrap_or_default()) {
            let rest = buf.get_mut(count..).unwrap_or_default();
            let n = body.read(rest).unwrap_or_else(|e| {
                self.pending = Some(Error::through_read(e, unread));
                0
            });
            has_ended = n == 0;
            count += n;
        }
        if is_judged {
            let start = buf.get(..count).unwrap_or_default();
            match self.check.judge(start, self.repository)? {
                Judgement::Accepted => {}
                Judgement::Again => return Ok(None),
                Judgement::Differs(error) => {
                    let text = format!("{}: starting over: {error}", self.source.blob.digest.short());
                    self.retry.progress.report(Event::Warning(&text));
                }
            }
        }
        Ok(Some(count))
    }

    #[cfg(not(feature = "manage"))]
    fn read_from(&mut self, body: &mut Body, buf: &mut [u8]) -> Result<Option<usize>> {
        body.read(buf).map(Some).map_err(|e| Error::through_read(e, unread))
    }

    /// Requests the missing bytes. A server that ignores the range starts with the first byte; then the known part is
    /// read, compared and dropped.
    fn open(&mut self) -> Result<Body> {
        self.cancel.check()?;
        let (mut body, start) = match self.first_response.take() {
            Some(body) => (body, 0),
            None => self.request()?,
        };
        self.skip(&mut body, start)?;
        Ok(body)
    }

    /// Sends the request. Returns the body and the offset of its first byte.
    fn request(&mut self) -> Result<(Body, u64)> {
        let offset = if std::mem::take(&mut self.from_start) { 0 } else { self.at };
        self.was_range_refused = offset > 0;
        let response = self.repository.layer(self.source.blob, self.source.urls, offset).map_err(|error| {
            let is_foreign = self.source.has_forbidden_urls && error.kind() == ErrorKind::NotFound;
            if is_foreign { unsupported_foreign_layer().with_advice(Advice::AllowForeignLayers) } else { error }
        })?;
        self.was_range_refused = false;
        Ok(response)
    }

    /// Waits before a retry, or returns the error if there will be none. A request with a range gets one more chance
    /// without it, because some servers and firewalls refuse ranges only, and then the partial download would make the
    /// blob unavailable for good.
    fn recover(&mut self, error: Error) -> Result<()> {
        self.retry.progressed(self.at - self.begun, self.source.blob.size - self.begun);
        let Err(error) = self.retry.wait_or_fail(error) else { return Ok(()) };
        self.cancel.check()?;
        if !self.was_range_refused || error.kind() == ErrorKind::RateLimited {
            return Err(self.repository.conclude(error));
        }
        self.from_start = true;
        Ok(())
    }

    fn skip(&self, body: &mut Body, start: u64) -> Result<()> {
        if start == self.at {
            return Ok(());
        }
        let mut buffer = vec![0; SKIP_BUFFER];
        let mut position = start;
        while position < self.at {
            let wanted = usize::try_from(self.at - position).unwrap_or(usize::MAX).min(SKIP_BUFFER);
            let Some(wanted) = buffer.get_mut(..wanted) else { return Err(out_of_bounds()) };
            let n = match body.read(wanted) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                other => other.map_err(|e| Error::through_read(e, unread))?,
            };
            if n == 0 {
                return Err(Error::new(ErrorKind::Network, "the body ended too soon"));
            }
            let Some(repeated) = wanted.get(..n) else { return Err(out_of_bounds()) };
            if let Some(known) = &self.known {
                known.compare(position, repeated)?;
            }
            position += n as u64;
        }
        Ok(())
    }
}

impl Read for ResumingBody<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let error = match self.read_once(buf) {
                Ok(n) => return Ok(n),
                Err(error) => error,
            };
            // Bytes that differ from the known ones are for the caller to judge, because the known ones may be wrong.
            if error.kind() == ErrorKind::Mismatch {
                return Err(error.into());
            }
            #[cfg(feature = "manage")]
            if self.check.gives_up(self.repository) {
                continue;
            }
            if !self.repository.fail_over(&error) {
                self.recover(error)?;
            }
            self.begun = self.at;
        }
    }
}

fn unread(error: io::Error) -> Error {
    Error::new(ErrorKind::Network, error.to_string())
}

fn out_of_bounds() -> Error {
    Error::new(ErrorKind::Internal, "skip the known part of a blob: out of bounds")
}
