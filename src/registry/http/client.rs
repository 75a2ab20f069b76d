//! The HTTP client of one registry. It follows no redirects, answers no challenges, does not judge the status, and
//! reads no environment variables: ureq would read the proxy variables itself, with rules that differ from Go's.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ureq::unversioned::transport::{ConnectProxyConnector, Connector as _};

use super::super::system::{Notice, Notices, System};
use super::super::tls::Tls;
use super::super::url::Url;
use super::error::{HEADER_LIMIT, exchange_error, through_proxy};
use super::head::HeadConnector;
use super::pace::{Pace, PaceLimits};
use super::resolver::Resolver;
use super::response::{ByteRange, Response};
use super::socket::TcpConnector;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::proxy::{Proxy, ProxyProtocol};

/// Longest wait for a connection, TLS handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for a mirror. It is shorter because a dead mirror delays every pull, and the registry can serve instead.
const MIRROR_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of one socket read. The headers of a response must fit in it too.
const INPUT_BUFFER: usize = 64 << 10;
/// Bytes of a request's headers. The longest one carries a token.
const OUTPUT_BUFFER: usize = 16 << 10;
/// Bytes of a token that fit in the output buffer together with the other headers.
pub(crate) const TOKEN_LIMIT: usize = 12 << 10;

/// The client of one registry. It keeps one connection alive for each origin.
pub(crate) struct HttpClient {
    config: HttpConfig,
    /// One agent for direct connections, and one for each proxy in use.
    agents: Mutex<Vec<(Option<Proxy>, ureq::Agent)>>,
}

/// The parts and limits of an [`HttpClient`].
#[derive(Clone)]
pub(crate) struct HttpConfig {
    pub(crate) tls: Tls,
    pub(crate) system: Arc<dyn System>,
    pub(crate) notices: Arc<Notices>,
    pub(crate) pace: PaceLimits,
    pub(crate) cancel: Cancel,
    /// True if the registry is a mirror: connecting then has a shorter time limit.
    pub(crate) is_mirror: bool,
}

/// The headers of a request that differ between requests.
#[derive(Clone, Copy, Default)]
pub(crate) struct Headers<'a> {
    pub(crate) accept: Option<&'a str>,
    pub(crate) authorization: Option<&'a str>,
    pub(crate) range: Option<ByteRange>,
    /// Headers from the machine's configuration.
    pub(crate) extra: &'a [(String, String)],
}

impl HttpClient {
    pub(crate) fn new(config: HttpConfig) -> Self {
        Self { config, agents: Mutex::default() }
    }

    /// Returns a client with its own connections, which end when `cancel` is raised. It shares the TLS sessions.
    pub(crate) fn with_cancel(&self, cancel: &Cancel) -> Self {
        Self::new(HttpConfig { cancel: cancel.clone(), ..self.config.clone() })
    }

    /// Sends one GET request. A response is a success, whatever its status.
    pub(crate) fn get(&self, url: &Url, headers: Headers<'_>) -> Result<Response> {
        self.send("GET", url, headers)
    }

    /// Sends one HEAD request, as [`get`](Self::get) does. The response has no body.
    pub(crate) fn head(&self, url: &Url, headers: Headers<'_>) -> Result<Response> {
        self.send("HEAD", url, headers)
    }

    fn send(&self, method: &'static str, url: &Url, headers: Headers<'_>) -> Result<Response> {
        self.config.cancel.check()?;
        self.config.pace.budget.check()?;
        let proxy = self.proxy(url)?;
        let agent = self.agent(proxy.as_ref())?;
        let address = url.unredacted();
        let request = if method == "HEAD" { agent.head(address) } else { agent.get(address) };
        let mut request = request.config().timeout_global(self.config.cancel.remaining()).build();
        if let Some(accept) = headers.accept {
            request = request.header("accept", accept);
        }
        if let Some(authorization) = headers.authorization {
            request = request.header("authorization", authorization);
        }
        if let Some(ByteRange { first, last }) = headers.range {
            request = request.header("range", format!("bytes={first}-{last}"));
        }
        for (name, value) in headers.extra {
            // A granted authorization replaces a configured one.
            if headers.authorization.is_none() || !name.eq_ignore_ascii_case("authorization") {
                request = request.header(name, value);
            }
        }
        let response = request.call().map_err(|e| through_proxy(proxy.as_ref(), exchange_error(method, url, e)))?;
        self.response(response, method, url)
    }

    /// Sends one form with POST, to a token endpoint. The form is a secret and appears in no error.
    pub(crate) fn post_form(&self, url: &Url, form: &str) -> Result<Response> {
        self.config.cancel.check()?;
        self.config.pace.budget.check()?;
        let proxy = self.proxy(url)?;
        let agent = self.agent(proxy.as_ref())?;
        let request = agent.post(url.unredacted()).config().timeout_global(self.config.cancel.remaining()).build();
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let response = request.send(form).map_err(|e| through_proxy(proxy.as_ref(), exchange_error("POST", url, e)))?;
        self.response(response, "POST", url)
    }

    fn response(
        &self,
        response: ureq::http::Response<ureq::Body>,
        method: &'static str,
        url: &Url,
    ) -> Result<Response> {
        let pace = Pace::new(self.config.pace.clone(), self.config.cancel.clone());
        Response::new(response, method, url.clone(), pace)
    }

    fn proxy(&self, url: &Url) -> Result<Option<Proxy>> {
        self.config.system.proxy(url.is_https(), url.host(), url.port())
    }

    /// Returns the agent for this proxy. The first use of a proxy is reported.
    fn agent(&self, proxy: Option<&Proxy>) -> Result<ureq::Agent> {
        let agents = &mut *self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, agent)) = agents.iter().find(|(known, _)| known.as_ref() == proxy) {
            return Ok(agent.clone());
        }
        let agent = self.config.build_agent(proxy)?;
        if let Some(proxy) = proxy {
            let (what, from) = (format!("proxy {}", proxy.url()), proxy.from.clone());
            self.config.notices.add(Notice::Configured { what, from });
        }
        agents.push((proxy.cloned(), agent.clone()));
        Ok(agent)
    }
}

impl HttpConfig {
    fn build_agent(&self, proxy: Option<&Proxy>) -> Result<ureq::Agent> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(proxy.map(ureq_proxy).transpose()?)
            .user_agent(concat!("pullet/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .timeout_connect(Some(if self.is_mirror { MIRROR_CONNECT_TIMEOUT } else { CONNECT_TIMEOUT }))
            .timeout_recv_response(Some(self.pace.stall))
            .timeout_per_read(Some(self.pace.stall))
            .max_response_header_size(HEADER_LIMIT)
            .input_buffer_size(INPUT_BUFFER)
            .output_buffer_size(OUTPUT_BUFFER)
            .build();
        let resolver = Resolver::new(self.cancel.clone());
        let connector = ().chain(ConnectProxyConnector::default());
        #[cfg(feature = "socks")]
        let connector = connector.chain(super::socks::SocksConnector::new(resolver.clone(), self.cancel.clone()));
        let head = HeadConnector { has_proxy: proxy.is_some() };
        let connector = connector.chain(TcpConnector(self.cancel.clone())).chain(self.tls.clone()).chain(head);
        Ok(ureq::Agent::with_parts(config, connector, resolver))
    }
}

/// Converts a proxy to ureq's type. The proxy looks up the host names, because behind a proxy the machine often cannot.
fn ureq_proxy(proxy: &Proxy) -> Result<ureq::Proxy> {
    let protocol = match proxy.protocol {
        ProxyProtocol::Http => ureq::ProxyProtocol::Http,
        ProxyProtocol::Https => ureq::ProxyProtocol::Https,
        ProxyProtocol::Socks5 if cfg!(feature = "socks") => ureq::ProxyProtocol::Socks5,
        ProxyProtocol::Socks5 => {
            let text =
                format!("the proxy in {} uses SOCKS, but this pullet was built without SOCKS support", proxy.from);
            return Err(Error::new(ErrorKind::Unsupported, text).with_hint("use a build with the feature \"socks\""));
        }
    };
    let mut builder = ureq::Proxy::builder(protocol).host(&proxy.host).port(proxy.port).resolve_target(false);
    if let Some(user) = &proxy.user {
        builder = builder.username(user);
    }
    if let Some(password) = &proxy.password {
        builder = builder.password(password);
    }
    builder.build().map_err(|_| Error::new(ErrorKind::Usage, format!("malformed proxy in {}", proxy.from)))
}
