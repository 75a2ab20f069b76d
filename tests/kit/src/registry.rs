//! A registry on loopback that serves what the test pushed, follows the test's script of faults, and writes down every call.
//!
//! It answers like distribution where it is asked honestly: manifests by tag and digest, blobs with ranges, `tags/list`
//! in pages, a token endpoint. It knows no clock and no disk, and it ends with the test that made it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::BufReader;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use crate::digest::sha256;
use crate::fault::Fault;
use crate::wire::{PATIENCE, Reply, Request, Wire};

/// A running registry.
pub struct Registry {
    shared: Arc<Shared>,
    address: SocketAddr,
    scheme: &'static str,
    acceptor: Option<JoinHandle<()>>,
}

/// One answered request, as the log has it. Shown as `GET /v2/a/manifests/latest 200`.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which connection it came on, counted from 1.
    pub connection: usize,
    pub request: Request,
    pub status: u16,
}

impl fmt::Display for Call {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} {}", self.request.method, self.request.target, self.status)
    }
}

impl Registry {
    /// Over plain HTTP.
    pub fn plain() -> Registry {
        Registry::plain_at("127.0.0.1")
    }

    /// Starts a registry over plain HTTP at another address of loopback, as a URL has it.
    pub fn plain_at(host: &str) -> Registry {
        Registry::with_handshake(host, "http", Box::new(|stream| Box::new(stream)))
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// How many calls came from clients that had shown a certificate.
    pub fn calls_with_certificate(&self) -> usize {
        self.state().certified
    }

    /// How many calls came over connections that resumed a session.
    pub fn calls_resumed(&self) -> usize {
        self.state().resumed
    }

    /// `127.0.0.1:PORT`, the registry's part of a name.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `scheme://127.0.0.1:PORT` and a path.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// The full name of something in this registry.
    pub fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    /// Keeps a blob under its own digest, which it returns.
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        self.put_blob_as(repository, &digest, bytes);
        digest
    }

    /// Keeps a blob under any digest.
    pub fn put_blob_as(&self, repository: &str, digest: &str, bytes: &[u8]) {
        let key = (repository.to_string(), digest.to_string());
        self.state().blobs.insert(key, bytes.to_vec());
    }

    /// Keeps a manifest or an index under its digest, and under a tag if there is one; returns the digest.
    pub fn put_manifest(&self, repository: &str, tag: Option<&str>, media_type: &str, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        self.put_manifest_as(repository, &digest, media_type, bytes);
        tag.into_iter().for_each(|tag| self.put_manifest_as(repository, tag, media_type, bytes));
        digest
    }

    /// Keeps a manifest under any tag or digest.
    pub fn put_manifest_as(&self, repository: &str, reference: &str, media_type: &str, bytes: &[u8]) {
        let key = (repository.to_string(), reference.to_string());
        self.state().manifests.insert(key, (media_type.to_string(), bytes.to_vec()));
    }

    /// Serves bytes at a path outside `/v2/`, as a storage backend would.
    pub fn serve(&self, path: &str, bytes: &[u8]) {
        self.state().pages.insert(path.to_string(), bytes.to_vec());
    }

    /// From now on `/v2/` is answered with these challenges (one header each) unless `Authorization` has this very value.
    pub fn require(&self, authorization: &str, challenges: &[&str]) {
        let challenges = challenges.iter().map(|text| text.to_string()).collect();
        self.state().gate = Some(Gate { authorization: authorization.to_string(), challenges });
    }

    /// Answers at `/token` with this body, to those who come with this `Authorization` if there is one.
    pub fn tokens(&self, login: Option<&str>, body: &str) {
        self.state().tokens = Some((login.map(str::to_string), body.to_string()));
    }

    /// Answers at `/token` with this body, to those who POST exactly this form.
    pub fn oauth2(&self, form: &str, body: &str) {
        self.state().tokens = Some((Some(format!("POST {form}")), body.to_string()));
    }

    /// The usual Bearer dance on one origin: a challenge that names this registry's own `/token`, which gives `token`.
    pub fn bearer(&self, token: &str, login: Option<&str>) {
        self.tokens(login, &format!(r#"{{"token":"{token}"}}"#));
        let challenge =
            format!(r#"Bearer realm="{}",service="test registry",scope="repository:app:pull""#, self.url("/token"));
        self.require(&format!("Bearer {token}"), &[&challenge]);
    }

    /// How many tags one page of `tags/list` has at most.
    pub fn page_size(&self, size: usize) {
        self.state().page = size;
    }

    pub fn fault(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// The calls since the start or the last [`Registry::forget`].
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// The calls as text, with the repository's name and `/v2/` kept and the connection left out.
    pub fn log(&self) -> Vec<String> {
        self.state().calls.iter().map(Call::to_string).collect()
    }

    /// How many of the calls asked for a path with this text in it.
    pub fn asked(&self, path: &str) -> usize {
        self.state().calls.iter().filter(|call| call.request.target.contains(path)).count()
    }

    /// Waits until a path with this text in it was asked for.
    pub fn wait_for(&self, path: &str) {
        let is_unasked = |state: &mut State| !state.calls.iter().any(|call| call.request.target.contains(path));
        let (state, timeout) = self.shared.called.wait_timeout_while(self.state(), PATIENCE, is_unasked).unwrap();
        drop(state);
        assert!(!timeout.timed_out(), "nobody asks for {path}: {:?}", self.log());
    }

    /// How many connections were made, used or not.
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    /// Empties the log.
    pub fn forget(&self) {
        let mut state = self.state();
        state.calls.clear();
        state.connections = 0;
    }

    /// Starts a registry at an address of loopback as a URL has it, such as `127.0.0.1` or `[::1]`. Each connection passes
    /// through `handshake` first.
    pub fn with_handshake(host: &str, scheme: &'static str, handshake: Handshake) -> Registry {
        let listener = TcpListener::bind(format!("{host}:0")).expect("a loopback address to listen on");
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            handshake,
            closing: AtomicBool::default(),
            state: Mutex::default(),
            called: Condvar::default(),
        });
        let ours = Arc::clone(&shared);
        let acceptor = std::thread::spawn(move || accept(&listener, &ours));
        Registry { shared, address, scheme, acceptor: Some(acceptor) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

impl Drop for Registry {
    /// Wakes the acceptor, closes what is open and waits, so that no thread outlives its test.
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// Turns an accepted connection into one that carries HTTP.
pub type Handshake = Box<dyn Fn(TcpStream) -> Box<dyn Wire> + Send + Sync>;

struct Shared {
    handshake: Handshake,
    closing: AtomicBool,
    state: Mutex<State>,
    called: Condvar,
}

#[derive(Default)]
struct State {
    blobs: BTreeMap<(String, String), Vec<u8>>,
    calls: Vec<Call>,
    certified: usize,
    connections: usize,
    faults: Vec<Fault>,
    gate: Option<Gate>,
    manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    page: usize,
    pages: BTreeMap<String, Vec<u8>>,
    resumed: usize,
    tokens: Option<(Option<String>, String)>,
}

struct Gate {
    authorization: String,
    challenges: Vec<String>,
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut open = Vec::new();
    for stream in listener.incoming().flatten() {
        if shared.closing.load(Ordering::SeqCst) {
            break;
        }
        let (ours, twin) = (Arc::clone(shared), stream.try_clone().unwrap());
        open.push((twin, std::thread::spawn(move || converse(stream, &ours))));
    }
    for (stream, thread) in open {
        let _ = stream.shutdown(Shutdown::Both);
        let _ = thread.join();
    }
}

/// One connection from its first request to its end. What breaks here is the client's going away, which is its right.
fn converse(stream: TcpStream, shared: &Shared) {
    let connection = {
        let mut state = shared.state.lock().unwrap();
        state.connections += 1;
        state.connections
    };
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new((shared.handshake)(stream));
    while let Ok(Some(request)) = Request::read(&mut reader) {
        let (wire, mut state) = (reader.get_ref(), shared.state.lock().unwrap());
        state.certified += usize::from(wire.has_client_certificate());
        state.resumed += usize::from(wire.is_resumed());
        let reply = state.answer(connection, &request);
        drop(state);
        shared.called.notify_all();
        match reply.send(reader.get_mut().as_mut(), &request.method) {
            Ok(true) => {}
            Ok(false) | Err(_) => break,
        }
    }
    reader.get_mut().finish();
}

impl State {
    fn answer(&mut self, connection: usize, request: &Request) -> Reply {
        let mut reply = self.honest(request);
        for fault in &mut self.faults {
            fault.apply(&request.target, &mut reply);
        }
        self.calls.push(Call { connection, request: request.clone(), status: reply.status });
        reply
    }

    fn honest(&self, request: &Request) -> Reply {
        let path = request.path();
        if let Some(bytes) = self.pages.get(path) {
            return ranged(request, bytes);
        }
        if path == "/token" {
            return self.token(request);
        }
        let Some(rest) = path.strip_prefix("/v2/") else { return problem(404, "NOT_FOUND") };
        match &self.gate {
            Some(gate) if request.header("authorization") != Some(&gate.authorization) => gate.refuse(),
            _ if rest.is_empty() => Reply::new(200, "{}"),
            _ => self.content(request, rest),
        }
    }

    fn content(&self, request: &Request, rest: &str) -> Reply {
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            return self.tags(request, repository);
        }
        if let Some((repository, reference)) = rest.split_once("/manifests/") {
            return match self.manifests.get(&(repository.to_string(), reference.to_string())) {
                None => problem(404, "MANIFEST_UNKNOWN"),
                Some((media_type, bytes)) => Reply::new(200, bytes.clone())
                    .with("Content-Type", media_type.clone())
                    .with("Docker-Content-Digest", sha256(bytes)),
            };
        }
        let blob = rest
            .split_once("/blobs/")
            .and_then(|(repository, digest)| self.blobs.get(&(repository.to_string(), digest.to_string())));
        match blob {
            None => problem(404, "BLOB_UNKNOWN"),
            Some(bytes) => ranged(request, bytes).with("Content-Type", "application/octet-stream"),
        }
    }

    fn token(&self, request: &Request) -> Reply {
        let shown = match request.method.as_str() {
            "POST" => Some(format!("POST {}", request.body)),
            _ => request.header("authorization").map(str::to_string),
        };
        match &self.tokens {
            None => problem(404, "NO_TOKENS"),
            Some((Some(login), _)) if shown.as_ref() != Some(login) => problem(401, "UNAUTHORIZED"),
            Some((_, body)) => Reply::new(200, body.as_str()).with("Content-Type", "application/json"),
        }
    }

    fn tags(&self, request: &Request, repository: &str) -> Reply {
        let tags = self.manifests.keys().filter(|(owner, name)| owner == repository && !name.contains(':'));
        let last = request.query("last").unwrap_or_default();
        let rest: Vec<&str> = tags.map(|(_, name)| name.as_str()).filter(|name| *name > last).collect();
        let page = &rest[..rest.len().min(if self.page == 0 { usize::MAX } else { self.page })];
        let body = serde_json::json!({ "name": repository, "tags": page }).to_string();
        let reply = Reply::new(200, body).with("Content-Type", "application/json");
        match page.last() {
            Some(end) if page.len() < rest.len() => {
                let size = self.page;
                reply.with("Link", format!(r#"</v2/{repository}/tags/list?last={end}&n={size}>; rel="next""#))
            }
            _ => reply,
        }
    }
}

impl Gate {
    fn refuse(&self) -> Reply {
        let refused = problem(401, "UNAUTHORIZED");
        self.challenges.iter().fold(refused, |reply, text| reply.with("WWW-Authenticate", text.as_str()))
    }
}

fn problem(status: u16, code: &str) -> Reply {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"the scripted registry says so"}}]}}"#);
    Reply::new(status, body).with("Content-Type", "application/json")
}

/// The whole, or the one range that was asked for.
fn ranged(request: &Request, bytes: &[u8]) -> Reply {
    let Some(range) = request.header("range").and_then(|value| value.strip_prefix("bytes=")) else {
        return Reply::new(200, bytes);
    };
    let (first, last) = range.split_once('-').unwrap_or((range, ""));
    let first: usize = first.parse().unwrap_or(usize::MAX);
    let last = last.parse().unwrap_or(usize::MAX).min(bytes.len().wrapping_sub(1));
    if first > last || bytes.is_empty() {
        return problem(416, "RANGE_INVALID").with("Content-Range", format!("bytes */{}", bytes.len()));
    }
    Reply::new(206, &bytes[first..=last]).with("Content-Range", format!("bytes {first}-{last}/{}", bytes.len()))
}
