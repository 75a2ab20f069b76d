//! HTTP/1.1 as the scripted registry speaks it: reads one request, writes one answer, honest or not.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Nothing here takes a tenth of it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A connection, plain or with TLS.
pub trait Wire: Read + Write + Send {
    /// Says goodbye in the way of the transport, so that the end is not taken for a cut.
    fn finish(&mut self);

    /// Whether the client showed a certificate.
    fn has_client_certificate(&self) -> bool {
        false
    }

    /// Whether the handshake was short, because client and server knew each other.
    fn is_resumed(&self) -> bool {
        false
    }
}

impl Wire for TcpStream {
    fn finish(&mut self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

/// What a client asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query as they stood in the request line.
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// As text; forms and JSON are all that is sent here.
    pub body: String,
}

impl Request {
    /// The next request of a connection; nothing when the client is done with it, or when it does not speak HTTP: a client
    /// that tries TLS on a plain port must not wait for the end of a line that never comes.
    pub fn read(reader: &mut BufReader<Box<dyn Wire>>) -> io::Result<Option<Request>> {
        if !reader.fill_buf()?.first().is_some_and(u8::is_ascii_uppercase) {
            return Ok(None);
        }
        let Some(start) = line(reader)? else { return Ok(None) };
        let mut words = start.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut headers = Vec::new();
        while let Some(text) = line(reader)?.filter(|text| !text.is_empty()) {
            let (name, value) = text.split_once(':').unwrap_or((&text, ""));
            headers.push((name.to_string(), value.trim().to_string()));
        }
        let (method, target) = (method.to_string(), target.to_string());
        let mut request = Request { method, target, headers, body: String::new() };
        let length = request.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        reader.take(length).read_to_string(&mut request.body)?;
        Ok(Some(request))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// One parameter of the query, as it was sent.
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

/// Holds answers back until it is opened.
#[derive(Clone, Debug, Default)]
pub struct Latch(Arc<(Mutex<bool>, Condvar)>);

impl Latch {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let closed = self.0.0.lock().unwrap();
        // A test that failed meanwhile opens nothing any more.
        let _ = self.0.1.wait_timeout_while(closed, PATIENCE, |open| !*open).unwrap();
    }
}

/// How the end of a body is told.
#[derive(Clone, Debug)]
pub enum Framing {
    /// `Content-Length`, with a value that need not be true.
    Length(String),
    /// `Transfer-Encoding: chunked`, in correct chunks of this size.
    Chunked(usize),
    /// `Transfer-Encoding: chunked`, and these bytes where the chunks belong.
    Chunks(Vec<u8>),
    /// Nothing but the end of the connection.
    Closed,
}

/// What the registry says.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub framing: Framing,
    /// The connection is dropped after so many bytes of the body.
    pub cut: Option<usize>,
    /// After so many bytes of the body nothing more comes, until the client goes away.
    pub stall: Option<usize>,
    /// Nothing comes before this is opened.
    pub latch: Option<Latch>,
    /// These bytes and no others are sent, then the connection ends.
    pub raw: Option<Vec<u8>>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        let body = body.into();
        let framing = Framing::Length(body.len().to_string());
        Reply { status, headers: Vec::new(), body, framing, cut: None, stall: None, latch: None, raw: None }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.headers.push((name.to_string(), value.into()));
        self
    }

    /// Replaces the body and tells its length truly.
    pub fn set_body(&mut self, body: Vec<u8>) {
        self.framing = Framing::Length(body.len().to_string());
        self.body = body;
    }

    /// Sends the answer; false when the connection is of no use afterwards.
    pub fn send(&self, wire: &mut dyn Wire, method: &str) -> io::Result<bool> {
        self.latch.iter().for_each(Latch::wait);
        if let Some(raw) = &self.raw {
            wire.write_all(raw)?;
            wire.flush()?;
            return Ok(false);
        }
        let mut bytes = self.head();
        let body = if method == "HEAD" { Vec::new() } else { self.framed() };
        let end = self.cut.or(self.stall).unwrap_or(body.len()).min(body.len());
        bytes.extend_from_slice(&body[..end]);
        wire.write_all(&bytes)?;
        wire.flush()?;
        if self.stall.is_some() {
            let _ = wire.read(&mut [0]);
            return Ok(false);
        }
        Ok(self.cut.is_none() && self.honest())
    }

    fn head(&self) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        match &self.framing {
            Framing::Length(value) => text.push_str(&format!("Content-Length: {value}\r\n")),
            Framing::Chunked(_) | Framing::Chunks(_) => text.push_str("Transfer-Encoding: chunked\r\n"),
            Framing::Closed => text.push_str("Connection: close\r\n"),
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    fn framed(&self) -> Vec<u8> {
        match &self.framing {
            Framing::Length(_) | Framing::Closed => self.body.clone(),
            Framing::Chunks(bytes) => bytes.clone(),
            Framing::Chunked(size) => {
                let mut bytes = Vec::new();
                for chunk in self.body.chunks((*size).max(1)) {
                    bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
                bytes
            }
        }
    }

    fn honest(&self) -> bool {
        match &self.framing {
            Framing::Length(value) => *value == self.body.len().to_string(),
            Framing::Chunked(_) => true,
            Framing::Chunks(_) | Framing::Closed => false,
        }
    }
}

fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if reader.read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_string()))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        300..=399 => "Redirected",
        401 => "Unauthorized",
        404 => "Not Found",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        _ => "Status",
    }
}
