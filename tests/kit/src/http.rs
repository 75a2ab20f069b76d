//! HTTP/1.1 for the scripted servers: reads one request, and sends one response, correct or broken.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// After this time a wait counts as hung. No test takes a tenth of it.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// The bytes of a body that are written together with the head.
const WITH_HEAD: usize = 4 << 10;

/// A connection, plain or over TLS.
pub trait Connection: Read + Write + Send {
    /// Ends the connection in the way of its protocol, so that the client does not take the end for a loss.
    fn finish(&mut self);

    /// Returns true if the client has shown a certificate.
    fn has_client_certificate(&self) -> bool {
        false
    }

    /// Returns true if the handshake resumed an earlier TLS session.
    fn is_resumed(&self) -> bool {
        false
    }
}

impl Connection for TcpStream {
    fn finish(&mut self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

/// A request as it was received.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method, such as `GET`.
    pub method: String,
    /// Path and query, as they are in the request line.
    pub target: String,
    /// Names and values of the headers, in their order.
    pub headers: Vec<(String, String)>,
    /// The body as text, because clients send forms and JSON only.
    pub body: String,
}

impl Request {
    /// Reads the next request of a connection. Returns `None` when the client has closed it.
    ///
    /// Also returns `None` when the client does not use HTTP, after a response that says so. Otherwise a client that tries
    /// TLS on a plain port would wait for the server, which would wait for the end of a line.
    pub fn read(reader: &mut BufReader<Box<dyn Connection>>) -> io::Result<Option<Request>> {
        match reader.fill_buf()?.first() {
            None => return Ok(None),
            Some(byte) if !byte.is_ascii_uppercase() => {
                reader.get_mut().write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")?;
                return Ok(None);
            }
            Some(_) => {}
        }
        let Some(start) = read_line(reader)? else { return Ok(None) };
        let mut words = start.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut headers = Vec::new();
        while let Some(text) = read_line(reader)?.filter(|text| !text.is_empty()) {
            let (name, value) = text.split_once(':').unwrap_or((&text, ""));
            headers.push((name.to_string(), value.trim().to_string()));
        }
        let (method, target) = (method.to_string(), target.to_string());
        let mut request = Request { method, target, headers, body: String::new() };
        let length = request.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
        reader.take(length).read_to_string(&mut request.body)?;
        Ok(Some(request))
    }

    /// Returns the value of a header. Its name may be in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Returns the target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Returns one parameter of the query, not decoded.
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

/// Holds responses back until it is opened.
#[derive(Clone, Debug, Default)]
pub struct Latch(Arc<(Mutex<bool>, Condvar)>);

impl Latch {
    /// Releases all responses that wait, now and later.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let closed = self.0.0.lock().unwrap();
        // A timeout is no error: a test that has failed opens nothing any more.
        let _ = self.0.1.wait_timeout_while(closed, TIMEOUT, |open| !*open).unwrap();
    }
}

/// How a response marks the end of its body.
#[derive(Clone, Debug)]
pub enum Framing {
    /// `Content-Length` with this value, which may be wrong.
    Length(String),
    /// `Transfer-Encoding: chunked`, with correct chunks of this size.
    Chunked(usize),
    /// `Transfer-Encoding: chunked`, with these bytes in place of the chunks.
    Chunks(Vec<u8>),
    /// The end of the connection.
    Closed,
}

/// Sends the body of a response, which is its third argument, as it likes.
pub type Sender = dyn Fn(&mut dyn Write, &Request, &[u8]) -> io::Result<()> + Send + Sync;

/// A response, and how its transfer fails.
#[derive(Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names and values of the headers, without those of the framing.
    pub headers: Vec<(String, String)>,
    /// The body before it is framed. It is shared with the registry's content, not copied.
    pub body: Arc<Vec<u8>>,
    /// The part of the body to send, for a range.
    pub range: Range<usize>,
    /// How the end of the body is marked.
    pub framing: Framing,
    /// Drops the connection after this many bytes of the body.
    pub cut: Option<usize>,
    /// Sends this many bytes of the body, then nothing more until the client closes the connection.
    pub stall: Option<usize>,
    /// Sends nothing before this latch is open.
    pub latch: Option<Latch>,
    /// Sends exactly these bytes and closes the connection.
    pub raw: Option<Vec<u8>>,
    /// Sends the body by this function, in place of all at once.
    pub sender: Option<Arc<Sender>>,
}

impl Response {
    /// Returns a correct response with this body.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Response {
        let body = Arc::new(body.into());
        let whole = 0..body.len();
        Response::part(status, body, whole)
    }

    /// Returns a correct response with this part of a body.
    pub fn part(status: u16, body: Arc<Vec<u8>>, range: Range<usize>) -> Response {
        Response {
            status,
            headers: Vec::new(),
            framing: Framing::Length(range.len().to_string()),
            body,
            range,
            cut: None,
            stall: None,
            latch: None,
            raw: None,
            sender: None,
        }
    }

    /// Adds a header.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Response {
        self.headers.push((name.to_string(), value.into()));
        self
    }

    /// Returns the body, without what is outside of the range.
    pub fn body(&self) -> &[u8] {
        &self.body[self.range.clone()]
    }

    /// Replaces the body and sets `Content-Length` to its length.
    pub fn set_body(&mut self, body: Vec<u8>) {
        self.framing = Framing::Length(body.len().to_string());
        self.range = 0..body.len();
        self.body = Arc::new(body);
    }

    /// Sends the response. Returns false if the connection must be closed afterwards.
    pub fn send(&self, connection: &mut dyn Connection, request: &Request) -> io::Result<bool> {
        self.latch.iter().for_each(Latch::wait);
        if let Some(raw) = &self.raw {
            connection.write_all(raw)?;
            connection.flush()?;
            return Ok(false);
        }
        let head = self.head();
        if request.method == "HEAD" {
            connection.write_all(&head)?;
        } else {
            self.send_with_body(head, connection, request)?;
        }
        connection.flush()?;
        if self.stall.is_some() {
            let _ = connection.read(&mut [0]);
            return Ok(false);
        }
        Ok(self.cut.is_none() && self.has_right_framing())
    }

    fn send_with_body(&self, mut head: Vec<u8>, connection: &mut dyn Connection, request: &Request) -> io::Result<()> {
        let chunks;
        let framed = match &self.framing {
            Framing::Length(_) | Framing::Closed => self.body(),
            Framing::Chunks(bytes) => bytes,
            Framing::Chunked(size) => {
                chunks = chunked(self.body(), *size);
                &chunks
            }
        };
        if let Some(sender) = &self.sender {
            connection.write_all(&head)?;
            return sender(connection, request, framed);
        }
        let end = self.cut.or(self.stall).unwrap_or(framed.len()).min(framed.len());
        // A short body goes out with the head. A long one is not copied.
        let (first, rest) = framed[..end].split_at(end.min(WITH_HEAD));
        head.extend_from_slice(first);
        connection.write_all(&head)?;
        connection.write_all(rest)
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

    fn has_right_framing(&self) -> bool {
        match &self.framing {
            Framing::Length(value) => *value == self.range.len().to_string(),
            Framing::Chunked(_) => true,
            Framing::Chunks(_) | Framing::Closed => false,
        }
    }
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(size.max(1)) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

fn read_line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
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
