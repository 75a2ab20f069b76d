//! A registry on loopback that serves what a test pushed, follows a script of faults, and logs every request.
//!
//! Without a fault it responds like [distribution]: manifests by tag and digest, blobs with ranges, `tags/list` in pages,
//! and a token endpoint. It keeps everything in memory, and its threads end when the value is dropped.
//!
//! ```
//! use kit::fault::on;
//! use kit::image::Image;
//! use kit::registry::Registry;
//!
//! let registry = Registry::plain();
//! let image = Image::small("some content");
//! let name = image.push(&registry, "app", "latest");
//! registry.fault(on(image.layers[0].digest()).nth(1).cut(20));
//! // … pull `name`, and then:
//! assert!(registry.log().is_empty());
//! ```
//!
//! [distribution]: https://distribution.github.io/distribution/

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::BufReader;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use crate::digest::sha256;
use crate::fault::Fault;
use crate::http::{Connection, Request, Response, TIMEOUT};
use crate::image::OCI_INDEX;

/// A running registry.
pub struct Registry {
    shared: Arc<Shared>,
    address: SocketAddr,
    scheme: &'static str,
    acceptor: Option<JoinHandle<()>>,
}

/// A request in the log, shown as `GET /v2/a/manifests/latest 200`.
#[derive(Clone, Debug)]
pub struct Call {
    /// The number of the connection that it came on, counted from 1.
    pub connection: usize,
    /// The request.
    pub request: Request,
    /// The status of the response.
    pub status: u16,
}

impl fmt::Display for Call {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} {}", self.request.method, self.request.target, self.status)
    }
}

/// Turns an accepted connection into one that carries HTTP.
pub type Handshake = Box<dyn Fn(TcpStream) -> Box<dyn Connection> + Send + Sync>;

/// Running and stopping, and where the registry is.
impl Registry {
    /// Starts a registry over plain HTTP.
    pub fn plain() -> Registry {
        Registry::plain_at("127.0.0.1")
    }

    /// Starts a registry over plain HTTP at another address of loopback, as a URL has it.
    pub fn plain_at(host: &str) -> Registry {
        Registry::with_handshake(host, "http", Box::new(|stream| Box::new(stream)))
    }

    /// Starts a registry at an address of loopback, as a URL has it: `127.0.0.1` or `[::1]`.
    pub fn with_handshake(host: &str, scheme: &'static str, handshake: Handshake) -> Registry {
        Registry::listen(&format!("{host}:0"), scheme, handshake)
    }

    /// Starts a registry at an address and port.
    pub fn listen(address: &str, scheme: &'static str, handshake: Handshake) -> Registry {
        let listener = TcpListener::bind(address).expect("a loopback address to listen on");
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

    /// Returns the address and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns `127.0.0.1:PORT`, which is the registry's part of an image name.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Returns the URL of a path, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Returns the full name of something in this registry.
    pub fn name(&self, rest: &str) -> String {
        format!("{}/{rest}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }
}

/// Content.
impl Registry {
    /// Stores a blob and returns its digest.
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        self.put_blob_as(repository, &digest, bytes);
        digest
    }

    /// Stores a blob under any digest.
    pub fn put_blob_as(&self, repository: &str, digest: &str, bytes: &[u8]) {
        let key = (repository.to_string(), digest.to_string());
        self.state().blobs.insert(key, Arc::new(bytes.to_vec()));
    }

    /// Stores a manifest or an index under its digest, which it returns, and under a tag if there is one.
    pub fn put_manifest(&self, repository: &str, tag: Option<&str>, media_type: &str, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        self.put_manifest_as(repository, &digest, media_type, bytes);
        tag.into_iter().for_each(|tag| self.put_manifest_as(repository, tag, media_type, bytes));
        digest
    }

    /// Stores a manifest under any tag or digest.
    pub fn put_manifest_as(&self, repository: &str, reference: &str, media_type: &str, bytes: &[u8]) {
        let key = (repository.to_string(), reference.to_string());
        self.state().manifests.insert(key, (media_type.to_string(), bytes.to_vec()));
    }

    /// Serves these pages as the list of referrers of a digest. Without any, the registry does not have the API.
    pub fn put_referrers(&self, repository: &str, digest: &str, pages: &[String]) {
        let key = (repository.to_string(), digest.to_string());
        self.state().referrers.insert(key, pages.to_vec());
    }

    /// Serves bytes at a path outside `/v2/`, as a storage backend does.
    pub fn serve(&self, path: &str, bytes: &[u8]) {
        self.state().pages.insert(path.to_string(), Arc::new(bytes.to_vec()));
    }

    /// Limits the number of tags in a page of `tags/list`.
    pub fn page_size(&self, size: usize) {
        self.state().page = size;
    }
}

/// Authorization and faults.
impl Registry {
    /// From now on responds 401 with these challenges below `/v2/`, unless `Authorization` has exactly this value.
    pub fn require(&self, authorization: &str, challenges: &[&str]) {
        let challenges = challenges.iter().map(|text| text.to_string()).collect();
        self.state().gate = Some(Gate { authorization: authorization.to_string(), challenges });
    }

    /// Serves this body at `/token`, to everyone or only with this value of `Authorization`.
    pub fn tokens(&self, login: Option<&str>, body: &str) {
        self.state().tokens = Some((login.map(str::to_string), body.to_string()));
    }

    /// Serves this body at `/token`, in response to a POST of exactly this form.
    pub fn oauth2(&self, form: &str, body: &str) {
        self.state().tokens = Some((Some(format!("POST {form}")), body.to_string()));
    }

    /// Requires a Bearer token, which the registry's own `/token` gives out.
    pub fn bearer(&self, token: &str, login: Option<&str>) {
        self.tokens(login, &format!(r#"{{"token":"{token}"}}"#));
        let challenge =
            format!(r#"Bearer realm="{}",service="test registry",scope="repository:app:pull""#, self.url("/token"));
        self.require(&format!("Bearer {token}"), &[&challenge]);
    }

    /// Adds a fault to the script.
    pub fn fault(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }
}

/// The log.
impl Registry {
    /// Returns the requests since the start or the last [`Registry::clear_log`].
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// Returns the same requests as text, without the connections.
    pub fn log(&self) -> Vec<String> {
        self.state().calls.iter().map(Call::to_string).collect()
    }

    /// Returns the number of requests in the log whose path and query contain this text.
    pub fn requests_to(&self, path: &str) -> usize {
        self.state().calls.iter().filter(|call| call.request.target.contains(path)).count()
    }

    /// Waits for a request whose path and query contain this text, unless the log has one.
    pub fn wait_for(&self, path: &str) {
        let is_missing = |state: &mut State| !state.calls.iter().any(|call| call.request.target.contains(path));
        let (state, timeout) = self.shared.called.wait_timeout_while(self.state(), TIMEOUT, is_missing).unwrap();
        drop(state);
        assert!(!timeout.timed_out(), "no request to {path}: {:?}", self.log());
    }

    /// Returns the number of connections, with those that had no request.
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    /// Returns the number of requests from clients that had shown a certificate.
    pub fn calls_with_certificate(&self) -> usize {
        self.state().certified
    }

    /// Returns the number of requests over connections that resumed a TLS session.
    pub fn calls_resumed(&self) -> usize {
        self.state().resumed
    }

    /// Waits until all connections have ended, also those that a dead client left in the queue of the listener. Without this, a
    /// request of a client that was killed can still reach the log of the next one.
    pub fn wait_until_idle(&self) {
        let probe = TcpStream::connect(self.address).expect("a connection to the registry");
        let address = probe.local_addr().unwrap();
        // Connections are accepted in order.
        self.wait_while(|state| !state.open.contains(&address));
        drop(probe);
        self.wait_while(|state| !state.open.is_empty());
    }

    fn wait_while(&self, condition: impl Fn(&State) -> bool) {
        let (state, timeout) =
            self.shared.called.wait_timeout_while(self.state(), TIMEOUT, |state| condition(state)).unwrap();
        assert!(!timeout.timed_out(), "connections stay open: {:?}", state.open);
    }

    /// Empties the log and resets the number of connections.
    pub fn clear_log(&self) {
        let mut state = self.state();
        state.calls.clear();
        state.connections = 0;
    }
}

impl Drop for Registry {
    /// Closes all connections and waits for the threads, so that none outlives its test.
    fn drop(&mut self) {
        self.shared.closing.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

struct Shared {
    handshake: Handshake,
    closing: AtomicBool,
    state: Mutex<State>,
    called: Condvar,
}

#[derive(Default)]
struct State {
    blobs: BTreeMap<(String, String), Arc<Vec<u8>>>,
    calls: Vec<Call>,
    certified: usize,
    connections: usize,
    faults: Vec<Fault>,
    gate: Option<Gate>,
    manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    /// The clients of the connections that were accepted and have not ended.
    open: BTreeSet<SocketAddr>,
    /// The number of tags in a page; 0 for no limit.
    page: usize,
    pages: BTreeMap<String, Arc<Vec<u8>>>,
    referrers: BTreeMap<(String, String), Vec<String>>,
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
        // A long test makes more connections than the process may have open.
        open.retain(|(_, thread): &(TcpStream, JoinHandle<()>)| !thread.is_finished());
        let (ours, socket) = (Arc::clone(shared), stream.try_clone().unwrap());
        // A client that is gone already has no address.
        let client = stream.peer_addr().ok();
        shared.state.lock().unwrap().open.extend(client);
        shared.called.notify_all();
        open.push((
            socket,
            std::thread::spawn(move || {
                serve(stream, &ours);
                ours.state.lock().unwrap().open.retain(|open| Some(*open) != client);
                ours.called.notify_all();
            }),
        ));
    }
    for (stream, thread) in open {
        let _ = stream.shutdown(Shutdown::Both);
        let _ = thread.join();
    }
}

/// Serves one connection to its end. Errors are ignored, because a client may go away at any time.
fn serve(stream: TcpStream, shared: &Shared) {
    let number = {
        let mut state = shared.state.lock().unwrap();
        state.connections += 1;
        state.connections
    };
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new((shared.handshake)(stream));
    while let Ok(Some(request)) = Request::read(&mut reader) {
        let (connection, mut state) = (reader.get_ref(), shared.state.lock().unwrap());
        state.certified += usize::from(connection.has_client_certificate());
        state.resumed += usize::from(connection.is_resumed());
        let response = state.respond(number, &request);
        drop(state);
        shared.called.notify_all();
        match response.send(reader.get_mut().as_mut(), &request) {
            Ok(true) => {}
            Ok(false) | Err(_) => break,
        }
    }
    reader.get_mut().finish();
}

impl State {
    fn respond(&mut self, connection: usize, request: &Request) -> Response {
        let mut response = self.correct_response(request);
        for fault in &mut self.faults {
            fault.apply(request, &mut response);
        }
        self.calls.push(Call { connection, request: request.clone(), status: response.status });
        response
    }

    fn correct_response(&self, request: &Request) -> Response {
        let path = request.path();
        if let Some(bytes) = self.pages.get(path) {
            return whole_or_range(request, bytes);
        }
        if path == "/token" {
            return self.token(request);
        }
        let Some(rest) = path.strip_prefix("/v2/") else { return error(404, "NOT_FOUND") };
        match &self.gate {
            Some(gate) if request.header("authorization") != Some(&gate.authorization) => gate.refusal(),
            _ if rest.is_empty() => Response::new(200, "{}"),
            _ => self.content(request, rest),
        }
    }

    fn content(&self, request: &Request, rest: &str) -> Response {
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            return self.tags(request, repository);
        }
        if let Some((repository, reference)) = rest.split_once("/manifests/") {
            return match self.manifests.get(&(repository.to_string(), reference.to_string())) {
                None => error(404, "MANIFEST_UNKNOWN"),
                Some((_, bytes)) if request.header("if-none-match") == Some(&format!("\"{}\"", sha256(bytes))) => {
                    Response::new(304, "")
                }
                Some((media_type, bytes)) => Response::new(200, bytes.clone())
                    .with("Content-Type", media_type.clone())
                    .with("Docker-Content-Digest", sha256(bytes)),
            };
        }
        if let Some((repository, digest)) = rest.split_once("/referrers/") {
            return match self.referrers.get(&(repository.to_string(), digest.to_string())) {
                None => error(404, "NOT_FOUND"),
                Some(pages) => referrers(request, pages),
            };
        }
        let blob = rest
            .split_once("/blobs/")
            .and_then(|(repository, digest)| self.blobs.get(&(repository.to_string(), digest.to_string())));
        match blob {
            None => error(404, "BLOB_UNKNOWN"),
            Some(bytes) => whole_or_range(request, bytes).with("Content-Type", "application/octet-stream"),
        }
    }

    fn token(&self, request: &Request) -> Response {
        let login = match request.method.as_str() {
            "POST" => Some(format!("POST {}", request.body)),
            _ => request.header("authorization").map(str::to_string),
        };
        match &self.tokens {
            None => error(404, "NO_TOKENS"),
            Some((Some(expected), _)) if login.as_ref() != Some(expected) => error(401, "UNAUTHORIZED"),
            Some((_, body)) => Response::new(200, body.as_str()).with("Content-Type", "application/json"),
        }
    }

    fn tags(&self, request: &Request, repository: &str) -> Response {
        let tags = self.manifests.keys().filter(|(owner, name)| owner == repository && !name.contains(':'));
        let last = request.query("last").unwrap_or_default();
        let rest: Vec<&str> = tags.map(|(_, name)| name.as_str()).filter(|name| *name > last).collect();
        let page = &rest[..rest.len().min(if self.page == 0 { usize::MAX } else { self.page })];
        let body = serde_json::json!({ "name": repository, "tags": page }).to_string();
        let response = Response::new(200, body).with("Content-Type", "application/json");
        match page.last() {
            Some(end) if page.len() < rest.len() => {
                let size = self.page;
                response.with("Link", format!(r#"</v2/{repository}/tags/list?last={end}&n={size}>; rel="next""#))
            }
            _ => response,
        }
    }
}

/// One page of a list of referrers, with the link to the next one.
fn referrers(request: &Request, pages: &[String]) -> Response {
    let number = request.query("page").map_or(0, |page| page.parse().unwrap());
    let response = Response::new(200, pages[number].as_str()).with("Content-Type", OCI_INDEX);
    if number + 1 == pages.len() {
        return response;
    }
    response.with("Link", format!(r#"<{}?page={}>; rel="next""#, request.path(), number + 1))
}

impl Gate {
    fn refusal(&self) -> Response {
        let refused = error(401, "UNAUTHORIZED");
        self.challenges.iter().fold(refused, |response, text| response.with("WWW-Authenticate", text.as_str()))
    }
}

fn error(status: u16, code: &str) -> Response {
    let body = format!(r#"{{"errors":[{{"code":"{code}","message":"the scripted registry says so"}}]}}"#);
    Response::new(status, body).with("Content-Type", "application/json")
}

/// The whole content, or the one range of it that the request has.
fn whole_or_range(request: &Request, bytes: &Arc<Vec<u8>>) -> Response {
    let Some(range) = request.header("range").and_then(|value| value.strip_prefix("bytes=")) else {
        return Response::part(200, Arc::clone(bytes), 0..bytes.len());
    };
    let (first, last) = range.split_once('-').unwrap_or((range, ""));
    let first: usize = first.parse().unwrap_or(usize::MAX);
    let last = last.parse().unwrap_or(usize::MAX).min(bytes.len().wrapping_sub(1));
    if first > last || bytes.is_empty() {
        return error(416, "RANGE_INVALID").with("Content-Range", format!("bytes */{}", bytes.len()));
    }
    Response::part(206, Arc::clone(bytes), first..last + 1)
        .with("Content-Range", format!("bytes {first}-{last}/{}", bytes.len()))
}
