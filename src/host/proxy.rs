//! Proxies from the environment. `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` have the same meaning as in Go's httpproxy,
//! which Docker, podman and containerd use; `ALL_PROXY` is used if the variable of the scheme is not set, as in curl.
//! A value is parsed when a request uses it, and errors never quote it, because it may contain a password.

use std::net::IpAddr;

use super::environment::Environment;
use super::network::{Network, without_brackets};
use crate::error::{Error, ErrorKind, Result};
use crate::oci::authority::Authority;
use crate::oci::proxy::{Proxy, ProxyProtocol};

/// The proxy variables.
#[derive(Clone, Default)]
pub(crate) struct Proxies {
    http: Option<Variable>,
    https: Option<Variable>,
    all: Option<Variable>,
    /// The entries of `NO_PROXY`.
    exceptions: Vec<Exception>,
}

#[derive(Clone)]
struct Variable {
    /// The name for messages: `$HTTPS_PROXY`, or `the options`.
    from: String,
    value: String,
}

/// An entry of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq)]
enum Exception {
    All,
    Network(Network),
    Address {
        address: IpAddr,
        port: Option<String>,
    },
    Domain {
        /// Starts with a dot.
        suffix: String,
        /// Whether the host without that dot matches too.
        includes_host: bool,
        port: Option<String>,
    },
}

impl Proxies {
    /// Reads the variables of this process.
    pub(crate) fn of_environment() -> Self {
        let environment = Environment::of_process();
        Self::read(&|name| environment.variable(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// One proxy for all servers except loopback, or none, regardless of the environment.
    pub(crate) fn explicit(url: Option<String>) -> Self {
        let all = url.filter(|url| !url.is_empty()).map(|value| Variable { from: "the options".to_owned(), value });
        Self { all, ..Self::default() }
    }

    /// Reads the variables. Upper case wins, as in Go. In a CGI program, where `REQUEST_METHOD` is set, `HTTP_PROXY` is
    /// ignored, because the header `Proxy:` of a request would set it (httpoxy, CVE-2016-5388).
    pub(super) fn read(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let nonempty = |name: &str| variable(name).filter(|value| !value.is_empty());
        let first = |names: &[&'static str]| {
            names.iter().find_map(|&name| nonempty(name).map(|value| Variable { from: format!("${name}"), value }))
        };
        let is_cgi = nonempty("REQUEST_METHOD").is_some();
        let no_proxy = first(&["NO_PROXY", "no_proxy"]).map(|variable| variable.value).unwrap_or_default();
        Self {
            http: if is_cgi { first(&["http_proxy"]) } else { first(&["HTTP_PROXY", "http_proxy"]) },
            https: first(&["HTTPS_PROXY", "https_proxy"]),
            all: first(&["ALL_PROXY", "all_proxy"]),
            exceptions: no_proxy.split(',').filter_map(Exception::parse).collect(),
        }
    }

    /// Returns the proxy for a server, or `None` for a direct connection. Connections to `localhost` and loopback
    /// addresses are always direct.
    pub(crate) fn find(&self, https: bool, host: &str, port: u16) -> Result<Option<Proxy>> {
        let of_scheme = if https { &self.https } else { &self.http };
        let Some(variable) = of_scheme.as_ref().or(self.all.as_ref()) else { return Ok(None) };
        if self.is_exception(host, port) {
            return Ok(None);
        }
        parse(variable).map(Some)
    }

    fn is_exception(&self, host: &str, port: u16) -> bool {
        let host = without_brackets(host).to_lowercase();
        let ip = host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        if host == "localhost" || ip.is_some_and(|ip| ip.is_loopback()) {
            return true;
        }
        let port = port.to_string();
        self.exceptions.iter().any(|exception| exception.matches(&host, ip, &port))
    }
}

impl Exception {
    /// Parses `*`, a network, or an address, host or domain suffix with or without a port. Returns `None` for anything
    /// else, which matches no host, as in Go.
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_lowercase();
        if entry == "*" {
            return Some(Self::All);
        }
        if entry.contains('/') {
            return entry.parse().ok().map(Self::Network);
        }
        let (host, port) = split_port(&entry)?;
        let port = port.map(str::to_owned);
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Self::Address { address: address.to_canonical(), port });
        }
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        let includes_host = !host.starts_with('.');
        let suffix = if includes_host { format!(".{host}") } else { host.to_owned() };
        if suffix == "." {
            return None;
        }
        Some(Self::Domain { suffix, includes_host, port })
    }

    /// `host` is in lower case and has no brackets; `ip` is its value if it is an address.
    fn matches(&self, host: &str, ip: Option<IpAddr>, port: &str) -> bool {
        let matches_port = |wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| wanted == port);
        match self {
            Self::All => true,
            Self::Network(network) => ip.is_some_and(|ip| network.contains(ip)),
            Self::Address { address, port } => ip == Some(*address) && matches_port(port),
            Self::Domain { suffix, includes_host, port } => {
                let is_host = *includes_host && suffix.strip_prefix('.') == Some(host);
                (is_host || host.ends_with(suffix)) && matches_port(port)
            }
        }
    }
}

/// Parses `[SCHEME://][USER[:PASSWORD]@]HOST[:PORT][/]`. Errors name the variable and not its value.
fn parse(variable: &Variable) -> Result<Proxy> {
    let malformed = |what: &str| {
        Error::new(ErrorKind::Usage, format!("malformed proxy in {}: {what}", variable.from))
            .with_hint("[http|https|socks5://][USER:PASSWORD@]HOST[:PORT] is expected")
    };
    let value = variable.value.trim();
    if value.contains(char::REPLACEMENT_CHARACTER) {
        return Err(malformed("not UTF-8"));
    }
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    let (protocol, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => (ProxyProtocol::Http, 80),
        "https" => (ProxyProtocol::Https, 443),
        // As in Go, the proxy resolves host names for both.
        "socks5" | "socks5h" => (ProxyProtocol::Socks5, 1080),
        _ => return Err(malformed("the scheme is not http, https or socks5")),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (login, server) = match authority.rsplit_once('@') {
        Some((login, server)) => (Some(login), server),
        None => (None, authority),
    };
    let server: Authority = server.parse().map_err(|_| malformed("no valid HOST[:PORT]"))?;
    let mut proxy = Proxy {
        protocol,
        host: server.host().to_owned(),
        port: server.port().unwrap_or(default_port),
        user: None,
        password: None,
        from: variable.from.clone(),
    };
    if let Some(login) = login {
        let decode = |text: &str| {
            percent_decode(text).ok_or_else(|| malformed("the user name or password is not percent-encoded correctly"))
        };
        match login.split_once(':') {
            Some((user, password)) => {
                proxy.user = Some(decode(user)?);
                proxy.password = Some(decode(password)?);
            }
            None => proxy.user = Some(decode(login)?),
        }
    }
    Ok(proxy)
}

/// Splits an entry of `NO_PROXY` into host and port. The host has no brackets, and an empty port is no port. An entry with
/// several colons and no brackets is an IPv6 address without a port. Returns `None` if anything but a port follows the
/// closing bracket.
fn split_port(entry: &str) -> Option<(&str, Option<&str>)> {
    let (host, port) = match entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, "")) => (address, ""),
        Some((address, rest)) => (address, rest.strip_prefix(':')?),
        None => match entry.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, port),
            _ => (entry, ""),
        },
    };
    Some((host, Some(port).filter(|port| !port.is_empty())))
}

/// Decodes percent-encoded text. Returns `None` if it is malformed, not UTF-8, or has control characters.
fn percent_decode(text: &str) -> Option<String> {
    let hex_digit = |digit: u8| char::from(digit).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let [high, low, tail @ ..] = tail else { return None };
        bytes.push(u8::try_from(hex_digit(*high)? * 16 + hex_digit(*low)?).ok()?);
        rest = tail;
    }
    String::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::read(&|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    /// `URL from VARIABLE`, nothing for a direct connection, or the error.
    #[track_caller]
    fn check(variables: &[(&str, &str)], url: &str, expected: &str) {
        let (scheme, authority) = url.split_once("://").unwrap();
        let (host, port) = authority.rsplit_once(':').unwrap();
        let found = proxies(variables).find(scheme == "https", host, port.parse().unwrap());
        let found = match found {
            Ok(Some(proxy)) => format!("{} from {}", proxy.url(), proxy.from.trim_start_matches('$')),
            Ok(None) => String::new(),
            Err(error) => format!("{:?}: {error}", error.kind()),
        };
        assert_eq!(found, expected, "{variables:?} {url}");
    }

    #[test]
    fn chooses_the_variable_by_scheme() {
        let both = [("HTTP_PROXY", "http://h:1"), ("HTTPS_PROXY", "http://s:2"), ("ALL_PROXY", "socks5://a")];
        check(&[], "https://r.io:443", "");
        check(&both, "https://r.io:443", "http://s:2 from HTTPS_PROXY");
        check(&both, "http://r.io:80", "http://h:1 from HTTP_PROXY");
        check(&both[..1], "https://r.io:443", "");
        check(&both[1..2], "http://r.io:80", "");
        check(&both[2..], "https://r.io:443", "socks5://a:1080 from ALL_PROXY");
        check(&[("all_proxy", "a")], "http://r.io:80", "http://a:80 from all_proxy");
        check(&[("https_proxy", "low:1")], "https://r.io:443", "http://low:1 from https_proxy");
        check(&[("https_proxy", "low"), ("HTTPS_PROXY", "up")], "https://r.io:443", "http://up:80 from HTTPS_PROXY");
        check(&[("https_proxy", "low"), ("HTTPS_PROXY", "")], "https://r.io:443", "http://low:80 from https_proxy");
        // In a CGI program, HTTP_PROXY comes from a header of the request.
        let cgi = [("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "evil"), ("http_proxy", "ours")];
        check(&cgi, "http://r.io:80", "http://ours:80 from http_proxy");
        check(&cgi[..2], "http://r.io:80", "");
    }

    #[test]
    fn parses_proxy_urls() {
        for (value, expected) in [
            ("proxy", "http://proxy:80"),
            ("Proxy.Example:3128/", "http://proxy.example:3128"),
            ("https://proxy", "https://proxy:443"),
            ("socks5h://[::1]", "socks5://[::1]:1080"),
            ("http://u:p@proxy:8080/path?query", "http://proxy:8080"),
            (" http://proxy ", "http://proxy:80"),
        ] {
            check(&[("HTTPS_PROXY", value)], "https://r.io:443", &format!("{expected} from HTTPS_PROXY"));
        }
        for (value, what) in [
            ("ftp://u:s3cret@proxy", "the scheme is not http, https or socks5"),
            ("http://u:s3cret\u{fffd}@proxy", "not UTF-8"),
            ("http://u:s3cret@", "no valid HOST[:PORT]"),
            ("http://u:s3cret@pro xy", "no valid HOST[:PORT]"),
            ("http://u:s3cret@proxy:99999", "no valid HOST[:PORT]"),
            ("http://u:s3cret@proxy:+1", "no valid HOST[:PORT]"),
            ("http://u:s3cret@[::1", "no valid HOST[:PORT]"),
            ("http://u:s3cret@[::1]x:1", "no valid HOST[:PORT]"),
            ("http://u:s3cret@[x]", "no valid HOST[:PORT]"),
            ("http://u:s3cret%4@proxy", "the user name or password is not percent-encoded correctly"),
            ("http://u:s3cret%0d%0aX:y@proxy", "the user name or password is not percent-encoded correctly"),
            ("http://u:s3cret%ff@proxy", "the user name or password is not percent-encoded correctly"),
        ] {
            let expected = format!("Usage: malformed proxy in $HTTPS_PROXY: {what}");
            check(&[("HTTPS_PROXY", value)], "https://r.io:443", &expected);
            // A request that does not use the proxy succeeds.
            check(&[("HTTPS_PROXY", value)], "http://r.io:80", "");
            check(&[("HTTPS_PROXY", value)], "https://127.0.0.1:443", "");
        }
    }

    #[test]
    fn decodes_user_and_password_once() {
        for (value, expected) in [
            ("http://proxy", (None, None)),
            ("http://u@proxy", (Some("u"), None)),
            ("http://u:p@proxy", (Some("u"), Some("p"))),
            ("http://u:p:q@proxy", (Some("u"), Some("p:q"))),
            ("http://a%40b:%2525%20+@proxy", (Some("a@b"), Some("%25 +"))),
            ("http://u:p@q@proxy", (Some("u"), Some("p@q"))),
        ] {
            let proxy = proxies(&[("HTTPS_PROXY", value)]).find(true, "r.io", 443).unwrap().unwrap();
            assert_eq!((proxy.user.as_deref(), proxy.password.as_deref()), expected, "{value}");
        }
    }

    #[test]
    fn matches_no_proxy_as_go_does() {
        for (list, host, expected) in [
            ("", "r.io:443", false),
            ("", "localhost:443", true),
            ("", "127.9.9.9:443", true),
            ("", "[::1]:443", true),
            ("", "[::ffff:127.0.0.1]:443", true),
            ("", "localhost.example:443", false),
            ("*", "r.io:443", true),
            ("a.io,*", "r.io:443", true),
            ("*.io", "r.io:443", true),
            ("*.r.io", "r.io:443", false),
            ("r.io", "r.io:443", true),
            ("R.IO", "r.io:443", true),
            ("r.io", "R.io:443", true),
            ("r.io", "a.b.r.io:443", true),
            ("r.io", "bar.io:443", false),
            ("r.io", "r.io.evil:443", false),
            (".r.io", "a.r.io:443", true),
            (".r.io", "r.io:443", false),
            ("r.io:443", "r.io:443", true),
            ("r.io:443", "a.r.io:443", true),
            ("r.io:443", "r.io:5000", false),
            (".r.io:5000", "a.r.io:5000", true),
            ("a.io, r.io ,b.io", "r.io:443", true),
            ("a.io;r.io", "r.io:443", false),
            ("10.0.0.1", "10.0.0.1:443", true),
            ("10.0.0.1", "10.0.0.10:443", false),
            ("10.0.0.1:5000", "10.0.0.1:5000", true),
            ("10.0.0.1:5000", "10.0.0.1:443", false),
            ("10.0.0.0/8", "10.9.9.9:443", true),
            ("10.0.0.0/8", "11.0.0.1:443", false),
            ("10.0.0.0/8", "10.r.io:443", false),
            ("10.9.9.9/9", "10.1.1.1:443", true),
            ("0.0.0.0/0", "1.2.3.4:443", true),
            ("0.0.0.0/0", "[2001:db8::1]:443", false),
            ("10.0.0.0/33", "10.0.0.1:443", false),
            ("10.0.0.1/32", "10.0.0.1:443", true),
            ("10.0.0.0/8", "[::ffff:10.0.0.1]:443", true),
            ("2001:db8::/32", "[2001:db8:1::1]:443", true),
            ("2001:db8::/32", "[2001:db9::1]:443", false),
            ("::/0", "[2001:db8::1]:443", true),
            ("2001:db8::1", "[2001:db8::1]:443", true),
            ("[2001:db8::1]:5000", "[2001:db8::1]:5000", true),
            ("[2001:db8::1]:5000", "[2001:db8::1]:443", false),
            ("[2001:db8::1]x:443", "[2001:db8::1]:443", false),
            (",,:,/,.,*.,[,]:1", "r.io:443", false),
        ] {
            let (host, port) = host.rsplit_once(':').unwrap();
            let found = proxies(&[("NO_PROXY", list)]).is_exception(host, port.parse().unwrap());
            assert_eq!(found, expected, "{list:?} {host}:{port}");
        }
        assert!(proxies(&[("no_proxy", "r.io")]).is_exception("r.io", 443));
        assert!(!proxies(&[("no_proxy", "r.io"), ("NO_PROXY", "a.io")]).is_exception("r.io", 443));
    }
}
