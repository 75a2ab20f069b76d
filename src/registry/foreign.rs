//! A foreign layer, at a URL that its manifest names (image-spec, descriptor.md). The manifest's author chooses who is
//! asked, so that is done only where the user allows it: over https, with nothing of ours shown, and no challenge is
//! answered (CVE-2020-15157).

use super::http::{Body, Headers, Http, Response, Rest};
use super::repository::Repository;
use super::tls::Peer;
use super::url::Url;
use super::{redirect, session};
use crate::error::{Error, ErrorKind, Result};
use crate::oci::descriptor::Descriptor;

impl Repository<'_> {
    /// A layer's bytes as they come, not verified, from `offset` on if the server goes along: the number beside them tells
    /// where they begin. What no endpoint has is asked for at `urls`, in their order.
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
                match self.foreign(url, blob, offset) {
                    Ok(found) => return Ok(found),
                    Err(error) => failure = error,
                }
            }
        }
        Err(failure)
    }

    fn foreign(&self, url: &str, blob: &Descriptor, offset: u64) -> Result<(Body, u64)> {
        let url = Url::parse(url)?;
        if !url.is_https() {
            return Err(Error::new(ErrorKind::Unsafe, format!("foreign layer at {url}: only https is asked")));
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
            let range = (offset, blob.size - 1);
            let answer = self.fetch(&http, &url, Headers { range: Some(range), ..Headers::default() })?;
            match answer.rest(range, blob.size) {
                Rest::Begins(body, start) => return Ok((*body, start)),
                Rest::NotGiven => {}
                Rest::Refused(answer) => return Err(self.refused(*answer)),
            }
        }
        match self.fetch(&http, &url, Headers::default())? {
            answer if answer.status() == 200 => Ok((answer.into_body(), 0)),
            answer => Err(self.refused(answer)),
        }
    }

    fn fetch(&self, http: &Http, url: &Url, headers: Headers<'_>) -> Result<Response> {
        let answer = http.get(url, headers)?;
        redirect::report(self.progress, &answer);
        redirect::follow(http, answer, headers, &self.connections.config.limits, self.progress)
    }

    fn refused(&self, answer: Response) -> Error {
        session::refusal(answer, self.connections.config.limits.error_body)
    }
}
