//! Requests for one repository, with failing over from one endpoint to the next.

use super::connections::Connections;
use super::endpoint::Endpoint;
use super::http::Body;
use super::session::{ManifestResponse, Session};
use super::system::CredentialProvider;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::descriptor::Descriptor;
use crate::oci::reference::Reference;
use crate::progress::{Event, Progress};

/// One repository and its endpoints: mirrors first, the registry last unless only mirrors may be used.
pub(crate) struct Repository<'a> {
    pub(super) connections: &'a Connections,
    pub(super) progress: &'a dyn Progress,
    credentials: &'a dyn CredentialProvider,
    endpoints: Vec<EndpointState<'a>>,
    current: CurrentRequest,
}

/// An endpoint and its session, which is opened by the first request.
struct EndpointState<'a> {
    endpoint: Endpoint,
    session: Option<Session<'a>>,
    /// The failure that makes further requests useless.
    abandoned: Option<Failure>,
}

/// The outcome of a request that an endpoint did not serve.
#[derive(Clone)]
struct Failure {
    class: FailureClass,
    text: String,
}

#[derive(Clone, Copy, PartialEq)]
enum FailureClass {
    NotFound,
    /// No response.
    Unreachable,
    Other,
}

impl Failure {
    /// `is_answered` is true if the endpoint sent a response, and its body failed.
    fn new(error: &Error, is_answered: bool) -> Self {
        let class = match error.kind() {
            ErrorKind::NotFound => FailureClass::NotFound,
            ErrorKind::Network if !is_answered && error.may_be_retried() && !error.is_refusal() => {
                FailureClass::Unreachable
            }
            _ => FailureClass::Other,
        };
        Self { class, text: error.to_string() }
    }
}

/// A blob, a manifest or the tags, and the endpoints that were tried for it.
#[derive(Default)]
struct CurrentRequest {
    /// The digest or tag; empty for the list of tags.
    key: String,
    /// True if a digest verifies the response. Then any endpoint that allows pulls may serve it.
    has_digest: bool,
    /// The endpoint of the last attempt.
    last: Option<usize>,
    /// True if the last attempt succeeded.
    is_answered: bool,
    /// The endpoints that failed.
    failed: Vec<(usize, Failure)>,
}

impl<'a> Repository<'a> {
    /// Reads the configuration for the name. Sends no requests.
    pub(crate) fn open(
        connections: &'a Connections,
        name: &Reference,
        credentials: &'a dyn CredentialProvider,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let endpoints = connections.endpoints(name)?;
        connections.notices.report(progress);
        let endpoints =
            endpoints.into_iter().map(|endpoint| EndpointState { endpoint, session: None, abandoned: None }).collect();
        Ok(Self { connections, progress, credentials, endpoints, current: CurrentRequest::default() })
    }

    /// Returns the same repository over other connections. Keeps what is known about the endpoints.
    pub(crate) fn with_connections<'b>(&self, connections: &'b Connections) -> Repository<'b>
    where
        'a: 'b,
    {
        let mut endpoints = Vec::new();
        for state in &self.endpoints {
            endpoints.push(EndpointState {
                endpoint: state.endpoint.clone(),
                session: state.session.as_ref().map(|session| session.with_connections(connections)),
                abandoned: state.abandoned.clone(),
            });
        }
        let (progress, credentials) = (self.progress, self.credentials);
        Repository { connections, progress, credentials, endpoints, current: CurrentRequest::default() }
    }

    /// Returns the manifest or index of a tag or digest, unverified.
    pub(crate) fn manifest(&mut self, selector: &str) -> Result<ManifestResponse> {
        // A digest contains a colon, and a tag does not.
        self.send(selector, selector.contains(':'), |session| session.manifest(selector))
    }

    /// Returns the digest that a tag or digest points to, or `None` if the endpoint says it only with the manifest. The
    /// digest is a claim of the endpoint. With `known`, the request is conditional.
    pub(crate) fn digest(&mut self, selector: &str, known: Option<Digest>) -> Result<Option<Digest>> {
        self.send(selector, selector.contains(':'), |session| session.digest(selector, known))
    }

    /// Returns the manifest or index of a tag, unverified, or `None` if its digest is still the `known` one.
    #[cfg(feature = "manage")]
    pub(crate) fn changed_manifest(
        &mut self,
        selector: &str,
        known: Option<Digest>,
    ) -> Result<Option<ManifestResponse>> {
        self.send(selector, selector.contains(':'), |session| session.changed_manifest(selector, known))
    }

    /// Returns true if no more bytes may be received.
    pub(crate) fn has_used_up_budget(&self) -> bool {
        self.connections.config.pace.budget.is_used_up()
    }

    /// Returns the body of a blob, unverified, and the offset of its first byte, which is `offset` or 0.
    pub(crate) fn blob(&mut self, blob: &Descriptor, offset: u64) -> Result<(Body, u64)> {
        self.send(&blob.digest.to_string(), true, |session| session.blob(blob, offset))
    }

    /// Returns all tags, in the registry's order.
    pub(crate) fn tags(&mut self) -> Result<Vec<String>> {
        self.send("", false, Session::tags)
    }

    /// Returns true if the request should be repeated immediately, which then goes to the next endpoint. Also call this
    /// when the response failed verification.
    ///
    /// An endpoint that cannot be reached or denies access is abandoned. An endpoint that lacks something, sends the
    /// wrong content or breaks off is skipped for the current request only.
    pub(crate) fn fail_over(&mut self, error: &Error) -> bool {
        let is_local =
            matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::Disk | ErrorKind::Internal | ErrorKind::Usage);
        if is_local || !error.may_be_retried() {
            return false;
        }
        let Some(failed) = self.current.last.take() else { return false };
        if self.endpoints.iter().rposition(|state| self.current.is_allowed(state)) == Some(failed) {
            return false;
        }
        let failure = Failure::new(error, self.current.is_answered);
        self.current.failed.push((failed, failure.clone()));
        if let Some(state) = self.endpoints.get_mut(failed) {
            let is_about_content = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Mismatch);
            if !is_about_content && !self.current.is_answered {
                state.abandoned = Some(failure);
            }
            if error.kind() != ErrorKind::NotFound {
                let text = format!("skipping mirror {}: {error}", state.endpoint.display_url());
                self.progress.report(Event::Warning(&text));
            }
        }
        true
    }

    /// Lets every endpoint that was not abandoned serve the current request again.
    #[cfg(feature = "manage")]
    pub(crate) fn forget_failures(&mut self) {
        self.current = CurrentRequest::default();
    }

    /// Returns the error of the whole request, after `error` of the last endpoint. If every endpoint that responded does
    /// not have the content, it is not found, although others could not be reached: in a network without access to the
    /// registry, the mirrors decide.
    pub(crate) fn conclude(&self, error: Error) -> Error {
        let mut failures = Vec::new();
        for (index, state) in self.endpoints.iter().enumerate().filter(|(_, state)| self.current.is_allowed(state)) {
            let failed = self.current.failed.iter().find(|(failed, _)| *failed == index);
            failures.extend(failed.map(|(_, failure)| failure).or(state.abandoned.as_ref()).cloned());
        }
        if failures.is_empty() {
            return error;
        }
        failures.push(Failure::new(&error, self.current.is_answered));
        let has = |class| failures.iter().any(|failure| failure.class == class);
        if !has(FailureClass::NotFound) || has(FailureClass::Other) {
            return error;
        }
        let texts: Vec<&str> = failures.iter().map(|failure| failure.text.as_str()).collect();
        Error::new(ErrorKind::NotFound, texts.join("; "))
    }

    /// The endpoints that may resolve tags and have not failed, in order. All that have not failed, if none may resolve tags:
    /// the caller verifies what they say.
    #[cfg(feature = "trust")]
    pub(crate) fn lookup_endpoints(&self) -> Vec<usize> {
        let usable = self.endpoints.iter().enumerate().filter(|(_, state)| state.abandoned.is_none());
        let resolving: Vec<usize> =
            usable.clone().filter(|(_, state)| state.endpoint.resolves).map(|(index, _)| index).collect();
        if resolving.is_empty() { usable.map(|(index, _)| index).collect() } else { resolving }
    }

    /// Sends a request to one endpoint, and to no other if that fails.
    #[cfg(feature = "trust")]
    pub(super) fn send_to<T>(
        &mut self,
        endpoint: usize,
        send: impl FnOnce(&mut Session<'a>) -> Result<T>,
    ) -> Result<T> {
        let (connections, credentials, progress) = (self.connections, self.credentials, self.progress);
        let state = self.endpoints.get_mut(endpoint);
        let state = state.ok_or_else(|| Error::new(ErrorKind::Internal, "no such endpoint"))?;
        send(state.session(SessionOpening { connections, credentials, progress })?)
    }

    /// Sends a request to the first allowed endpoint that has not failed, or to the last one if all have failed.
    fn send<T>(&mut self, key: &str, has_digest: bool, send: impl FnOnce(&mut Session<'a>) -> Result<T>) -> Result<T> {
        if self.current.key != key || self.current.has_digest != has_digest {
            self.current = CurrentRequest { key: key.to_owned(), has_digest, ..CurrentRequest::default() };
        }
        let current = &mut self.current;
        let mut chosen = None;
        for (index, state) in self.endpoints.iter_mut().enumerate().filter(|(_, state)| current.is_allowed(state)) {
            let is_usable = state.abandoned.is_none() && !current.has_failed(index);
            chosen = Some((index, state));
            if is_usable {
                break;
            }
        }
        let Some((index, state)) = chosen else {
            let text = "this machine's configuration allows no endpoint to resolve tags";
            return Err(Error::new(ErrorKind::Denied, text).with_hint("give the name with a digest"));
        };
        (current.last, current.is_answered) = (Some(index), false);
        let opening =
            SessionOpening { connections: self.connections, credentials: self.credentials, progress: self.progress };
        let session = state.session(opening)?;
        let response = send(session);
        current.is_answered = response.is_ok();
        response
    }
}

/// What a new session needs.
struct SessionOpening<'a> {
    connections: &'a Connections,
    credentials: &'a dyn CredentialProvider,
    progress: &'a dyn Progress,
}

impl<'a> EndpointState<'a> {
    /// The session, which is opened now if this is its first request.
    fn session(&mut self, opening: SessionOpening<'a>) -> Result<&mut Session<'a>> {
        let SessionOpening { connections, credentials, progress } = opening;
        if self.session.is_none() {
            let credentials = self.endpoint.credentials(credentials, progress)?;
            self.session = Some(Session::open(connections, self.endpoint.clone(), credentials, progress));
        }
        self.session.as_mut().ok_or_else(|| Error::new(ErrorKind::Internal, "no session"))
    }
}

impl CurrentRequest {
    fn has_failed(&self, index: usize) -> bool {
        self.failed.iter().any(|(failed, _)| *failed == index)
    }

    /// Returns true if the configuration allows the endpoint to serve this request.
    fn is_allowed(&self, state: &EndpointState<'_>) -> bool {
        if self.has_digest { state.endpoint.pulls } else { state.endpoint.resolves }
    }
}
