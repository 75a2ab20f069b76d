//! Ends a transfer whose first bytes show that the blob cannot be unpacked. A damaged transfer may begin with the same bytes,
//! and a wrong digest is another error than a broken archive, so two transfers must begin alike before the blob is refused.

use super::client::Client;
use crate::error::{Error, Result};
use crate::layer::{deciding_length, refusal};
use crate::limits::Limits;
use crate::oci::media_type::Compression;
use crate::registry::{Body, Repository};

/// Judges the transfers of one blob from its first byte on.
pub(super) struct StartCheck<'f> {
    limits: &'f Limits,
    size: u64,
    /// How the blob will be read; `None` if its transfers are not judged.
    format: Option<Compression>,
    refused: Option<Refused>,
}

/// A transfer that was ended.
struct Refused {
    start: Vec<u8>,
    error: Error,
    /// Whether the next request goes to another endpoint.
    is_elsewhere: bool,
}

/// What to do with a transfer.
pub(super) enum Judgement {
    Accepted,
    /// End it and request the blob again.
    Again,
    /// The transfer before began with other bytes and could not have been unpacked.
    Differs(Error),
}

impl<'f> StartCheck<'f> {
    pub(super) fn new(client: &'f Client, size: u64, format: Option<Compression>) -> Self {
        Self { limits: &client.options.limits, size, format, refused: None }
    }

    /// Returns true if this transfer is judged. A body of another length is certainly wrong, and the digest shows that.
    pub(super) fn judges(&self, body: &Body) -> bool {
        self.format.is_some() && (body.length() == Some(self.size) || body.is_bounded())
    }

    /// Returns true if these first bytes do not decide yet.
    pub(super) fn needs_more(&self, start: &[u8]) -> bool {
        self.format.is_some_and(|format| start.len() < deciding_length(start, format))
    }

    /// Judges the first bytes of a transfer. Fails if they refuse the blob, and those of the transfer before were the same.
    pub(super) fn judge(&mut self, start: &[u8], repository: &mut Repository<'_>) -> Result<Judgement> {
        let Some(format) = self.format else { return Ok(Judgement::Accepted) };
        let start = start.get(..deciding_length(start, format)).unwrap_or(start);
        let error = refusal(start, format, self.limits);
        match (self.refused.take(), error) {
            (None, Some(error)) => {
                let is_elsewhere = repository.fail_over(&error);
                self.refused = Some(Refused { start: start.to_vec(), error, is_elsewhere });
                Ok(Judgement::Again)
            }
            (Some(refused), Some(error)) if refused.start == start => Err(error.finally()),
            (refused, _) => {
                self.format = None;
                Ok(refused.map_or(Judgement::Accepted, |refused| Judgement::Differs(refused.error)))
            }
        }
    }

    /// Returns true if a request failed that went to another endpoint only to compare. Then the endpoint of the first transfer
    /// serves all of it, and the digest decides.
    pub(super) fn gives_up(&mut self, repository: &mut Repository<'_>) -> bool {
        let gives_up = self.refused.as_ref().is_some_and(|refused| refused.is_elsewhere);
        if gives_up {
            (self.refused, self.format) = (None, None);
            repository.forget_failures();
        }
        gives_up
    }
}
