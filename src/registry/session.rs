//! Requests for one repository to one of its endpoints: finding the base URL, authentication, and redirects. Sends each request once, except to answer a challenge or to try the next base URL when one does not respond.

use std::sync::Arc;

use super::auth::{Auth, Challenge, parse_challenges};
use super::connections::Connections;
use super::endpoint::Endpoint;
use super::http::{Body, ByteRange, Headers, HttpClient, RangeResponse, Response};
use super::ping::{self, Ping};
use super::url::Url;
use super::{problem, redirect};
use crate::advice::Advice;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::within;
use crate::oci::credentials::Credentials;
use crate::oci::descriptor::Descriptor;
use crate::oci::media_type;
use crate::oci::reference::Reference;
#[cfg(feature = "tls")]
use crate::progress::Event;
use crate::progress::Progress;

/// One repository at one endpoint.
pub(super) struct Session<'a> {
    pub(super) connections: &'a Connections,
    http: Arc<HttpClient>,
    pub(super) progress: &'a dyn Progress,
    endpoint: Endpoint,
    /// The base URLs to try. One is left after the first response.
    base_urls: Vec<Url>,
    auth: Auth,
    /// True if an accepted authorization is cached for later sessions.
    caches_auth: bool,
    /// True after the first success or ping. A 404 is then final and needs no ping.
    is_registry: bool,
    /// True if the ping showed that the registry requires no authentication.
    is_public: bool,
}

/// The bytes of a manifest or index, and the server's `Content-Type`.
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
    range: Option<ByteRange>,
    /// True for a HEAD request, false for GET.
    is_head: bool,
}

impl<'a> Request<'a> {
    fn headers(self, authorization: Option<&'a str>, extra: &'a [(String, String)]) -> Headers<'a> {
        Headers { accept: self.accept, authorization, range: self.range, extra }
    }
}

impl Connections {
    /// Checks that the registry of `name` accepts these credentials. Asks the registry itself and none of its mirrors,
    /// and neither uses nor changes the cached authorizations.
    pub(crate) fn check_credentials(
        &self,
        name: &Reference,
        credentials: Credentials,
        progress: &dyn Progress,
    ) -> Result<()> {
        let endpoint = self.origin_endpoint(name)?;
        let auth = Auth::new(Some(credentials), &self.config.realms, String::new(), None);
        let mut session = Session::new(self, endpoint, auth, progress);
        let response = session.get(&session.api_path(ping::PATH), None)?;
        // A success of another server proves nothing, because that server did not see the credentials.
        if !session.is_own_origin(response.url()) {
            let text = format!("the registry redirects to {}, which does not check them", response.url());
            return Err(Error::new(ErrorKind::Denied, text));
        }
        response.read(self.config.limits.error_body).map(drop)
    }
}

impl<'a> Session<'a> {
    /// Opens a session, with the cached authorization if there is one. Sends no requests.
    pub(super) fn open(
        connections: &'a Connections,
        endpoint: Endpoint,
        credentials: Option<Credentials>,
        progress: &'a dyn Progress,
    ) -> Self {
        let cached = connections.auth_cache().get(&endpoint.cache_key()).cloned();
        let scope = format!("repository:{}:pull", endpoint.path);
        let auth = Auth::new(credentials, &connections.config.realms, scope, cached);
        Self { caches_auth: true, ..Self::new(connections, endpoint, auth, progress) }
    }

    fn new(connections: &'a Connections, endpoint: Endpoint, auth: Auth, progress: &'a dyn Progress) -> Self {
        let http = connections.http(&endpoint.peer, endpoint.is_mirror);
        let base_urls = endpoint.base_urls.clone();
        Self {
            connections,
            http,
            progress,
            endpoint,
            base_urls,
            auth,
            caches_auth: false,
            is_registry: false,
            is_public: false,
        }
    }

    /// Returns the same session over other connections.
    pub(super) fn with_connections<'b>(&self, connections: &'b Connections) -> Session<'b>
    where
        'a: 'b,
    {
        Session {
            base_urls: self.base_urls.clone(),
            caches_auth: self.caches_auth,
            is_registry: self.is_registry,
            is_public: self.is_public,
            ..Session::new(connections, self.endpoint.clone(), self.auth.clone(), self.progress)
        }
    }

    /// Returns the manifest or index of a tag or digest, unverified.
    pub(super) fn manifest(&mut self, selector: &str) -> Result<ManifestResponse> {
        let target = self.repository_path(&format!("manifests/{selector}"));
        let response = self.get(&target, Some(&media_type::accepted()))?;
        self.read_manifest(response)
    }

    fn read_manifest(&self, response: Response) -> Result<ManifestResponse> {
        let content_type = response.header("content-type").unwrap_or_default().to_owned();
        let limit = self.connections.config.limits.document;
        let bytes = within(response.read(limit)?, "bytes of manifest", limit)?;
        Ok(ManifestResponse { bytes, content_type })
    }

    /// Returns the digest that a tag or digest points to, according to a HEAD request. Docker Hub does not count it
    /// against the limit of pulls. With `known`, the request is conditional (If-None-Match). Returns `None` if HEAD is
    /// refused, or if there is no digest in the response for a tag.
    pub(super) fn digest(&mut self, selector: &str, known: Option<Digest>) -> Result<Option<Digest>> {
        let target = self.repository_path(&format!("manifests/{selector}"));
        let accepted = media_type::accepted();
        let request = Request { target: &target, accept: Some(&accepted), range: None, is_head: true };
        let response = self.conditionally(known, |session| session.send_authenticated(request))?;
        match response.status() {
            200 => self.is_registry = true,
            304 if known.is_some() => return Ok(known),
            // Another request would extend the block, or add to the load.
            429 | 503 => return Err(self.refusal(response)),
            _ => return Ok(None),
        }
        let digest = response.header("docker-content-digest").and_then(|digest| digest.trim().parse().ok());
        // The digest of a signed manifest of schema 1 is that of its payload, but some registries send another one.
        let content_type = media_type::essence(response.header("content-type").unwrap_or_default());
        let digest = digest.filter(|_| !media_type::is_schema_1(&content_type));
        Ok(digest.or_else(|| selector.parse().ok()))
    }

    /// Returns the manifest or index of a tag, unverified, or `None` if its digest is still the `known` one.
    #[cfg(feature = "manage")]
    pub(super) fn changed_manifest(
        &mut self,
        selector: &str,
        known: Option<Digest>,
    ) -> Result<Option<ManifestResponse>> {
        let target = self.repository_path(&format!("manifests/{selector}"));
        let accepted = media_type::accepted();
        let request = Request { target: &target, accept: Some(&accepted), range: None, is_head: false };
        let response = self.conditionally(known, |session| session.send(request))?;
        match response.status() {
            200 => self.read_manifest(response).map(Some),
            304 if known.is_some() => Ok(None),
            404 if !self.is_registry => {
                let response = self.explain_not_found(response, &target, Some(&accepted))?;
                self.read_manifest(response).map(Some)
            }
            _ => Err(self.refusal(response)),
        }
    }

    /// Sends a request that the registry may answer with 304 if the content has the digest `known`.
    fn conditionally<T>(&mut self, known: Option<Digest>, send: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let count = self.endpoint.headers.len();
        self.endpoint.headers.extend(known.map(|known| ("if-none-match".to_owned(), format!("\"{known}\""))));
        let sent = send(self);
        self.endpoint.headers.truncate(count);
        sent
    }

    /// Returns the body of a blob, unverified, and the offset of its first byte, which is `offset` or 0.
    ///
    /// The requested range has an end, because some registries refuse open ranges. `Accept-Ranges` does not matter,
    /// because most registries do not send it.
    pub(super) fn blob(&mut self, blob: &Descriptor, offset: u64) -> Result<(Body, u64)> {
        let target = self.repository_path(&format!("blobs/{}", blob.digest));
        let last = self.connections.config.pace.budget.last(offset, blob.size);
        if offset < blob.size && (offset > 0 || last < blob.size - 1) {
            let range = ByteRange { first: offset, last };
            let response = self.send(Request { target: &target, accept: None, range: Some(range), is_head: false })?;
            match response.into_range(range, blob.size) {
                #[cfg(feature = "manage")]
                RangeResponse::Body(body, start) => {
                    let is_bounded = start == offset && last < blob.size - 1;
                    return Ok((body.bounded(is_bounded), start));
                }
                #[cfg(not(feature = "manage"))]
                RangeResponse::Body(body, start) => return Ok((*body, start)),
                RangeResponse::Unsatisfied => {}
                RangeResponse::Refused(response) => return Err(self.refusal(*response)),
            }
        }
        Ok((self.get(&target, None)?.into_body(), 0))
    }

    /// Sends a GET request and returns its response with status 200.
    pub(super) fn get(&mut self, target: &str, accept: Option<&str>) -> Result<Response> {
        let response = self.send(Request { target, accept, range: None, is_head: false })?;
        match response.status() {
            200 => {
                self.is_registry = true;
                Ok(response)
            }
            404 if !self.is_registry => self.explain_not_found(response, target, accept),
            _ => Err(self.refusal(response)),
        }
    }

    /// Sends a GET request and returns its response, whatever its status.
    #[cfg(feature = "trust")]
    pub(super) fn request(&mut self, target: &str, accept: &str) -> Result<Response> {
        let response = self.send(Request { target, accept: Some(accept), range: None, is_head: false })?;
        self.is_registry |= response.status() == 200;
        Ok(response)
    }

    /// Sends a request, answers a challenge, and follows redirects. Any status is returned.
    ///
    /// A 403 from the target of a redirect may mean that its signed URL has expired, so the registry is asked once for
    /// another one.
    fn send(&mut self, request: Request<'_>) -> Result<Response> {
        let mut sent = self.send_and_follow(request);
        if let Ok((response, true)) = sent {
            sent = if response.status() == 403 {
                // The connection can be used again only after the body has been read.
                let _ = response.read(self.connections.config.limits.error_body);
                self.send_and_follow(request)
            } else {
                Ok((response, true))
            };
        }
        // Connecting and following redirects may have added notices.
        self.connections.notices.report(self.progress);
        sent.map(|(response, _)| response)
    }

    /// Returns the response, and true if it is from the target of a redirect.
    fn send_and_follow(&mut self, request: Request<'_>) -> Result<(Response, bool)> {
        let response = self.send_authenticated(request)?;
        let url = response.url().clone();
        let response = self.follow_redirects(response, request)?;
        let is_redirected = *response.url() != url;
        Ok((response, is_redirected))
    }

    /// Sends a request, and again after authenticating if the registry requires it.
    fn send_authenticated(&mut self, request: Request<'_>) -> Result<Response> {
        if let Some(registry) = self.auth.expired() {
            self.authenticate(&registry, Vec::new())?;
        }
        let response = self.send_to_registry(request)?;
        if response.status() == 401 {
            return self.authenticate_and_resend(response, request);
        }
        if response.status() == 400 && self.auth.header(response.url()).is_some() {
            let (response, body) = response.peek(self.connections.config.limits.error_body)?;
            if problem::is_expired_token(&body) {
                return self.authenticate_and_resend(response, request);
            }
            return Ok(response);
        }
        if self.may_be_hidden(&response, request) {
            return self.authenticate_if_required(response, request);
        }
        Ok(response)
    }

    /// Returns true if the registry may hide the content because it has not seen the credentials. Some registries send
    /// 403 or 404 in that case, without a challenge.
    fn may_be_hidden(&self, response: &Response, request: Request<'_>) -> bool {
        let shows_nothing = self.auth.has_credentials() && self.auth.cached().is_none();
        let is_ping = request.target == self.api_path(ping::PATH);
        matches!(response.status(), 403 | 404) && shows_nothing && !self.is_public && !is_ping
    }

    /// Sends a refused request again with the credentials, if the refusal or the ping has a challenge. Otherwise returns
    /// the refusal.
    fn authenticate_if_required(&mut self, refused: Response, request: Request<'_>) -> Result<Response> {
        let mut challenges = parse_challenges(refused.headers("www-authenticate"));
        let (refused, _) = refused.peek(self.connections.config.limits.error_body)?;
        let mut registry = refused.url().clone();
        if !ping::is_supported(&challenges) {
            let ping = self.ping()?;
            if !ping.requires_authentication() {
                self.is_public = true;
                self.is_registry = !ping.is_no_registry();
                return Ok(refused);
            }
            (registry, challenges) = (ping.registry, ping.challenges);
        }
        self.authenticate(&registry, challenges)?;
        self.send_to_registry(request)
    }

    /// Sends a request to the registry itself. Until the first response, tries each base URL in order.
    fn send_to_registry(&mut self, request: Request<'_>) -> Result<Response> {
        let mut failure: Option<Error> = None;
        for base_url in self.base_urls.clone() {
            let is_last = self.base_urls.last() == Some(&base_url);
            #[cfg(feature = "tls")]
            if base_url.is_https() {
                let config = &self.connections.config;
                config.system.randomness(&|text| self.progress.report(Event::Note(text)), &config.cancel)?;
            }
            let url = self.endpoint.with_namespace(base_url.with_target(request.target));
            let headers = request.headers(self.auth.header(&url), &self.endpoint.headers);
            let response = if request.is_head { self.http.head(&url, headers) } else { self.http.get(&url, headers) };
            self.connections.notices.report(self.progress);
            match response {
                // Servers with TLS return 400 to a plain request.
                Ok(response) if response.status() == 400 && !base_url.is_https() && !is_last => {
                    redirect::report(self.progress, &response);
                    failure = Some(self.refusal(response));
                }
                Ok(response) => {
                    self.base_urls = vec![base_url];
                    redirect::report(self.progress, &response);
                    return Ok(response);
                }
                // The registry may use plain HTTP here, so only the response to that matters.
                Err(error) if uses_plain_http(&error) && !is_last => {}
                // Never fall back to plain HTTP once the server has spoken TLS.
                Err(error) if error.kind() == ErrorKind::Tls && !uses_plain_http(&error) => return Err(error),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or_else(|| Error::new(ErrorKind::Internal, "the endpoint has no base URL")))
    }

    /// Answers the challenge of a refusal and sends the request once more. A second refusal is returned, not answered.
    fn authenticate_and_resend(&mut self, refused: Response, request: Request<'_>) -> Result<Response> {
        let mut challenges = parse_challenges(refused.headers("www-authenticate"));
        let mut registry = refused.url().clone();
        let is_unauthorized = refused.status() == 401;
        // The connection can be used again only after the body has been read.
        let _ = refused.read(self.connections.config.limits.error_body);
        if is_unauthorized && !ping::is_supported(&challenges) {
            let ping = self.ping()?;
            (registry, challenges) = (ping.registry, ping.challenges);
        }
        self.authenticate(&registry, challenges)?;
        self.send_to_registry(request)
    }

    /// Obtains an authorization and caches it.
    fn authenticate(&mut self, registry: &Url, challenges: Vec<Challenge>) -> Result<()> {
        let (limits, progress) = (&self.connections.config.limits, self.progress);
        let report = |response: &Response| redirect::report(progress, response);
        self.auth.authenticate(&self.http, registry, challenges, limits, &report)?;
        if let Some(cached) = self.auth.cached().filter(|_| self.caches_auth) {
            self.connections.auth_cache().insert(self.endpoint.cache_key(), cached.clone());
        }
        Ok(())
    }

    /// Sends the ping to the registry itself. Redirects are not followed, because only the registry's own challenges
    /// count.
    fn ping(&mut self) -> Result<Ping> {
        let target = self.api_path(ping::PATH);
        let response = self.send_to_registry(Request { target: &target, accept: None, range: None, is_head: false })?;
        self.is_registry = true;
        Ping::read(response, self.connections.config.limits.error_body)
    }

    /// Finds the cause of a 404 from a server that has not yet acted as a registry: the content does not exist, it is
    /// hidden from unauthenticated clients, or the server is not a registry.
    fn explain_not_found(&mut self, response: Response, target: &str, accept: Option<&str>) -> Result<Response> {
        let (url, has_version_header) = (response.url().to_string(), ping::has_version_header(&response));
        let body = response.read(self.connections.config.limits.error_body)?.unwrap_or_default();
        let refusal = problem::refusal("GET", &url, 404, &body, None);
        if has_version_header || problem::is_registry_error(&body) {
            return Err(refusal);
        }
        let ping = self.ping()?;
        if ping.requires_authentication() && self.auth.cached().is_none() {
            self.authenticate(&ping.registry, ping.challenges)?;
            return self.get(target, accept);
        }
        if ping.is_no_registry() {
            return Err(problem::not_a_registry(&url));
        }
        Err(refusal)
    }

    fn follow_redirects(&self, response: Response, request: Request<'_>) -> Result<Response> {
        let headers = request.headers(self.auth.header(response.url()), &self.endpoint.headers);
        redirect::follow(&self.http, response, headers, &self.connections.config.limits, self.progress)
    }

    /// Returns a path of the API.
    fn api_path(&self, path: &str) -> String {
        format!("{}{path}", self.endpoint.api)
    }

    /// Returns a path of the repository in the API.
    pub(super) fn repository_path(&self, path: &str) -> String {
        self.api_path(&format!("/{}/{path}", self.endpoint.path))
    }

    fn is_own_origin(&self, url: &Url) -> bool {
        self.endpoint.base_urls.iter().any(|base_url| base_url.same_origin(url))
    }

    pub(super) fn refusal(&self, response: Response) -> Error {
        refusal(response, self.connections.config.limits.error_body)
    }
}

/// Returns true if the registry responded to TLS with something else.
fn uses_plain_http(error: &Error) -> bool {
    matches!(error.advice(), Some(Advice::ListAsInsecure(_)))
}

/// Returns the error for an unsuccessful response. At most `limit` bytes of its body are read for the message.
pub(super) fn refusal(response: Response, limit: usize) -> Error {
    let (url, status, retry_after) = (response.url().to_string(), response.status(), response.retry_after());
    let method = response.method();
    let body = response.read(limit).ok().flatten().unwrap_or_default();
    problem::refusal(method, &url, status, &body, retry_after)
}
