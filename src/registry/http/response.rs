//! A response and its body. Lengths and encodings that could hide data are refused; bodies are read within the limits
//! of time and pace.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use super::super::retry;
use super::super::url::Url;
use super::error::body_error;
use super::pace::Pace;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::read_capped;

/// IANA's registry of HTTP content codings, without `identity`.
const CODINGS: [&str; 12] = [
    "aes128gcm",
    "br",
    "compress",
    "dcb",
    "dcz",
    "deflate",
    "exi",
    "gzip",
    "pack200-gzip",
    "x-compress",
    "x-gzip",
    "zstd",
];

/// A response whose body has not been read yet.
pub(crate) struct Response {
    response: ureq::http::Response<ureq::Body>,
    method: &'static str,
    url: Url,
    pace: Pace,
}

/// A range of bytes, both ends included.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteRange {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

/// The response to a range request.
pub(crate) enum RangeResponse {
    /// The body, and the offset of its first byte in the blob: that of the range, or 0 if the server ignored the range.
    Body(Box<Body>, u64),
    /// The server refused the range or sent another one. The caller requests the whole blob.
    Unsatisfied,
    /// Any other status.
    Refused(Box<Response>),
}

impl Response {
    /// Fails if the framing of the response is ambiguous.
    pub(crate) fn new(
        response: ureq::http::Response<ureq::Body>,
        method: &'static str,
        url: Url,
        pace: Pace,
    ) -> Result<Self> {
        let response = Self { response, method, url, pace };
        response.check_framing()?;
        Ok(response)
    }

    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn method(&self) -> &'static str {
        self.method
    }

    /// The URL of the request.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Returns all values of a header that are UTF-8.
    pub(crate) fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.response.headers().get_all(name).iter().filter_map(|value| std::str::from_utf8(value.as_bytes()).ok())
    }

    /// Returns the first value of a header.
    pub(crate) fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.headers(name).next()
    }

    /// Returns the wait that the server requests with `Retry-After`.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        retry::parse_retry_after(self.header("retry-after")?, self.header("date"))
    }

    /// Interprets this response to a request for `range` of a blob with `size` bytes.
    pub(crate) fn into_range(self, range: ByteRange, size: u64) -> RangeResponse {
        let ByteRange { first, last } = range;
        match self.status() {
            206 => {
                if self.header("content-range") != Some(format!("bytes {first}-{last}/{size}").as_str()) {
                    return RangeResponse::Unsatisfied;
                }
                RangeResponse::Body(Box::new(self.into_body()), first)
            }
            200 => RangeResponse::Body(Box::new(self.into_body()), 0),
            400 | 416 => RangeResponse::Unsatisfied,
            _ => RangeResponse::Refused(Box::new(self)),
        }
    }

    pub(crate) fn into_body(self) -> Body {
        let length = self.header("content-length").and_then(|length| length.trim().parse().ok());
        Body {
            reader: self.response.into_body().into_reader(),
            url: self.url,
            length,
            pace: self.pace,
            #[cfg(feature = "manage")]
            is_bounded: false,
        }
    }

    /// Reads the whole body, or returns `None` if it has more than `limit` bytes.
    pub(crate) fn read(self, limit: usize) -> Result<Option<Vec<u8>>> {
        let url = self.url.clone();
        read_capped(self.into_body(), limit).map_err(|e| Error::through_read(e, |e| body_error(&url, e)))
    }

    /// Reads the body and returns it together with the response, whose body can be read again. A body of more than
    /// `limit` bytes is replaced by an empty one.
    pub(crate) fn peek(self, limit: usize) -> Result<(Self, Vec<u8>)> {
        let (parts, body) = self.response.into_parts();
        let body = Body {
            reader: body.into_reader(),
            url: self.url.clone(),
            pace: self.pace.clone(),
            length: None,
            #[cfg(feature = "manage")]
            is_bounded: false,
        };
        let read = read_capped(body, limit).map_err(|e| Error::through_read(e, |e| body_error(&self.url, e)))?;
        let bytes = read.unwrap_or_default();
        let body = ureq::Body::builder().data(bytes.clone());
        let response = ureq::http::Response::from_parts(parts, body);
        Ok((Self { response, ..self }, bytes))
    }

    /// Refuses contradictory lengths, because they allow request smuggling (RFC 9112, section 6.3), and content
    /// codings, because no request accepts one and a compressed body could expand without bound.
    ///
    /// Object stores also send an empty `Content-Encoding`, or a word that is not a content coding, such as `utf-8`.
    /// Those are ignored, as by Go: the body is read as it is, and its digest or its parser decides.
    fn check_framing(&self) -> Result<()> {
        let refuse = |what: &str| Err(Error::new(ErrorKind::Network, format!("{} {}: {what}", self.method, self.url)));
        let lengths: Vec<&str> = self.headers("content-length").flat_map(|v| v.split(',')).map(str::trim).collect();
        let differ = lengths.windows(2).any(|pair| pair.first() != pair.last());
        let malformed = lengths.iter().any(|v| !v.bytes().all(|b| b.is_ascii_digit()) || v.parse::<u64>().is_err());
        if differ || malformed || (!lengths.is_empty() && self.response.headers().contains_key("transfer-encoding")) {
            return refuse("contradictory or malformed Content-Length");
        }
        let mut encodings = self.headers("content-encoding").flat_map(|value| value.split(',')).map(str::trim);
        match encodings.find(|encoding| CODINGS.iter().any(|coding| coding.eq_ignore_ascii_case(encoding))) {
            Some(encoding) => refuse(&format!("unexpected content encoding \"{encoding}\"")),
            None => Ok(()),
        }
    }
}

/// A body that is being received. Its errors are typed and name the URL.
pub(crate) struct Body {
    reader: ureq::BodyReader<'static>,
    url: Url,
    pace: Pace,
    length: Option<u64>,
    /// True if it was requested up to the end of the budget only.
    #[cfg(feature = "manage")]
    is_bounded: bool,
}

impl Body {
    /// Marks a body that was requested up to the end of the budget only.
    #[cfg(feature = "manage")]
    pub(crate) fn bounded(self, is_bounded: bool) -> Self {
        Self { is_bounded, ..self }
    }

    /// Returns true if the blob goes on after this body.
    #[cfg(feature = "manage")]
    pub(crate) fn is_bounded(&self) -> bool {
        self.is_bounded
    }

    /// The value of `Content-Length`, if the response has one.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }
}

impl Read for Body {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let share = self.pace.share(buf.len())?;
        let start = Instant::now();
        let read = self.reader.by_ref().take(share as u64).read(buf);
        self.pace.put_back(share - read.as_ref().map_or(0, |n| (*n).min(share)));
        let n = match read {
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Err(e),
            Err(e) => return Err(body_error(&self.url, e).into()),
        };
        self.pace.record(start.elapsed(), n).map_err(|e| e.context(format!("GET {}", self.url)))?;
        Ok(n)
    }
}
