//! Faults on a script: which responses of the registry go wrong, and how.
//!
//! A fault says on which requests it works, and then what it does to their responses:
//!
//! ```
//! # use kit::fault::on;
//! // The second response for a blob is lost after 100 bytes.
//! let fault = on("/blobs/").nth(2).cut(100);
//! // Every manifest comes with a wrong media type.
//! let fault = on("/manifests/").without("Content-Type").header("Content-Type", "text/plain");
//! ```

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use crate::http::{Framing, Latch, Request, Response, Sender};
use crate::image::gzip;

/// Changes the responses to some requests. Without [`Fault::nth`] or [`Fault::after`] it changes every one on its path.
#[derive(Clone)]
pub struct Fault {
    path: String,
    from: usize,
    until: usize,
    seen: usize,
    needs_range: bool,
    edits: Vec<Edit>,
}

/// Returns a fault, without effect yet, for the requests whose path and query contain this text.
pub fn on(path: impl Into<String>) -> Fault {
    Fault { path: path.into(), from: 1, until: usize::MAX, seen: 0, needs_range: false, edits: Vec::new() }
}

impl Fault {
    /// Works on the nth request only, counted from 1.
    pub fn nth(mut self, n: usize) -> Fault {
        (self.from, self.until) = (n, n);
        self
    }

    /// Works on all requests after the nth.
    pub fn after(mut self, n: usize) -> Fault {
        self.from = n + 1;
        self
    }

    /// Works on requests with a `Range` only.
    pub fn ranged(mut self) -> Fault {
        self.needs_range = true;
        self
    }

    /// Sets the status code.
    pub fn status(self, status: u16) -> Fault {
        self.edit(Edit::Status(status))
    }

    /// Adds a header, next to one of the same name.
    pub fn header(self, name: &str, value: impl Into<String>) -> Fault {
        self.edit(Edit::Header(name.to_string(), value.into()))
    }

    /// Removes a header.
    pub fn without(self, name: &str) -> Fault {
        self.edit(Edit::Without(name.to_string()))
    }

    /// Replaces the body.
    pub fn body(self, body: impl Into<Vec<u8>>) -> Fault {
        self.edit(Edit::Body(body.into()))
    }

    /// Appends bytes to the body and counts them in `Content-Length`.
    pub fn longer(self, more: &[u8]) -> Fault {
        self.edit(Edit::Longer(more.to_vec()))
    }

    /// Keeps the first `n` bytes of the body and sets `Content-Length` to `n`.
    pub fn shorter(self, n: usize) -> Fault {
        self.edit(Edit::Shorter(n))
    }

    /// Flips one bit of the byte at this position of the body.
    pub fn flip(self, position: usize) -> Fault {
        self.edit(Edit::Flip(position))
    }

    /// Drops the connection after `n` bytes of the body.
    pub fn cut(self, n: usize) -> Fault {
        self.edit(Edit::Cut(n))
    }

    /// Sends `n` bytes of the body, then nothing more, and keeps the connection open.
    pub fn stall(self, n: usize) -> Fault {
        self.edit(Edit::Stall(n))
    }

    /// Holds the response back until the latch is open.
    pub fn held(self, latch: &Latch) -> Fault {
        self.edit(Edit::Held(latch.clone()))
    }

    /// Sets `Content-Length`, right or wrong.
    pub fn length(self, value: impl Into<String>) -> Fault {
        self.edit(Edit::Framing(Framing::Length(value.into())))
    }

    /// Sends the body in chunks of this size.
    pub fn chunked(self, size: usize) -> Fault {
        self.edit(Edit::Framing(Framing::Chunked(size)))
    }

    /// Declares a chunked body, and sends these bytes in place of the chunks.
    pub fn chunks(self, bytes: &[u8]) -> Fault {
        self.edit(Edit::Framing(Framing::Chunks(bytes.to_vec())))
    }

    /// Sends no length, so that the body ends with the connection.
    pub fn closed(self) -> Fault {
        self.edit(Edit::Framing(Framing::Closed))
    }

    /// Compresses the body and sets `Content-Encoding: gzip`.
    pub fn gzip(self) -> Fault {
        self.edit(Edit::Gzip)
    }

    /// Sends exactly these bytes in place of a response.
    pub fn raw(self, bytes: impl Into<Vec<u8>>) -> Fault {
        self.edit(Edit::Raw(bytes.into()))
    }

    /// Redirects to this URL.
    pub fn redirect(self, status: u16, location: impl Into<String>) -> Fault {
        self.status(status).body("").header("Location", location)
    }

    /// Responds 401, with one `WWW-Authenticate` header for each challenge.
    pub fn challenge(self, challenges: &[&str]) -> Fault {
        let refused = self.status(401).body("{}");
        challenges.iter().fold(refused, |fault, challenge| fault.header("WWW-Authenticate", *challenge))
    }

    /// Adds more than a megabyte of headers.
    pub fn header_flood(self) -> Fault {
        let value = "x".repeat(1000);
        (0..1200).fold(self, |fault, n| fault.header(&format!("X-Flood-{n}"), value.clone()))
    }

    /// Sends the body by this function, which gets the connection, the request and the body.
    pub fn sent_by<F>(self, sender: F) -> Fault
    where
        F: Fn(&mut dyn Write, &Request, &[u8]) -> io::Result<()> + Send + Sync + 'static,
    {
        self.edit(Edit::Sender(Arc::new(sender)))
    }

    /// Counts the request if it is on the path, and changes the response if the fault works on this one.
    pub fn apply(&mut self, request: &Request, response: &mut Response) {
        if !request.target.contains(&self.path) || (self.needs_range && request.header("range").is_none()) {
            return;
        }
        self.seen += 1;
        if (self.from..=self.until).contains(&self.seen) {
            self.edits.iter().for_each(|edit| edit.apply(response));
        }
    }

    fn edit(mut self, edit: Edit) -> Fault {
        self.edits.push(edit);
        self
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Fault").field("path", &self.path).finish_non_exhaustive()
    }
}

#[derive(Clone)]
enum Edit {
    Body(Vec<u8>),
    Cut(usize),
    Flip(usize),
    Framing(Framing),
    Gzip,
    Header(String, String),
    Held(Latch),
    Longer(Vec<u8>),
    Raw(Vec<u8>),
    Sender(Arc<Sender>),
    Shorter(usize),
    Stall(usize),
    Status(u16),
    Without(String),
}

impl Edit {
    fn apply(&self, response: &mut Response) {
        match self {
            Edit::Body(body) => response.set_body(body.clone()),
            Edit::Cut(n) => response.cut = Some(*n),
            Edit::Flip(position) => {
                let position = response.range.start + position;
                Arc::make_mut(&mut response.body)[position] ^= 1;
            }
            Edit::Framing(framing) => response.framing = framing.clone(),
            Edit::Gzip => {
                response.set_body(gzip(response.body()));
                response.headers.push(("Content-Encoding".to_string(), "gzip".to_string()));
            }
            Edit::Header(name, value) => response.headers.push((name.clone(), value.clone())),
            Edit::Held(latch) => response.latch = Some(latch.clone()),
            Edit::Longer(more) => response.set_body([response.body(), more].concat()),
            Edit::Raw(bytes) => response.raw = Some(bytes.clone()),
            Edit::Sender(sender) => response.sender = Some(Arc::clone(sender)),
            Edit::Shorter(n) => response.set_body(response.body()[..*n].to_vec()),
            Edit::Stall(n) => response.stall = Some(*n),
            Edit::Status(status) => response.status = *status,
            Edit::Without(name) => response.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name)),
        }
    }
}
