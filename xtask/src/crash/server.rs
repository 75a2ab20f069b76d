//! A registry in memory: it serves what it was given, counts what it is asked, and can kill whom it serves.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::Result;
use crate::image::Blob;

/// Bytes that are on their way at once. A kill loses them; a fast line has more of them than a slow one.
const PIECE: usize = 16 << 10;

/// Documents and blobs by the path of their URL.
#[derive(Default)]
pub struct Content {
    documents: HashMap<String, (String, Arc<Vec<u8>>)>,
    /// Blobs by digest, whatever their repository.
    pub blobs: HashMap<String, Arc<Vec<u8>>>,
}

pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
}

/// Whom the server kills, and when.
pub struct Victim {
    pub process: Child,
    /// Bytes of blobs that it may have before.
    pub bytes: u64,
    /// How much of the blob that it is reading it has kept.
    pub kept: Box<dyn Fn(&str) -> u64 + Send>,
}

struct Shared {
    content: Content,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    targets: Vec<String>,
    bytes: u64,
    /// Repositories whose tag means what another one's does.
    tags: HashMap<String, String>,
    victim: Option<Victim>,
}

impl Content {
    pub fn put_blob(&mut self, repository: &str, blob: &Blob) -> Result {
        let bytes = Arc::new(crate::disk::read_bytes(&blob.file)?);
        let path = format!("/v2/{repository}/blobs/{}", blob.digest);
        self.documents.insert(path, ("application/octet-stream".to_owned(), Arc::clone(&bytes)));
        self.blobs.insert(blob.digest.clone(), bytes);
        Ok(())
    }

    pub fn put_manifest(&mut self, repository: &str, media_type: &str, blob: &Blob) -> Result {
        self.put_blob(repository, blob)?;
        let document = (media_type.to_owned(), Arc::clone(&self.blobs[&blob.digest]));
        for reference in ["latest", &blob.digest] {
            self.documents.insert(format!("/v2/{repository}/manifests/{reference}"), document.clone());
        }
        Ok(())
    }
}

impl Server {
    pub fn start(content: Content) -> Result<Self> {
        let named = |e| format!("listen on loopback: {e}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(named)?;
        let address = listener.local_addr().map_err(named)?;
        let shared = Arc::new(Shared { content, state: Mutex::default() });
        let ours = Arc::clone(&shared);
        // It ends with the process: there is nothing of it outside.
        std::thread::spawn(move || accept(&listener, &ours));
        Ok(Self { shared, address })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The content of a blob, by digest.
    pub fn blob(&self, digest: &str) -> Option<&[u8]> {
        self.shared.content.blobs.get(digest).map(|bytes| bytes.as_slice())
    }

    /// From now on the repository's tag means what it means in the other.
    pub fn tag(&self, repository: &str, other: &str) {
        let latest = |repository: &str| format!("/v2/{repository}/manifests/latest");
        self.shared.state().tags.insert(latest(repository), latest(other));
    }

    /// The paths that were asked for, and the bytes of all answers' bodies, since the last time.
    pub fn take(&self) -> (Vec<String>, u64) {
        let mut state = self.shared.state();
        (std::mem::take(&mut state.targets), std::mem::take(&mut state.bytes))
    }

    /// Starts a process that is served until it has had its bytes, and is killed then. Before it is known here as the
    /// victim, nothing is answered.
    pub fn kill_later(&self, start: impl FnOnce() -> Result<Victim>) -> Result {
        let mut state = self.shared.state();
        state.victim = Some(start()?);
        Ok(())
    }

    /// The end of the victim, if it has ended.
    pub fn buried(&self) -> Result<Option<std::process::ExitStatus>> {
        let mut state = self.shared.state();
        let Some(victim) = &mut state.victim else { return Ok(None) };
        let status = victim.process.try_wait().map_err(|e| format!("wait for pullet: {e}"))?;
        if status.is_some() {
            state.victim = None;
        }
        Ok(status)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a body, of which the client has what stands before `start`. To a victim it goes piece by piece, each after
    /// the last one was kept.
    fn send(&self, stream: &mut TcpStream, target: &str, body: &[u8], start: u64) -> std::io::Result<()> {
        let digest = target.rsplit_once("/blobs/").map(|(_, digest)| digest);
        let Some(digest) = digest.filter(|_| self.state().victim.is_some()) else {
            self.state().bytes += body.len() as u64;
            return stream.write_all(body);
        };
        let mut sent = start;
        for piece in body.chunks(PIECE) {
            let allowed = self.spend(piece.len());
            stream.write_all(&piece[..allowed])?;
            if allowed < piece.len() {
                self.kill();
                return Ok(());
            }
            sent += piece.len() as u64;
            self.wait_until_kept(digest, sent);
        }
        Ok(())
    }

    /// How many of so many bytes the victim may still have. They are counted as its own.
    fn spend(&self, count: usize) -> usize {
        let mut state = self.state();
        let allowed = state.victim.as_ref().map_or(count, |victim| count.min(victim.bytes as usize));
        state.bytes += allowed as u64;
        if let Some(victim) = &mut state.victim {
            victim.bytes -= allowed as u64;
        }
        allowed
    }

    fn kill(&self) {
        if let Some(victim) = &mut self.state().victim {
            // It fails if the process has ended by itself, and then that is what is found.
            let _ = victim.process.kill();
        }
    }

    /// Waits a little for the line to be empty. Some bytes may be where nobody sees them.
    fn wait_until_kept(&self, digest: &str, count: u64) {
        for _ in 0..2000 {
            match &self.state().victim {
                Some(victim) if (victim.kept)(digest) < count => {}
                _ => return,
            }
            std::thread::yield_now();
        }
    }

    fn answer(&self, stream: &mut TcpStream, request: &Request) -> std::io::Result<()> {
        self.state().targets.push(request.target.clone());
        if request.target == "/v2/" && !request.is_authorized {
            let challenge = "WWW-Authenticate: Basic realm=\"crash\"\r\n";
            return head(stream, "401 Unauthorized", challenge, 0);
        }
        if request.target == "/v2/" {
            return head(stream, "200 OK", "", 0);
        }
        let document = self.state().tags.get(&request.target).unwrap_or(&request.target).clone();
        let Some((media_type, bytes)) = self.content.documents.get(&document) else {
            return head(stream, "404 Not Found", "", 0);
        };
        let media_type = format!("Content-Type: {media_type}\r\n");
        let start = request.start.min(bytes.len());
        let rest = &bytes[start..];
        if start == 0 {
            head(stream, "200 OK", &media_type, rest.len())?;
        } else {
            let range = format!("Content-Range: bytes {start}-{}/{}\r\n", bytes.len() - 1, bytes.len());
            head(stream, "206 Partial Content", &(media_type + &range), rest.len())?;
        }
        self.send(stream, &request.target, rest, start as u64)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming().flatten() {
        let shared = Arc::clone(shared);
        std::thread::spawn(move || converse(stream, &shared));
    }
}

/// One connection. What breaks here is the client's going away.
fn converse(stream: TcpStream, shared: &Shared) {
    let _ = stream.set_nodelay(true);
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    while let Some(request) = Request::read(&mut reader) {
        if shared.answer(&mut writer, &request).is_err() {
            return;
        }
    }
}

fn head(stream: &mut TcpStream, status: &str, headers: &str, length: usize) -> std::io::Result<()> {
    stream.write_all(format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n").as_bytes())
}

/// What is read of a request: only pullet asks.
struct Request {
    target: String,
    is_authorized: bool,
    /// The first byte that is asked for.
    start: usize,
}

impl Request {
    fn read(reader: &mut impl BufRead) -> Option<Self> {
        let mut request = Self { target: line(reader)?.split(' ').nth(1)?.to_owned(), is_authorized: false, start: 0 };
        loop {
            let text = line(reader)?.to_ascii_lowercase();
            match text.split_once(": ") {
                None => return Some(request),
                Some(("authorization", _)) => request.is_authorized = true,
                Some(("range", range)) => {
                    let first = range.trim_start_matches("bytes=").split('-').next()?;
                    request.start = first.parse().ok()?;
                }
                Some(_) => {}
            }
        }
    }
}

fn line(reader: &mut impl BufRead) -> Option<String> {
    let mut text = String::new();
    let count = reader.read_line(&mut text).ok()?;
    (count > 0).then(|| text.trim_end().to_owned())
}
