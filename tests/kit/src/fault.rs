//! Faults on a script: which answer of the registry (a part of its path, the n-th time) goes wrong, and how.

use std::io::Write;

use crate::wire::{Framing, Latch, Reply};

/// One line of the script. Without [`Fault::nth`] or [`Fault::after`] it hits every answer on its path.
#[derive(Clone, Debug)]
pub struct Fault {
    path: String,
    from: usize,
    until: usize,
    seen: usize,
    edits: Vec<Edit>,
}

/// A fault for each request whose path and query contain this text.
pub fn on(path: impl Into<String>) -> Fault {
    Fault { path: path.into(), from: 1, until: usize::MAX, seen: 0, edits: Vec::new() }
}

impl Fault {
    /// Only the n-th answer, counted from 1.
    pub fn nth(mut self, n: usize) -> Fault {
        (self.from, self.until) = (n, n);
        self
    }

    /// All answers behind the n-th.
    pub fn after(mut self, n: usize) -> Fault {
        self.from = n + 1;
        self
    }

    pub fn status(self, status: u16) -> Fault {
        self.edit(Edit::Status(status))
    }

    /// Adds a header; those that are there stay.
    pub fn header(self, name: &str, value: impl Into<String>) -> Fault {
        self.edit(Edit::Header(name.to_string(), value.into()))
    }

    pub fn without(self, name: &str) -> Fault {
        self.edit(Edit::Without(name.to_string()))
    }

    pub fn body(self, body: impl Into<Vec<u8>>) -> Fault {
        self.edit(Edit::Body(body.into()))
    }

    /// More bytes behind the body, counted in the length.
    pub fn longer(self, more: &[u8]) -> Fault {
        self.edit(Edit::Longer(more.to_vec()))
    }

    /// Only the first `n` bytes, and a length that says so.
    pub fn shorter(self, n: usize) -> Fault {
        self.edit(Edit::Shorter(n))
    }

    /// One bit of the byte at this place.
    pub fn flip(self, place: usize) -> Fault {
        self.edit(Edit::Flip(place))
    }

    /// The connection is lost after so many bytes of the body.
    pub fn cut(self, n: usize) -> Fault {
        self.edit(Edit::Cut(n))
    }

    /// After so many bytes of the body nothing more comes, and the connection stays.
    pub fn stall(self, n: usize) -> Fault {
        self.edit(Edit::Stall(n))
    }

    /// The answer waits until the latch is open.
    pub fn held(self, latch: &Latch) -> Fault {
        self.edit(Edit::Held(latch.clone()))
    }

    /// This `Content-Length`, true or not.
    pub fn length(self, value: impl Into<String>) -> Fault {
        self.edit(Edit::Framing(Framing::Length(value.into())))
    }

    pub fn chunked(self, size: usize) -> Fault {
        self.edit(Edit::Framing(Framing::Chunked(size)))
    }

    /// Says that the body is chunked, and sends these bytes.
    pub fn chunks(self, bytes: &[u8]) -> Fault {
        self.edit(Edit::Framing(Framing::Chunks(bytes.to_vec())))
    }

    /// No length: the body ends with the connection.
    pub fn closed(self) -> Fault {
        self.edit(Edit::Framing(Framing::Closed))
    }

    /// The body compressed on the way, with `Content-Encoding: gzip`.
    pub fn gzip(self) -> Fault {
        self.edit(Edit::Gzip)
    }

    /// Exactly these bytes instead of an answer.
    pub fn raw(self, bytes: impl Into<Vec<u8>>) -> Fault {
        self.edit(Edit::Raw(bytes.into()))
    }

    pub fn redirect(self, status: u16, location: impl Into<String>) -> Fault {
        self.status(status).body("").header("Location", location)
    }

    /// A 401 with one `WWW-Authenticate` header for each challenge.
    pub fn challenge(self, challenges: &[&str]) -> Fault {
        let refused = self.status(401).body("{}");
        challenges.iter().fold(refused, |fault, challenge| fault.header("WWW-Authenticate", *challenge))
    }

    /// A megabyte and more of headers.
    pub fn header_flood(self) -> Fault {
        let value = "x".repeat(1000);
        (0..1200).fold(self, |fault, n| fault.header(&format!("X-Flood-{n}"), value.clone()))
    }

    /// Counts the request if it is on the path, and does its work when the turn has come.
    pub fn apply(&mut self, target: &str, reply: &mut Reply) {
        if !target.contains(&self.path) {
            return;
        }
        self.seen += 1;
        if (self.from..=self.until).contains(&self.seen) {
            self.edits.iter().for_each(|edit| edit.apply(reply));
        }
    }

    fn edit(mut self, edit: Edit) -> Fault {
        self.edits.push(edit);
        self
    }
}

#[derive(Clone, Debug)]
enum Edit {
    Body(Vec<u8>),
    Cut(usize),
    Flip(usize),
    Framing(Framing),
    Gzip,
    Held(Latch),
    Header(String, String),
    Longer(Vec<u8>),
    Raw(Vec<u8>),
    Shorter(usize),
    Stall(usize),
    Status(u16),
    Without(String),
}

impl Edit {
    fn apply(&self, reply: &mut Reply) {
        match self {
            Edit::Body(body) => reply.set_body(body.clone()),
            Edit::Cut(n) => reply.cut = Some(*n),
            Edit::Stall(n) => reply.stall = Some(*n),
            Edit::Held(latch) => reply.latch = Some(latch.clone()),
            Edit::Flip(place) => reply.body[*place] ^= 1,
            Edit::Framing(framing) => reply.framing = framing.clone(),
            Edit::Gzip => {
                reply.set_body(gzip(&reply.body));
                reply.headers.push(("Content-Encoding".to_string(), "gzip".to_string()));
            }
            Edit::Header(name, value) => reply.headers.push((name.clone(), value.clone())),
            Edit::Longer(more) => reply.set_body([&reply.body[..], more].concat()),
            Edit::Raw(bytes) => reply.raw = Some(bytes.clone()),
            Edit::Shorter(n) => reply.set_body(reply.body[..*n].to_vec()),
            Edit::Status(status) => reply.status = *status,
            Edit::Without(name) => reply.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name)),
        }
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
