//! One repository at one of its endpoints: first contact, challenge, redirects by hand, pages of tags. What it gives is
//! not verified, and nothing is asked twice but where a challenge or a root that keeps silent makes it so.

use std::collections::HashSet;
use std::sync::Arc;

use serde::Deserialize;

use super::auth::{Auth, Challenge, parse_challenges};
#[cfg(feature = "tls")]
use super::connections::ConnectionConfig;
use super::connections::Connections;
use super::endpoint::Endpoint;
use super::http::{Body, Headers, Http, Response, Rest};
use super::ping::{self, Ping};
use super::url::Url;
use super::{problem, redirect};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{Limits, within};
use crate::oci::credentials::Credentials;
use crate::oci::descriptor::Descriptor;
use crate::oci::media_type;
use crate::oci::reference;
#[cfg(feature = "tls")]
use crate::progress::Event;
use crate::progress::Progress;

/// One repository at one endpoint.
pub(super) struct Session<'a> {
    connections: &'a Connections,
    http: Arc<Http>,
    progress: &'a dyn Progress,
    endpoint: Endpoint,
    /// Where the endpoint may be; one root is left after the first contact.
    roots: Vec<Url>,
    auth: Auth,
    /// Whether what lets us in is kept for the next session.
    is_kept: bool,
    /// The registry has given something or was pinged: what it refuses now, it refuses.
    is_known: bool,
}

/// A manifest or index as it came, and what the server called it.
pub(crate) struct ManifestResponse {
    pub(crate) bytes: Vec<u8>,
    pub(crate) content_type: String,
}

/// One request to the registry.
#[derive(Clone, Copy)]
struct Request<'a> {
    /// Path and query.
    target: &'a str,
    accept: Option<&'a str>,
    range: Option<(u64, u64)>,
}

impl<'a> Request<'a> {
    fn headers(self, authorization: Option<&'a str>, extra: &'a [(String, String)]) -> Headers<'a> {
        Headers { accept: self.accept, authorization, range: self.range, extra }
    }
}

#[derive(Deserialize)]
struct TagList {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl<'a> Session<'a> {
    /// No request is made yet.
    pub(super) fn open(
        connections: &'a Connections,
        endpoint: Endpoint,
        credentials: Option<Credentials>,
        progress: &'a dyn Progress,
    ) -> Self {
        let granted = connections.granted().get(&endpoint.key()).cloned();
        let scope = format!("repository:{}:pull", endpoint.path);
        let auth = Auth::new(credentials, &connections.config.realms, scope, granted);
        Self { is_kept: true, ..Self::with(connections, endpoint, auth, progress) }
    }

    fn with(connections: &'a Connections, endpoint: Endpoint, auth: Auth, progress: &'a dyn Progress) -> Self {
        let (http, roots) = (connections.http(&endpoint.peer, endpoint.is_mirror), endpoint.roots.clone());
        Self { connections, http, progress, endpoint, roots, auth, is_kept: false, is_known: false }
    }

    /// The same over other connections.
    pub(super) fn with_connections<'b>(&self, connections: &'b Connections) -> Session<'b>
    where
        'a: 'b,
    {
        let (auth, is_known, is_kept) = (self.auth.clone(), self.is_known, self.is_kept);
        let roots = self.roots.clone();
        Session { roots, is_known, is_kept, ..Session::with(connections, self.endpoint.clone(), auth, self.progress) }
    }

    /// Asks whether the endpoint lets us in with these credentials, and fails with what it says if not. Nothing that was
    /// granted before counts, and nothing of this is kept.
    pub(super) fn check(
        connections: &'a Connections,
        endpoint: Endpoint,
        credentials: Credentials,
        progress: &'a dyn Progress,
    ) -> Result<()> {
        let auth = Auth::new(Some(credentials), &connections.config.realms, String::new(), None);
        let mut session = Self::with(connections, endpoint, auth, progress);
        let answer = session.get(&session.at(ping::PATH), None)?;
        // Another server's word that all is well says nothing: it was not shown the credentials.
        match session.is_own(answer.url()) {
            true => answer.read(connections.config.limits.error_body).map(drop),
            false => {
                let text = format!("the registry leads to another server, {}, and does not check them", answer.url());
                Err(Error::new(ErrorKind::Denied, text))
            }
        }
    }

    /// The manifest or index under a tag or digest. The bytes are not verified.
    pub(super) fn manifest(&mut self, selector: &str) -> Result<ManifestResponse> {
        let answer = self.get(&self.in_repository(&format!("manifests/{selector}")), Some(&media_type::accepted()))?;
        let content_type = answer.header("content-type").unwrap_or_default().to_owned();
        let limit = self.connections.config.limits.document;
        let bytes = within(answer.read(limit)?, "bytes of manifest", limit)?;
        Ok(ManifestResponse { bytes, content_type })
    }

    /// The blob's bytes as they come, not verified, from `offset` on if the server goes along: the number beside them
    /// tells where they begin. The range is closed, for some registries refuse open ones, and `Accept-Ranges` is not
    /// asked about, for most do not send it.
    pub(super) fn blob(&mut self, blob: &Descriptor, offset: u64) -> Result<(Body, u64)> {
        let target = self.in_repository(&format!("blobs/{}", blob.digest));
        if offset > 0 && offset < blob.size {
            let range = (offset, blob.size - 1);
            let answer = self.ask(Request { target: &target, accept: None, range: Some(range) })?;
            match answer.rest(range, blob.size) {
                Rest::Begins(body, start) => return Ok((*body, start)),
                Rest::NotGiven => {}
                Rest::Refused(answer) => return Err(self.refusal(*answer)),
            }
        }
        Ok((self.get(&target, None)?.into_body(), 0))
    }

    /// All tags, in the registry's order; pages are followed by `Link`.
    pub(super) fn tags(&mut self) -> Result<Vec<String>> {
        let limits = &self.connections.config.limits;
        let (most, page_limit) = (limits.tags, limits.document);
        let mut tags = Vec::new();
        let mut known = HashSet::new();
        let mut next = Some(self.in_repository("tags/list?n=1000"));
        while let Some(target) = next {
            let answer = self.get(&target, None)?;
            next = self.next_page(&answer)?.filter(|next| *next != target);
            let page: TagList =
                serde_json::from_slice(&within(answer.read(page_limit)?, "bytes of tag list", page_limit)?)
                    .map_err(|e| Error::new(ErrorKind::Network, format!("malformed tag list: {e}")))?;
            let page = page.tags.unwrap_or_default();
            if !page.iter().all(|tag| reference::is_tag(tag)) {
                return Err(Error::new(ErrorKind::Unsafe, "malformed tag list: something in it is no tag"));
            }
            let before = tags.len();
            tags.extend(page.into_iter().filter(|tag| known.insert(tag.clone())));
            // A page that brings nothing new and leads on would lead on for ever.
            next = next.filter(|_| tags.len() > before);
            if tags.len() > most {
                return Err(Limits::exceeded("tags", most));
            }
        }
        Ok(tags)
    }

    /// `Link: </v2/…?last=x>; rel="next"` (RFC 8288), on the same origin only.
    fn next_page(&self, answer: &Response) -> Result<Option<String>> {
        let links = answer.headers("link").flat_map(|value| value.split(','));
        let mut links = links.filter_map(|link| link.trim().strip_prefix('<')?.split_once('>'));
        let Some((target, _)) = links.find(|(_, parameters)| parameters.replace('"', "").contains("rel=next")) else {
            return Ok(None);
        };
        let next = answer.url().join(target)?;
        match next.same_origin(answer.url()) {
            true => Ok(Some(next.target().to_owned())),
            false => Err(Error::new(ErrorKind::Unsafe, format!("the tag list goes on at another server, {next}"))),
        }
    }

    /// GETs `target`, to a 200.
    fn get(&mut self, target: &str, accept: Option<&str>) -> Result<Response> {
        let answer = self.ask(Request { target, accept, range: None })?;
        match answer.status() {
            200 => {
                self.is_known = true;
                Ok(answer)
            }
            404 if !self.is_known => self.missing(answer, target, accept),
            _ => Err(self.refusal(answer)),
        }
    }

    /// GETs from the registry: in, through a challenge if there is one, and along redirects.
    fn ask(&mut self, ask: Request<'_>) -> Result<Response> {
        let answer = self.ask_quietly(ask);
        self.connections.notices.tell(self.progress);
        answer
    }

    fn ask_quietly(&mut self, ask: Request<'_>) -> Result<Response> {
        if let Some(registry) = self.auth.expired() {
            self.authorise(&registry, Vec::new())?;
        }
        let mut answer = self.contact(ask)?;
        if answer.status() == 400 && self.auth.header(answer.url()).is_some() {
            let (again, body) = answer.peek(self.connections.config.limits.error_body)?;
            answer = if problem::says_expired(&body) { self.ask_again(again, ask)? } else { again };
        } else if answer.status() == 401 {
            answer = self.ask_again(answer, ask)?;
        }
        self.follow(answer, ask)
    }

    /// Sends the request to the registry itself; at the first contact, to each root until one speaks.
    fn contact(&mut self, ask: Request<'_>) -> Result<Response> {
        let mut failure: Option<Error> = None;
        for root in self.roots.clone() {
            let is_last = self.roots.last() == Some(&root);
            #[cfg(feature = "tls")]
            if root.is_https() {
                let ConnectionConfig { machine, cancel, .. } = &self.connections.config;
                machine.randomness(&|text| self.progress.report(Event::Note(text)), cancel)?;
            }
            let url = self.endpoint.named(root.at(ask.target));
            let answer = self.http.get(&url, ask.headers(self.auth.header(&url), &self.endpoint.headers));
            self.connections.notices.tell(self.progress);
            match answer {
                // How TLS servers answer a plain request.
                Ok(answer) if answer.status() == 400 && !root.is_https() && !is_last => {
                    self.report(&answer);
                    failure = Some(self.refusal(answer));
                }
                Ok(answer) => {
                    self.roots = vec![root];
                    self.report(&answer);
                    return Ok(answer);
                }
                // Who speaks TLS is not asked in the clear.
                Err(error) if error.kind() == ErrorKind::Tls => return Err(error),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| Error::new(ErrorKind::Internal, "no registry to contact")))
    }

    /// Answers the challenge of a refusal and asks again, once: a token may have expired, but never twice in a row.
    fn ask_again(&mut self, refused: Response, ask: Request<'_>) -> Result<Response> {
        let mut challenges = parse_challenges(refused.headers("www-authenticate"));
        let mut registry = refused.url().clone();
        let is_asked_for = refused.status() == 401;
        // Only a body that was read to its end leaves the connection to the next request.
        let _ = refused.read(self.connections.config.limits.error_body);
        if is_asked_for && !ping::can_be_answered(&challenges) {
            let ping = self.ping()?;
            (registry, challenges) = (ping.registry, ping.challenges);
        }
        self.authorise(&registry, challenges)?;
        self.contact(ask)
    }

    fn authorise(&mut self, registry: &Url, challenges: Vec<Challenge>) -> Result<()> {
        let limits = &self.connections.config.limits;
        let progress = self.progress;
        self.auth.answer(&self.http, registry, challenges, limits, &|answer| redirect::report(progress, answer))?;
        if let (true, Some(granted)) = (self.is_kept, self.auth.granted()) {
            self.connections.granted().insert(self.endpoint.key(), granted.clone());
        }
        Ok(())
    }

    /// The ping, to the registry itself: redirects are not followed, for only its own challenges count.
    fn ping(&mut self) -> Result<Ping> {
        let answer = self.contact(Request { target: &self.at(ping::PATH), accept: None, range: None })?;
        self.is_known = true;
        Ping::read(answer, self.connections.config.limits.error_body)
    }

    /// A 404 from a server that has not given anything yet: what is asked for is not there, or is hidden from who did
    /// not say who he is, or this is no registry.
    fn missing(&mut self, answer: Response, target: &str, accept: Option<&str>) -> Result<Response> {
        let (url, speaks_v2) = (answer.url().to_string(), ping::speaks_v2(&answer));
        let body = answer.read(self.connections.config.limits.error_body)?.unwrap_or_default();
        let refusal = problem::refusal("GET", &url, 404, &body, None);
        if speaks_v2 || problem::is_of_a_registry(&body) {
            return Err(refusal);
        }
        match self.ping()? {
            ping if ping.asks_who_we_are() && self.auth.granted().is_none() => {
                self.authorise(&ping.registry, ping.challenges)?;
                self.get(target, accept)
            }
            ping if ping.is_no_registry() => Err(problem::no_registry(&url)),
            _ => Err(refusal),
        }
    }

    /// Follows redirects. The credential stays behind at the first hop to another origin and is never picked up again.
    fn follow(&self, answer: Response, ask: Request<'_>) -> Result<Response> {
        let authorization = self.auth.header(answer.url()).map(str::to_owned);
        let headers = ask.headers(authorization.as_deref(), &self.endpoint.headers);
        redirect::follow(&self.http, answer, headers, &self.connections.config.limits, self.progress)
    }

    /// A path of the API.
    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.endpoint.api)
    }

    fn in_repository(&self, what: &str) -> String {
        self.at(&format!("/{}/{what}", self.endpoint.path))
    }

    fn is_own(&self, url: &Url) -> bool {
        self.endpoint.roots.iter().any(|root| root.same_origin(url))
    }

    fn refusal(&self, answer: Response) -> Error {
        refusal(answer, self.connections.config.limits.error_body)
    }

    fn report(&self, answer: &Response) {
        redirect::report(self.progress, answer);
    }
}

/// The error for an answer that gives nothing; `limit` is how much of its body may tell why.
pub(super) fn refusal(answer: Response, limit: usize) -> Error {
    let (url, status, patience) = (answer.url().to_string(), answer.status(), answer.patience());
    let body = answer.read(limit);
    problem::refusal("GET", &url, status, &body.ok().flatten().unwrap_or_default(), patience)
}
