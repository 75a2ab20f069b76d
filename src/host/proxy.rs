//! Proxies, as the environment names them: `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` with the meaning that they have
//! in Go's httpproxy, which is what Docker and its kin obey, and curl's `ALL_PROXY` where the scheme's own is not set.
//! Pure but for [`Proxies::of_environment`]; a value is judged when a request would use it, and never shown.

use std::env;
use std::net::IpAddr;

use super::network::Network;
use crate::error::{Error, ErrorKind, Result};
use crate::oci::authority::Authority;
use crate::oci::proxy::{Proxy, ProxyProtocol};

/// What the variables say.
#[derive(Clone, Default)]
pub(crate) struct Proxies {
    http: Option<Variable>,
    https: Option<Variable>,
    all: Option<Variable>,
    bypassed: Vec<Bypassed>,
}

#[derive(Clone)]
struct Variable {
    name: &'static str,
    value: String,
}

/// An entry of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq)]
enum Bypassed {
    All,
    Network(Network),
    Address(IpAddr, Option<String>),
    /// `suffix` starts with a dot; `is_itself` where the host without that dot is meant too.
    Domain {
        suffix: String,
        is_itself: bool,
        port: Option<String>,
    },
}

impl Proxies {
    pub(crate) fn of_environment() -> Self {
        Self::read(&|name| env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// One proxy for all servers except loopback, or none at all, whatever the environment says.
    pub(crate) fn explicit(url: Option<String>) -> Self {
        Self::read(&|name| if name == "ALL_PROXY" { url.clone() } else { None })
    }

    /// Upper case wins, as in Go. `HTTP_PROXY` is no variable of the user's in a CGI program, where `REQUEST_METHOD` is
    /// set: there a request's header `Proxy:` would choose it (httpoxy).
    pub(super) fn read(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let of = |names: &[&'static str]| {
            names.iter().find_map(|&name| {
                variable(name).filter(|value| !value.is_empty()).map(|value| Variable { name, value })
            })
        };
        let is_cgi = variable("REQUEST_METHOD").is_some_and(|value| !value.is_empty());
        let bypassed = of(&["NO_PROXY", "no_proxy"]).map_or_else(Vec::new, |list| {
            list.value.split(',').filter_map(|entry| Bypassed::parse(&entry.trim().to_lowercase())).collect()
        });
        Self {
            http: of(if is_cgi { &["http_proxy"] } else { &["HTTP_PROXY", "http_proxy"] }),
            https: of(&["HTTPS_PROXY", "https_proxy"]),
            all: of(&["ALL_PROXY", "all_proxy"]),
            bypassed,
        }
    }

    /// The proxy for a server; `None` where it is asked directly. `localhost` and loopback addresses always are.
    pub(crate) fn of(&self, https: bool, host: &str, port: u16) -> Result<Option<Proxy>> {
        let own = if https { &self.https } else { &self.http };
        match own.as_ref().or(self.all.as_ref()) {
            Some(variable) if !self.is_bypassed(host, port) => parse(variable).map(Some),
            _ => Ok(None),
        }
    }

    fn is_bypassed(&self, host: &str, port: u16) -> bool {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_lowercase();
        let ip = host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        host == "localhost"
            || ip.is_some_and(|ip| ip.is_loopback())
            || self.bypassed.iter().any(|entry| entry.matches(&host, ip, &port.to_string()))
    }
}

impl Bypassed {
    /// `*`, an address, a network, a host or a suffix, the last three with a port or without. What is none of them
    /// matches nothing, as in Go.
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::All);
        }
        if entry.contains('/') {
            return entry.parse().ok().map(Self::Network);
        }
        let (host, port) = split_port(entry);
        let port = port.map(str::to_owned);
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical(), port));
        }
        let host = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
        let is_itself = !host.starts_with('.');
        let suffix = if is_itself { format!(".{host}") } else { host.to_owned() };
        (suffix.len() > 1).then_some(Self::Domain { suffix, is_itself, port })
    }

    fn matches(&self, host: &str, ip: Option<IpAddr>, port: &str) -> bool {
        let is_port = |wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| wanted == port);
        match self {
            Self::All => true,
            Self::Network(network) => ip.is_some_and(|ip| network.has(ip)),
            Self::Address(address, wanted) => ip == Some(*address) && is_port(wanted),
            Self::Domain { suffix, is_itself, port } => {
                let is_host = *is_itself && suffix.strip_prefix('.') == Some(host);
                (is_host || host.ends_with(suffix)) && is_port(port)
            }
        }
    }
}

/// `host:port` and `[address]:port` apart; an IPv6 address without brackets is no host with a port.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    if let Some((address, rest)) = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (address, rest.strip_prefix(':').filter(|port| !port.is_empty()));
    }
    match entry.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port).filter(|port| !port.is_empty())),
        _ => (entry, None),
    }
}

/// `[SCHEME://][USER[:PASSWORD]@]HOST[:PORT][/]`. The value may hold a password, so an error tells the variable's name
/// and what is wrong, and never the value.
fn parse(variable: &Variable) -> Result<Proxy> {
    let refuse = |what: &str| {
        let name = variable.name;
        Error::new(ErrorKind::Usage, format!("malformed proxy in ${name}: {what}"))
            .with_hint(format!("{name}=[http|https|socks5://][USER:PASSWORD@]HOST[:PORT]"))
    };
    let value = variable.value.trim();
    if value.contains(char::REPLACEMENT_CHARACTER) {
        return Err(refuse("it is not UTF-8"));
    }
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    let (protocol, default) = match scheme.to_ascii_lowercase().as_str() {
        "http" => (ProxyProtocol::Http, 80),
        "https" => (ProxyProtocol::Https, 443),
        // As in Go, the proxy resolves names for both.
        "socks5" | "socks5h" => (ProxyProtocol::Socks5, 1080),
        _ => return Err(refuse("its scheme is none of http, https and socks5")),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (login, server) = authority.rsplit_once('@').map_or((None, authority), |(login, server)| (Some(login), server));
    let (user, password) = match login.map(|login| login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)))) {
        Some((user, password)) => (Some(user), password),
        None => (None, None),
    };
    let decode = |text: Option<&str>| match text.map(percent_decoded) {
        Some(None) => Err(refuse("its user name or password is not percent-encoded as it should be")),
        Some(decoded) => Ok(decoded),
        None => Ok(None),
    };
    let server: Authority = server.parse().map_err(|_| refuse("it names no host and port"))?;
    let (host, port) = (server.host().to_owned(), server.port().unwrap_or(default));
    let (user, password) = (decode(user)?, decode(password)?);
    Ok(Proxy { protocol, host, port, user, password, variable: variable.name })
}

/// `None` for what is not percent-encoded UTF-8 without control characters.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        let byte = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => {
                rest = tail;
                let digit = |digit: u8| char::from(digit).to_digit(16);
                u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?
            }
            (b'%', _) => return None,
            (byte, _) => *byte,
        };
        bytes.push(byte);
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
        let found = proxies(variables).of(scheme == "https", host, port.parse().unwrap());
        let found = match found {
            Ok(Some(proxy)) => format!("{} from {}", proxy.url(), proxy.variable),
            Ok(None) => String::new(),
            Err(error) => format!("{:?}: {error}", error.kind()),
        };
        assert_eq!(found, expected, "{variables:?} {url}");
    }

    #[test]
    fn each_scheme_has_its_variable() {
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
        // In a CGI program a header of the request has become HTTP_PROXY.
        let cgi = [("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "evil"), ("http_proxy", "ours")];
        check(&cgi, "http://r.io:80", "http://ours:80 from http_proxy");
        check(&cgi[..2], "http://r.io:80", "");
    }

    #[test]
    fn urls_of_proxies() {
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
            ("ftp://u:s3cret@proxy", "its scheme is none of http, https and socks5"),
            ("http://u:s3cret\u{fffd}@proxy", "it is not UTF-8"),
            ("http://u:s3cret@", "it names no host and port"),
            ("http://u:s3cret@pro xy", "it names no host and port"),
            ("http://u:s3cret@proxy:99999", "it names no host and port"),
            ("http://u:s3cret@proxy:+1", "it names no host and port"),
            ("http://u:s3cret@[::1", "it names no host and port"),
            ("http://u:s3cret@[::1]x:1", "it names no host and port"),
            ("http://u:s3cret@[x]", "it names no host and port"),
            ("http://u:s3cret%4@proxy", "its user name or password is not percent-encoded as it should be"),
            ("http://u:s3cret%0d%0aX:y@proxy", "its user name or password is not percent-encoded as it should be"),
            ("http://u:s3cret%ff@proxy", "its user name or password is not percent-encoded as it should be"),
        ] {
            let expected = format!("Usage: malformed proxy in $HTTPS_PROXY: {what}");
            check(&[("HTTPS_PROXY", value)], "https://r.io:443", &expected);
            // It is in nobody's way.
            check(&[("HTTPS_PROXY", value)], "http://r.io:80", "");
            check(&[("HTTPS_PROXY", value)], "https://127.0.0.1:443", "");
        }
    }

    #[test]
    fn logins_are_decoded_once() {
        for (value, expected) in [
            ("http://proxy", (None, None)),
            ("http://u@proxy", (Some("u"), None)),
            ("http://u:p@proxy", (Some("u"), Some("p"))),
            ("http://u:p:q@proxy", (Some("u"), Some("p:q"))),
            ("http://a%40b:%2525%20+@proxy", (Some("a@b"), Some("%25 +"))),
            ("http://u:p@q@proxy", (Some("u"), Some("p@q"))),
        ] {
            let proxy = proxies(&[("HTTPS_PROXY", value)]).of(true, "r.io", 443).unwrap().unwrap();
            assert_eq!((proxy.user.as_deref(), proxy.password.as_deref()), expected, "{value}");
        }
    }

    #[test]
    fn no_proxy_is_read_as_go_does() {
        for (list, host, bypassed) in [
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
            (",,:,/,.,*.,[,]:1", "r.io:443", false),
        ] {
            let (host, port) = host.rsplit_once(':').unwrap();
            let found = proxies(&[("NO_PROXY", list)]).is_bypassed(host, port.parse().unwrap());
            assert_eq!(found, bypassed, "{list:?} {host}:{port}");
        }
        assert!(proxies(&[("no_proxy", "r.io")]).is_bypassed("r.io", 443));
        assert!(!proxies(&[("no_proxy", "r.io"), ("NO_PROXY", "a.io")]).is_bypassed("r.io", 443));
    }
}
