//! Converts rustls's errors to this crate's, with advice where the cause is known.

use rustls::{AlertDescription, CertificateError, Error as RustlsError};

use super::clock::format_time;
use super::verifier::is_authority_as_server;
use crate::advice::Advice;
use crate::error::{Error, ErrorKind};

const CLOCK_HINT: &str = "set this machine's clock if it is wrong; otherwise the server needs another certificate";

/// Converts an error of rustls.
pub(crate) fn tls_error(error: &RustlsError) -> Error {
    let tls = |text: String| Error::new(ErrorKind::Tls, format!("TLS: {text}"));
    match error {
        RustlsError::InvalidCertificate(CertificateError::UnknownIssuer) => {
            tls("the certificate was not issued by a trusted authority".to_owned()).with_advice(Advice::GiveAuthority)
        }
        // The authority was replaced by a new one with the same name.
        RustlsError::InvalidCertificate(CertificateError::BadSignature) => {
            tls("the certificate is not signed by the authority that it names".to_owned())
                .with_advice(Advice::GiveAuthority)
        }
        RustlsError::InvalidCertificate(CertificateError::ExpiredContext { time, not_after }) => {
            let (now, end) = (format_time(time.as_secs()), format_time(not_after.as_secs()));
            tls(format!("the certificate expired at {end}; the time is taken to be {now}")).with_hint(CLOCK_HINT)
        }
        RustlsError::InvalidCertificate(CertificateError::NotValidYetContext { time, not_before }) => {
            let (now, start) = (format_time(time.as_secs()), format_time(not_before.as_secs()));
            tls(format!("the certificate is not valid before {start}; this machine's clock says {now}"))
                .with_advice(Advice::SetClock)
        }
        RustlsError::InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented }) => {
            let names = list_names(presented);
            tls(format!("the certificate is valid for {names}, but not for {}", expected.to_str()))
        }
        RustlsError::AlertReceived(AlertDescription::CertificateRequired) => {
            tls("the server requires a client certificate".to_owned()).with_advice(Advice::GiveClientCertificate)
        }
        // A certificate of `openssl req -x509`, which is trusted if it is itself among the roots.
        error if is_authority_as_server(error) => {
            tls("the server uses a certificate of an authority that is not trusted as its own".to_owned())
                .with_advice(Advice::GiveAuthority)
        }
        RustlsError::InvalidMessage(_) => Error::new(ErrorKind::Network, format!("TLS: malformed message: {error}")),
        _ => tls(error.to_string()),
    }
}

/// Lists the names of a certificate, which rustls gives as `DnsName("a.io")`: `a.io, b.io`.
fn list_names(presented: &[String]) -> String {
    const MOST: usize = 8;
    if presented.is_empty() {
        return "no name".to_owned();
    }
    let mut names = Vec::new();
    for name in presented.iter().take(MOST) {
        let name = name.split_once('(').map_or(name.as_str(), |(_, rest)| rest.trim_end_matches(')'));
        names.push(name.trim_matches('"'));
    }
    let names = names.join(", ");
    match presented.len().saturating_sub(MOST) {
        0 => names,
        more => format!("{names} and {more} more names"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_up_to_eight_names() {
        let names = |count: usize| (0..count).map(|n| format!("DnsName(\"{n}.io\")")).collect::<Vec<_>>();
        assert_eq!(list_names(&names(0)), "no name");
        assert_eq!(list_names(&names(2)), "0.io, 1.io");
        assert_eq!(list_names(&["IpAddress(127.0.0.1)".to_owned()]), "127.0.0.1");
        assert!(list_names(&names(8)).ends_with("6.io, 7.io"));
        assert!(list_names(&names(99)).ends_with("7.io and 91 more names"));
    }
}
