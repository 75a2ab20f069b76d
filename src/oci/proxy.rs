//! A proxy server, and where it is configured.

/// A proxy through which a server is reached.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) protocol: ProxyProtocol,
    /// In lower case; an IPv6 address in brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    /// The source of the setting, for messages: `$HTTPS_PROXY`, or `the options`.
    pub(crate) from: String,
}

/// The protocol between the client and a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyProtocol {
    Http,
    Https,
    Socks5,
}

impl Proxy {
    /// Returns the URL for messages, without user name and password.
    pub(crate) fn url(&self) -> String {
        let scheme = match self.protocol {
            ProxyProtocol::Http => "http",
            ProxyProtocol::Https => "https",
            ProxyProtocol::Socks5 => "socks5",
        };
        format!("{scheme}://{}:{}", self.host, self.port)
    }
}
