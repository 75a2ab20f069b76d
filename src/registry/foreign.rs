//! Foreign layers: layers at URLs in the manifest (image-spec, descriptor.md). The manifest's author chooses the
//! servers, so requests go there only if the user allowed it, over https, without credentials, and without answering a
//! challenge (CVE-2020-15157).

use super::http::{Body, ByteRange, Headers, HttpClient, RangeResponse, Response};
use super::repository::Repository;
use super::tls::Peer;
use super::url::Url;
use super::{redirect, session};
use crate::error::{Error, ErrorKind, Result};
use crate::oci::descriptor::Descriptor;

impl Repository<'_> {
    /// Returns the body of a layer, unverified, and the offset of its first byte, which is `offset` or 0. The `urls`
    /// are tried in order if no endpoint has the layer.
    pub(crate) fn layer(&mut self, blob: &Descriptor, urls: &[String], offset: u64) -> Result<(Body, u64)> {
        let mut failure = loop {
            match self.blob(blob, offset) {
                Ok(found) => return Ok(found),
                Err(error) if self.fail_over(&error) => {}
                Err(error) => break error,
            }
        };
        if failure.kind() == ErrorKind::NotFound {
            for url in urls {
                match self.foreign_layer(url, blob, offset) {
                    Ok(found) => return Ok(found),
                    Err(error) => failure = error,
                }
            }
        }
        Err(failure)
    }

    fn foreign_layer(&self, url: &str, blob: &Descriptor, offset: u64) -> Result<(Body, u64)> {
        let url = Url::parse(url)?;
        if !url.is_https() {
            return Err(Error::new(ErrorKind::Unsafe, format!("foreign layer at {url}: only https is allowed")));
        }
        let peer = Peer {
            origin: url.clone(),
            names: Vec::new(),
            is_insecure: false,
            is_named: false,
            files: Default::default(),
        };
        let http = self.connections.http(&peer, true);
        if offset > 0 && offset < blob.size {
            let range = ByteRange { first: offset, last: blob.size - 1 };
            let response = self.get(&http, &url, Headers { range: Some(range), ..Headers::default() })?;
            match response.into_range(range, blob.size) {
                RangeResponse::Body(body, start) => return Ok((*body, start)),
                RangeResponse::Unsatisfied => {}
                RangeResponse::Refused(response) => return Err(self.refusal(*response)),
            }
        }
        let response = self.get(&http, &url, Headers::default())?;
        if response.status() != 200 {
            return Err(self.refusal(response));
        }
        Ok((response.into_body(), 0))
    }

    fn get(&self, http: &HttpClient, url: &Url, headers: Headers<'_>) -> Result<Response> {
        let response = http.get(url, headers)?;
        redirect::report(self.progress, &response);
        redirect::follow(http, response, headers, &self.connections.config.limits, self.progress)
    }

    fn refusal(&self, response: Response) -> Error {
        session::refusal(response, self.connections.config.limits.error_body)
    }
}
