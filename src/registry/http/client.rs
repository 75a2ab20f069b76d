//! One HTTP exchange: the only file that names ureq. No redirect is followed here, no challenge answered, no status
//! judged, and no variable of the environment read: ureq would take proxies from it, and in another way than Go.

use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, NextTimeout};

use super::super::retry;
use super::super::system::{Notice, Notices, System};
use super::super::tls::Tls;
use super::super::url::Url;
use super::pace::{Pace, PaceLimits};
use super::socket::{self, TcpConnector};
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::read_capped;
use crate::oci::proxy::{Proxy, ProxyProtocol};

/// Longest wait for a connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// A mirror that keeps silent costs every pull this much, and the registry behind it is there.
const MIRROR_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// One socket read; the headers of an answer must fit in it too.
const INPUT_BUFFER: usize = 64 << 10;
/// The longest request header is a token.
const OUTPUT_BUFFER: usize = 16 << 10;
const HEADER_LIMIT: usize = 32 << 10;
/// Bytes of a token that fit beside the rest in the output buffer.
pub(crate) const TOKEN_LIMIT: usize = 12 << 10;

/// The client of one registry: one kept-alive connection per origin.
pub(crate) struct Http {
    tls: Tls,
    machine: Arc<dyn System>,
    notices: Arc<Notices>,
    pace: PaceLimits,
    cancel: Cancel,
    connect: Duration,
    /// One for each proxy that is used, and for none.
    agents: Mutex<Vec<(Option<Proxy>, ureq::Agent)>>,
}

/// What a request says beside its URL.
#[derive(Clone, Copy, Default)]
pub(crate) struct Headers<'a> {
    pub(crate) accept: Option<&'a str>,
    pub(crate) authorization: Option<&'a str>,
    /// The first and the last byte that are wanted.
    pub(crate) range: Option<(u64, u64)>,
    /// As the machine's configuration has them.
    pub(crate) extra: &'a [(String, String)],
}

/// Looks names up in this thread: ureq's own would spawn one wherever a time limit is set. The system's look-up hears no
/// flag.
#[derive(Debug)]
struct Resolver(DefaultResolver, Cancel);

impl ureq::unversioned::resolver::Resolver for Resolver {
    fn resolve(
        &self,
        uri: &ureq::http::Uri,
        config: &ureq::config::Config,
        _: NextTimeout,
    ) -> std::result::Result<ResolvedSocketAddrs, ureq::Error> {
        if let Some(loopback) = loopback(uri) {
            let mut found = self.0.empty();
            loopback.into_iter().for_each(|address| found.push(address));
            return Ok(found);
        }
        let found = self.1.unattended(|| self.0.resolve(uri, config, NextTimeout::default()));
        found.map_err(socket::cancelled)?
    }
}

/// `localhost` is this machine, whatever others say (RFC 6761, section 6.3); without /etc/hosts nobody else would know.
fn loopback(uri: &ureq::http::Uri) -> Option<[SocketAddr; 2]> {
    uri.host().filter(|host| host.eq_ignore_ascii_case("localhost"))?;
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    Some([(Ipv6Addr::LOCALHOST, port).into(), (Ipv4Addr::LOCALHOST, port).into()])
}

/// An answer whose body was not read yet.
pub(crate) struct Response {
    response: ureq::http::Response<ureq::Body>,
    method: &'static str,
    url: Url,
    pace: Pace,
}

/// An answer to the question for a range.
pub(crate) enum Rest {
    /// Bytes, and where they begin.
    Begins(Box<Body>, u64),
    /// The server would not, or gives another range: it is asked for all.
    NotGiven,
    Refused(Box<Response>),
}

impl Http {
    pub(crate) fn new(
        tls: Tls,
        machine: Arc<dyn System>,
        notices: Arc<Notices>,
        pace: PaceLimits,
        cancel: Cancel,
        is_mirror: bool,
    ) -> Self {
        let connect = if is_mirror { MIRROR_CONNECT_TIMEOUT } else { CONNECT_TIMEOUT };
        Self { tls, machine, notices, pace, cancel, connect, agents: Mutex::default() }
    }

    /// The same, over connections of its own that end with this flag. TLS sessions are taken up again.
    pub(crate) fn with_cancel(&self, cancel: &Cancel) -> Self {
        Self {
            tls: self.tls.clone(),
            machine: Arc::clone(&self.machine),
            notices: Arc::clone(&self.notices),
            pace: self.pace.clone(),
            cancel: cancel.clone(),
            connect: self.connect,
            agents: Mutex::default(),
        }
    }

    /// One GET. Whatever the status, an answer is no error.
    pub(crate) fn get(&self, url: &Url, headers: Headers<'_>) -> Result<Response> {
        self.cancel.check()?;
        let proxy = self.machine.proxy(url.is_https(), url.host(), url.port())?;
        let agent = self.agent(proxy.as_ref())?;
        let mut request = agent.get(url.whole()).config().timeout_global(self.cancel.remaining()).build();
        if let Some(accept) = headers.accept {
            request = request.header("accept", accept);
        }
        if let Some(authorization) = headers.authorization {
            request = request.header("authorization", authorization);
        }
        if let Some((first, last)) = headers.range {
            request = request.header("range", format!("bytes={first}-{last}"));
        }
        for (name, value) in headers.extra {
            if headers.authorization.is_none() || !name.eq_ignore_ascii_case("authorization") {
                request = request.header(name, value);
            }
        }
        let response = request.call().map_err(|e| through(proxy.as_ref(), exchange_error("GET", url, e)))?;
        self.answer(response, "GET", url)
    }

    /// One POST of a form to a token endpoint. Its body is a secret: nothing of it is in any error.
    pub(crate) fn post_form(&self, url: &Url, form: &str) -> Result<Response> {
        self.cancel.check()?;
        let proxy = self.machine.proxy(url.is_https(), url.host(), url.port())?;
        let agent = self.agent(proxy.as_ref())?;
        let request = agent.post(url.whole()).config().timeout_global(self.cancel.remaining()).build();
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let response = request.send(form).map_err(|e| through(proxy.as_ref(), exchange_error("POST", url, e)))?;
        self.answer(response, "POST", url)
    }

    fn answer(&self, response: ureq::http::Response<ureq::Body>, method: &'static str, url: &Url) -> Result<Response> {
        let pace = Pace::new(self.pace.clone(), self.cancel.clone());
        let answer = Response { response, method, url: url.clone(), pace };
        answer.check_framing()?;
        Ok(answer)
    }

    fn agent(&self, proxy: Option<&Proxy>) -> Result<ureq::Agent> {
        let agents = &mut *self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, agent)) = agents.iter().find(|(known, _)| known.as_ref() == proxy) {
            return Ok(agent.clone());
        }
        let agent = agent(proxy, self.tls.clone(), self.connect, self.pace.stall, &self.cancel)?;
        if let Some(proxy) = proxy {
            let (what, from) = (format!("proxy {}", proxy.url()), format!("${}", proxy.variable));
            self.notices.add(Notice::Configured { what, from });
        }
        agents.push((proxy.cloned(), agent.clone()));
        Ok(agent)
    }
}

impl Response {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    pub(crate) fn method(&self) -> &'static str {
        self.method
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// All values of a header that are text.
    pub(crate) fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.response.headers().get_all(name).iter().filter_map(|value| value.to_str().ok())
    }

    pub(crate) fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.headers(name).next()
    }

    /// How long the server asks to wait.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.header("retry-after").and_then(|text| retry::asked(text, self.header("date")))
    }

    /// What became of the question for a range of something that has `size` bytes.
    pub(crate) fn rest(self, (first, last): (u64, u64), size: u64) -> Rest {
        let is_exact = || self.header("content-range") == Some(format!("bytes {first}-{last}/{size}").as_str());
        match self.status() {
            206 if is_exact() => Rest::Begins(Box::new(self.into_body()), first),
            200 => Rest::Begins(Box::new(self.into_body()), 0),
            206 | 400 | 416 => Rest::NotGiven,
            _ => Rest::Refused(Box::new(self)),
        }
    }

    pub(crate) fn into_body(self) -> Body {
        let length = self.header("content-length").and_then(|length| length.trim().parse().ok());
        Body { reader: self.response.into_body().into_reader(), url: self.url, length, pace: self.pace }
    }

    /// The whole body if it has at most `limit` bytes, else `None`.
    pub(crate) fn read(self, limit: usize) -> Result<Option<Vec<u8>>> {
        let url = self.url.clone();
        read_capped(self.into_body(), limit).map_err(|e| Error::through_read(e, |e| body_error(&url, e)))
    }

    /// The same answer and its body, which can be read again: for a look before others judge it. A body beyond `limit`
    /// is cut to nothing.
    pub(crate) fn peek(self, limit: usize) -> Result<(Self, Vec<u8>)> {
        let (parts, body) = self.response.into_parts();
        let body = Body { reader: body.into_reader(), url: self.url.clone(), pace: self.pace.clone(), length: None };
        let read = read_capped(body, limit);
        let bytes = read.map_err(|e| Error::through_read(e, |e| body_error(&self.url, e)))?.unwrap_or_default();
        let body = ureq::Body::builder().data(bytes.clone());
        let response = ureq::http::Response::from_parts(parts, body);
        Ok((Self { response, ..self }, bytes))
    }

    /// Lengths that contradict each other are how requests are smuggled (RFC 9112, section 6.3); an encoding was not
    /// asked for and could hide a bomb.
    fn check_framing(&self) -> Result<()> {
        let refuse = |what: &str| Err(Error::new(ErrorKind::Network, format!("{} {}: {what}", self.method, self.url)));
        let lengths: Vec<&str> = self.headers("content-length").flat_map(|v| v.split(',')).map(str::trim).collect();
        let differ = lengths.windows(2).any(|pair| pair.first() != pair.last());
        let malformed = lengths.iter().any(|v| !v.bytes().all(|b| b.is_ascii_digit()) || v.parse::<u64>().is_err());
        if differ || malformed || (!lengths.is_empty() && self.header("transfer-encoding").is_some()) {
            return refuse("contradictory or malformed Content-Length");
        }
        match self.header("content-encoding") {
            Some(encoding) if !encoding.eq_ignore_ascii_case("identity") => {
                refuse(&format!("unasked content encoding \"{encoding}\""))
            }
            _ => Ok(()),
        }
    }
}

/// A body on its way. Its errors are typed and name the URL.
pub(crate) struct Body {
    reader: ureq::BodyReader<'static>,
    url: Url,
    pace: Pace,
    length: Option<u64>,
}

impl Body {
    /// How many bytes the server says it will send, if it says so.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }
}

impl Read for Body {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let share = self.pace.share(buf.len());
        let start = Instant::now();
        let n = self.reader.read(buf.get_mut(..share).unwrap_or_default()).map_err(|e| match e.kind() {
            io::ErrorKind::Interrupted => e,
            _ => body_error(&self.url, e).into(),
        })?;
        self.pace.note(start.elapsed(), n).map_err(|e| e.context(format!("GET {}", self.url)))?;
        Ok(n)
    }
}

fn agent(proxy: Option<&Proxy>, tls: Tls, connect: Duration, stall: Duration, cancel: &Cancel) -> Result<ureq::Agent> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(proxy.map(proxy_setting).transpose()?)
        .user_agent(concat!("pullet/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity")
        .timeout_connect(Some(connect))
        .timeout_recv_response(Some(stall))
        .timeout_per_read(Some(stall))
        .max_response_header_size(HEADER_LIMIT)
        .input_buffer_size(INPUT_BUFFER)
        .output_buffer_size(OUTPUT_BUFFER)
        .build();
    let connector = ().chain(ConnectProxyConnector::default());
    #[cfg(feature = "socks")]
    let connector = connector.chain(super::socket::AttentiveConnector(
        ureq::unversioned::transport::SocksConnector::default(),
        cancel.clone(),
    ));
    let connector = connector.chain(TcpConnector(cancel.clone())).chain(tls);
    Ok(ureq::Agent::with_parts(config, connector, Resolver(DefaultResolver::default(), cancel.clone())))
}

/// The proxy resolves the names: behind one there is often nobody else who can.
fn proxy_setting(proxy: &Proxy) -> Result<ureq::Proxy> {
    let protocol = match proxy.protocol {
        ProxyProtocol::Http => ureq::ProxyProtocol::Http,
        ProxyProtocol::Https => ureq::ProxyProtocol::Https,
        ProxyProtocol::Socks5 if cfg!(feature = "socks") => ureq::ProxyProtocol::Socks5,
        ProxyProtocol::Socks5 => {
            let text =
                format!("the proxy in ${} uses SOCKS, but pullet was built without SOCKS support", proxy.variable);
            return Err(Error::new(ErrorKind::Unsupported, text).with_hint("its feature is \"socks\""));
        }
    };
    let mut builder = ureq::Proxy::builder(protocol).host(&proxy.host).port(proxy.port).resolve_target(false);
    if let Some(user) = &proxy.user {
        builder = builder.username(user);
    }
    if let Some(password) = &proxy.password {
        builder = builder.password(password);
    }
    builder.build().map_err(|_| Error::new(ErrorKind::Usage, format!("malformed proxy in ${}", proxy.variable)))
}

/// Names the proxy in what went wrong on the way through it.
fn through(proxy: Option<&Proxy>, error: Error) -> Error {
    match proxy {
        Some(proxy) => error.context(format!("through the proxy {} of ${}", proxy.url(), proxy.variable)),
        None => error,
    }
}

/// What a proxy answered to CONNECT, in ureq's words: `proxy server responded 407/407`.
fn proxy_refusal(said: &str) -> Error {
    match said.rsplit(['/', ' ']).next() {
        Some("407") => Error::new(ErrorKind::Denied, "the proxy wants other credentials (407)")
            .with_hint("put them into the variable: http://USER:PASSWORD@HOST:PORT"),
        Some("403") => Error::new(ErrorKind::Denied, "the proxy forbids it (403)")
            .with_hint("NO_PROXY names the servers that are asked directly"),
        _ => Error::new(ErrorKind::Network, format!("no way through the proxy: {said}")),
    }
}

fn exchange_error(method: &str, url: &Url, error: ureq::Error) -> Error {
    let what = format!("{method} {url}");
    let network = |text: &str| Error::new(ErrorKind::Network, text).context(&what);
    match error {
        ureq::Error::Other(inner) => match inner.downcast::<Error>() {
            Ok(ours) => ours.context(&what),
            Err(foreign) => network(&foreign.to_string()),
        },
        ureq::Error::Io(e) => io_error(&e).context(&what).caused_by(e),
        ureq::Error::HostNotFound => network("host not found"),
        ureq::Error::Timeout(ureq::Timeout::Global) => network("out of time").finally(),
        ureq::Error::Timeout(ureq::Timeout::Connect) => network("no connection in time"),
        ureq::Error::Timeout(_) => network("stalled: no answer in time"),
        ureq::Error::ConnectProxyFailed(said) => proxy_refusal(&said).context(&what),
        ureq::Error::Protocol(e) => network(&format!("not HTTP as it should be: {e}")),
        ureq::Error::LargeResponseHeader(..) => {
            Error::new(ErrorKind::Unsafe, format!("limit exceeded: more than {HEADER_LIMIT} bytes of header"))
                .context(&what)
        }
        ureq::Error::Http(_) | ureq::Error::BadUri(_) => Error::new(ErrorKind::Unsafe, "malformed URL").context(&what),
        other => network(&other.to_string()),
    }
}

fn body_error(url: &Url, error: io::Error) -> Error {
    let what = format!("GET {url}");
    let error = match error.downcast::<ureq::Error>() {
        Ok(error) => return timeout_or(url, error),
        Err(error) => error,
    };
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Error::new(ErrorKind::Network, "the body ended too soon").context(what),
        _ => io_error(&error).context(what).caused_by(error),
    }
}

fn timeout_or(url: &Url, error: ureq::Error) -> Error {
    match error {
        ureq::Error::Timeout(ureq::Timeout::Global) => exchange_error("GET", url, error),
        ureq::Error::Timeout(_) => Error::new(ErrorKind::Network, format!("GET {url}: stalled: no bytes in time")),
        other => exchange_error("GET", url, other),
    }
}

fn io_error(error: &io::Error) -> Error {
    // EMFILE and ENFILE are no fault of the network, and trying again would not help.
    if matches!(error.raw_os_error(), Some(23 | 24)) {
        return Error::new(ErrorKind::Disk, error.to_string()).with_hint("ulimit -n tells how many files may be open");
    }
    let text = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::UnexpectedEof => "the connection was closed without an answer".to_owned(),
        _ => error.to_string(),
    };
    Error::new(ErrorKind::Network, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_this_machine() {
        for (uri, port) in [
            ("http://localhost/v2/", Some(80)),
            ("https://localhost/v2/", Some(443)),
            ("https://LocalHost:5000/", Some(5000)),
            ("https://localhost.example/", None),
            ("https://notlocalhost/", None),
            ("https://127.0.0.1/", None),
        ] {
            let uri: ureq::http::Uri = uri.parse().unwrap_or_else(|e| panic!("{e}"));
            let expected = port.map(|port| ["[::1]", "127.0.0.1"].map(|host| format!("{host}:{port}")));
            let found = loopback(&uri).map(|found| found.map(|address| address.to_string()));
            assert_eq!(found, expected, "{uri}");
        }
    }
}
