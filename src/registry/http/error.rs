//! Converts ureq's errors to this crate's: the kind decides whether a request is retried.

use std::io;

use super::super::url::Url;
use crate::advice::Advice;
use crate::error::{Error, ErrorKind};
use crate::oci::proxy::Proxy;

/// Bytes of a response's headers.
pub(crate) const HEADER_LIMIT: usize = 32 << 10;

/// Converts the error of an exchange that has no response.
pub(crate) fn exchange_error(method: &str, url: &Url, error: ureq::Error) -> Error {
    let request = format!("{method} {url}");
    let network = |text: &str| Error::new(ErrorKind::Network, text).context(&request);
    match error {
        ureq::Error::Other(inner) => match inner.downcast::<Error>() {
            Ok(own) => own.context(&request),
            Err(other) => network(&other.to_string()),
        },
        ureq::Error::Io(e) => io_error(&e).context(&request).caused_by(e),
        ureq::Error::HostNotFound => network("host not found"),
        ureq::Error::Timeout(ureq::Timeout::Global) => {
            network("out of time").finally().with_advice(Advice::AllowMoreTime)
        }
        ureq::Error::Timeout(ureq::Timeout::Connect) => network("connection timed out"),
        ureq::Error::Timeout(_) => network("stalled: no response in time").with_advice(Advice::AllowLongerStall),
        ureq::Error::ConnectProxyFailed(reason) => proxy_refusal(&reason).context(&request),
        ureq::Error::Protocol(e) => network(&format!("malformed HTTP response: {e}")),
        ureq::Error::LargeResponseHeader(..) => {
            Error::new(ErrorKind::Unsafe, format!("limit exceeded: more than {HEADER_LIMIT} bytes of header"))
                .context(&request)
        }
        ureq::Error::Http(_) | ureq::Error::BadUri(_) => {
            Error::new(ErrorKind::Unsafe, "malformed URL").context(&request)
        }
        other => network(&other.to_string()),
    }
}

/// Converts the error of a body read.
pub(crate) fn body_error(url: &Url, error: io::Error) -> Error {
    let error = match error.downcast::<ureq::Error>() {
        Ok(ureq::Error::Timeout(timeout)) if timeout != ureq::Timeout::Global => {
            return Error::new(ErrorKind::Network, format!("GET {url}: stalled: no bytes in time"))
                .with_advice(Advice::AllowLongerStall);
        }
        Ok(error) => return exchange_error("GET", url, error),
        Err(error) => error,
    };
    let request = format!("GET {url}");
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return Error::new(ErrorKind::Network, "the body ended too soon").context(request);
    }
    io_error(&error).context(request).caused_by(error)
}

/// Adds the proxy to an error of a request that went through it.
pub(crate) fn through_proxy(proxy: Option<&Proxy>, error: Error) -> Error {
    match proxy {
        Some(proxy) => error.context(format!("through the proxy {} of {}", proxy.url(), proxy.from)),
        None => error,
    }
}

/// Converts a proxy's refusal of CONNECT. ureq's text ends with the status: `proxy server responded 407/407`.
fn proxy_refusal(reason: &str) -> Error {
    match reason.rsplit(['/', ' ']).next() {
        Some("407") => Error::new(ErrorKind::Denied, "the proxy requires other credentials (407)")
            .with_hint("put them into the proxy's URL: http://USER:PASSWORD@HOST:PORT"),
        Some("403") => Error::new(ErrorKind::Denied, "the proxy forbids the connection (403)")
            .with_hint("to connect directly, list the host in NO_PROXY"),
        _ => Error::new(ErrorKind::Network, format!("connect through the proxy: {reason}")),
    }
}

fn io_error(error: &io::Error) -> Error {
    // EMFILE and ENFILE are local, and retrying does not help.
    if matches!(error.raw_os_error(), Some(23 | 24)) {
        return Error::new(ErrorKind::Disk, error.to_string())
            .with_hint("\"ulimit -n\" shows how many files may be open");
    }
    let text = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::UnexpectedEof => "the connection was closed without a response".to_owned(),
        _ => error.to_string(),
    };
    Error::new(ErrorKind::Network, text)
}
