//! A server as image names, URLs and configuration files write it: `HOST[:PORT]`. Checks the syntax only.
//!
//! Two grammars in this crate differ and keep their own rules. An image name is stricter (Docker's grammar, in
//! `reference.rs`): it allows no `_` and no empty label in a host, and no empty port. An entry of `NO_PROXY` is looser
//! (Go's rules, in `host/proxy.rs`): it may be an IPv6 address without brackets, a suffix or a network.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The host and optional port of a server (the `authority` of RFC 3986, section 3.2, without user information).
///
/// The host is a name, an IPv4 address, or an IPv6 address in brackets. It is kept in lower case because host names
/// ignore case, so two authorities that are equal name the same server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Authority {
    host: String,
    port: Option<u16>,
}

impl Authority {
    /// The host in lower case, an IPv6 address in brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The host in lower case, an IPv6 address without brackets.
    pub(crate) fn bare_host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, if one is given. An empty port (`host:`) counts as none, as RFC 3986 says.
    pub(crate) fn port(&self) -> Option<u16> {
        self.port
    }
}

impl FromStr for Authority {
    /// The reason, without the text itself: what is not an authority may hold a password.
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = split(text)?;
        let port = match port {
            None | Some("") => None,
            Some(digits) => Some(parse_port(digits)?),
        };
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

/// Splits a checked host from the text behind its colon.
fn split(text: &str) -> Result<(&str, Option<&str>), &'static str> {
    let Some(rest) = text.strip_prefix('[') else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) {
            return Err("the host is malformed");
        }
        return Ok((host, port));
    };
    let (address, rest) = rest.split_once(']').ok_or("the IPv6 host lacks its \"]\"")?;
    let port = rest.strip_prefix(':');
    if address.parse::<Ipv6Addr>().is_err() || (port.is_none() && !rest.is_empty()) {
        return Err("the IPv6 host is malformed");
    }
    let host = text.strip_suffix(rest).unwrap_or(text);
    Ok((host, port))
}

/// Digits only, because `u16::from_str` would take a sign too.
fn parse_port(digits: &str) -> Result<u16, &'static str> {
    let malformed = "the port is malformed";
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(malformed);
    }
    digits.parse().map_err(|_| malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_names_and_addresses() {
        for (text, host, bare_host, port) in [
            ("r.io", "r.io", "r.io", None),
            ("R.io:443", "r.io", "r.io", Some(443)),
            ("a_b-c:0", "a_b-c", "a_b-c", Some(0)),
            ("r.io:", "r.io", "r.io", None),
            ("127.0.0.1:5000", "127.0.0.1", "127.0.0.1", Some(5000)),
            ("[::1]", "[::1]", "::1", None),
            ("[2001:DB8::1]:65535", "[2001:db8::1]", "2001:db8::1", Some(65535)),
            ("[::ffff:10.0.0.1]:", "[::ffff:10.0.0.1]", "::ffff:10.0.0.1", None),
        ] {
            let authority: Authority = text.parse().unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!((authority.host(), authority.bare_host(), authority.port()), (host, bare_host, port), "{text}");
            let again = authority.to_string().parse();
            assert_eq!(again, Ok(authority), "{text}");
        }
    }

    #[test]
    fn rejects_anything_else_with_a_reason() {
        for (text, why) in [
            ("", "the host is malformed"),
            (":1", "the host is malformed"),
            ("a/b", "the host is malformed"),
            ("u@h", "the host is malformed"),
            ("ü.io", "the host is malformed"),
            ("a b", "the host is malformed"),
            ("::1", "the host is malformed"),
            ("a:1:2", "the port is malformed"),
            ("a:+1", "the port is malformed"),
            ("a:65536", "the port is malformed"),
            ("a:x", "the port is malformed"),
            ("[::1]:x", "the port is malformed"),
            ("[::1", "the IPv6 host lacks its \"]\""),
            ("[]", "the IPv6 host is malformed"),
            ("[::g]", "the IPv6 host is malformed"),
            ("[fe80::1%eth0]", "the IPv6 host is malformed"),
            ("[::1]x:1", "the IPv6 host is malformed"),
        ] {
            assert_eq!(text.parse::<Authority>(), Err(why), "{text}");
        }
    }
}
