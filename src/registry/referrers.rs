//! Requests for documents that belong to a manifest: its list of referrers, and manifests under tags that contain its
//! digest. No digest verifies these answers, and a mirror may know only a part. So the caller chooses the endpoint of each
//! request, and asks all of them before it takes something for missing.

use super::http::Response;
use super::link::next_page;
use super::repository::Repository;
use super::session::{ManifestResponse, Session};
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{Limits, within};
use crate::oci::media_type::OCI_INDEX;

/// The most pages of a list of referrers.
const PAGES: usize = 32;

/// Takes the pages of a list.
pub(crate) type AddPage<'a> = dyn FnMut(&[u8]) -> Result<()> + 'a;

impl Repository<'_> {
    /// Returns the manifest under a tag, from one endpoint.
    pub(crate) fn manifest_at(&mut self, endpoint: usize, tag: &str) -> Result<ManifestResponse> {
        self.send_to(endpoint, |session| session.manifest(tag))
    }

    /// Passes the pages of the list of referrers of `digest` to `add`, from one endpoint: none if the endpoint does not have
    /// this part of the API.
    pub(crate) fn referrers_at(&mut self, endpoint: usize, digest: &Digest, add: &mut AddPage<'_>) -> Result<()> {
        self.send_to(endpoint, |session| session.referrers(digest, add))
    }
}

impl Session<'_> {
    /// The list is not filtered, because not all registries filter, and the types in it are often wrong.
    fn referrers(&mut self, digest: &Digest, add: &mut AddPage<'_>) -> Result<()> {
        let limit = self.connections.config.limits.document;
        let mut next = Some(self.repository_path(&format!("referrers/{digest}")));
        let mut pages = 0;
        while let Some(target) = next {
            let Some(response) = self.get_if_supported(&target)? else {
                if pages == 0 {
                    return Ok(());
                }
                return Err(Error::new(ErrorKind::Network, "a page of the list of referrers is missing"));
            };
            next = next_page(&response, "list of referrers")?;
            let page = within(response.read(limit)?, "bytes of a list of referrers", limit)?;
            add(&page)?;
            pages += 1;
            if next.is_some() && pages == PAGES {
                return Err(Limits::exceeded("pages of a list of referrers", PAGES));
            }
        }
        Ok(())
    }

    /// `None` if the server says that it does not have this part of the API. Which status it uses differs: GHCR has 404, ECR
    /// had 405. Any other status is a failure, and never means that there are no signatures.
    fn get_if_supported(&mut self, target: &str) -> Result<Option<Response>> {
        let response = self.request(target, OCI_INDEX)?;
        match response.status() {
            200 => Ok(Some(response)),
            404 | 405 | 501 => {
                // The connection can be used again only after the body has been read.
                let _ = response.read(self.connections.config.limits.error_body);
                Ok(None)
            }
            _ => Err(self.refusal(response)),
        }
    }
}
