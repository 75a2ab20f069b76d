//! One repository, at its endpoints in order.

use super::connections::Connections;
use super::endpoint::Endpoint;
use super::http::Body;
use super::session::{ManifestResponse, Session};
use super::system::CredentialProvider;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::credentials::Credentials;
use crate::oci::descriptor::Descriptor;
use crate::oci::reference::Reference;
use crate::progress::{Event, Progress};

impl Connections {
    /// Asks whether the registry of `name` lets us in with these credentials, and fails with what it says if not.
    /// Mirrors are not meant. Nothing that was granted before counts, and nothing of this is kept.
    pub(crate) fn check(&self, name: &Reference, credentials: Credentials, progress: &dyn Progress) -> Result<()> {
        Session::check(self, self.registry_itself(name)?, credentials, progress)
    }
}

/// One repository, at all of its endpoints.
pub(crate) struct Repository<'a> {
    pub(super) connections: &'a Connections,
    keys: &'a dyn CredentialProvider,
    pub(super) progress: &'a dyn Progress,
    spots: Vec<EndpointState<'a>>,
    /// What is being asked for, and of whom.
    piece: CurrentRequest,
}

/// An endpoint, and what became of it.
struct EndpointState<'a> {
    endpoint: Endpoint,
    session: Option<Session<'a>>,
    /// It failed in a way in which it would fail again.
    is_abandoned: bool,
}

/// One thing that is asked for: a blob, a manifest, the tags.
#[derive(Default)]
struct CurrentRequest {
    what: String,
    is_proven: bool,
    /// The endpoint that was asked last; whether it answered.
    asked: Option<usize>,
    is_answered: bool,
    /// The endpoints that failed for it.
    failed: Vec<usize>,
}

impl<'a> Repository<'a> {
    /// No request is made yet.
    pub(crate) fn open(
        connections: &'a Connections,
        name: &Reference,
        keys: &'a dyn CredentialProvider,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let endpoints = connections.endpoints(name)?;
        connections.notices.tell(progress);
        let spots = endpoints
            .into_iter()
            .map(|endpoint| EndpointState { endpoint, session: None, is_abandoned: false })
            .collect();
        Ok(Self { connections, keys, progress, spots, piece: CurrentRequest::default() })
    }

    /// The same over other connections: what is known of the endpoints by now need not be learned again.
    pub(crate) fn with_connections<'b>(&self, connections: &'b Connections) -> Repository<'b>
    where
        'a: 'b,
    {
        let spot = |EndpointState { endpoint, session, is_abandoned }: &EndpointState<'a>| EndpointState {
            endpoint: endpoint.clone(),
            session: session.as_ref().map(|session| session.with_connections(connections)),
            is_abandoned: *is_abandoned,
        };
        let spots = self.spots.iter().map(spot).collect();
        Repository { connections, keys: self.keys, progress: self.progress, spots, piece: CurrentRequest::default() }
    }

    /// The manifest or index under a tag or digest. The bytes are not verified.
    pub(crate) fn manifest(&mut self, selector: &str) -> Result<ManifestResponse> {
        // No tag has a colon.
        self.ask(selector, selector.contains(':'), |session| session.manifest(selector))
    }

    /// The blob's bytes as they come, not verified, from `offset` on if the server goes along: the number beside them
    /// tells where they begin.
    pub(crate) fn blob(&mut self, blob: &Descriptor, offset: u64) -> Result<(Body, u64)> {
        self.ask(&blob.digest.to_string(), true, |session| session.blob(blob, offset))
    }

    /// All tags, in the registry's order.
    pub(crate) fn tags(&mut self) -> Result<Vec<String>> {
        self.ask("", false, Session::tags)
    }

    /// Whether, after this failure, the same may be asked of another endpoint at once. What an answer turned out to be
    /// counts too: who found it wrong says so here. An endpoint that could not be reached or does not let us in is not
    /// asked again; one that lacks a thing, or broke off, is passed over for that alone.
    pub(crate) fn fail_over(&mut self, error: &Error) -> bool {
        let is_theirs = match error.kind() {
            ErrorKind::Interrupted | ErrorKind::Disk | ErrorKind::Internal | ErrorKind::Usage => false,
            _ => error.may_be_retried(),
        };
        let Some(asked) = self.piece.asked.take().filter(|_| is_theirs) else { return false };
        let last = self.spots.iter().rposition(|spot| self.piece.may_be_asked_of(spot));
        if last == Some(asked) {
            return false;
        }
        self.piece.failed.push(asked);
        if let Some(spot) = self.spots.get_mut(asked) {
            let is_lacking = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Mismatch);
            spot.is_abandoned |= !is_lacking && !self.piece.is_answered;
            if error.kind() != ErrorKind::NotFound {
                let text = format!("mirror {} is passed over: {error}", spot.endpoint.shown());
                self.progress.report(Event::Note(&text));
            }
        }
        true
    }

    /// Asks the first endpoint that may be asked and has not failed; the last one, where all have.
    fn ask<T>(&mut self, what: &str, is_proven: bool, ask: impl FnOnce(&mut Session<'a>) -> Result<T>) -> Result<T> {
        if self.piece.what != what || self.piece.is_proven != is_proven {
            self.piece = CurrentRequest { what: what.to_owned(), is_proven, ..CurrentRequest::default() };
        }
        let piece = &mut self.piece;
        let may = |spot: &EndpointState<'_>| piece.may_be_asked_of(spot);
        let is_good =
            |(at, spot): (usize, &EndpointState<'_>)| may(spot) && !spot.is_abandoned && !piece.failed.contains(&at);
        let first = self.spots.iter().enumerate().position(is_good);
        let chosen = first.or_else(|| self.spots.iter().rposition(may));
        let Some((at, spot)) = chosen.and_then(|at| Some((at, self.spots.get_mut(at)?))) else {
            let text = "by this machine's configuration no endpoint may be asked what a tag means";
            return Err(Error::new(ErrorKind::Denied, text).with_hint("give the name with a digest"));
        };
        (piece.asked, piece.is_answered) = (Some(at), false);
        if spot.session.is_none() {
            let credentials = spot.endpoint.credentials(self.keys, self.progress)?;
            spot.session = Some(Session::open(self.connections, spot.endpoint.clone(), credentials, self.progress));
        }
        let session = spot.session.as_mut().ok_or_else(|| Error::new(ErrorKind::Internal, "no session"))?;
        let answer = ask(session);
        piece.is_answered = answer.is_ok();
        answer
    }
}

impl CurrentRequest {
    fn may_be_asked_of(&self, spot: &EndpointState<'_>) -> bool {
        if self.is_proven { spot.endpoint.pulls } else { spot.endpoint.resolves }
    }
}
