//! Credentials: a user name with a password, or a token. Never displays a secret, and does not decide which server
//! receives it.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use crate::error::{Error, ErrorKind, Result};

/// base64 with optional padding, because some configuration files are written by hand.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Credentials for a registry: user name and password, or a token. `Debug` does not show the secret.
///
/// ```
/// let credentials = pullet::Credentials::new("robot", "hunter2")?;
/// assert_eq!(format!("{credentials:?}"), "Credentials(robot)");
/// # Ok::<(), pullet::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    secret: Secret,
}

/// The secret part of credentials, by the way in which it is used.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    /// Sent with Basic authentication to the registry or to its token endpoint.
    Password(String),
    /// An OAuth2 refresh token: exchanged for tokens at the token endpoint, never sent to the registry.
    IdentityToken(String),
    /// Sent to the registry as a Bearer token.
    RegistryToken(String),
}

impl Credentials {
    /// A user name and password. Fails with [`ErrorKind::Usage`] if the name is empty or has a colon, which Basic
    /// cannot carry (RFC 7617).
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Result<Self> {
        let user = user.into();
        if user.is_empty() || user.contains(':') {
            return Err(invalid("the user name is empty or has a colon"));
        }
        Ok(Self { user, secret: Secret::Password(password.into()) })
    }

    /// An identity token: an OAuth2 refresh token, which a token endpoint exchanges for access tokens. `user` may be
    /// empty. Fails with [`ErrorKind::Usage`] if the token is empty.
    pub fn identity_token(user: impl Into<String>, token: impl Into<String>) -> Result<Self> {
        let token = token.into();
        if token.is_empty() {
            return Err(invalid("the identity token is empty"));
        }
        Ok(Self { user: user.into(), secret: Secret::IdentityToken(token) })
    }

    /// A token that is sent to the registry unchanged. Fails with [`ErrorKind::Usage`] if a header cannot carry it.
    pub fn registry_token(token: impl Into<String>) -> Result<Self> {
        let token = token.into();
        if !is_token(&token) {
            return Err(invalid("the registry token is empty or has characters that a header cannot carry"));
        }
        Ok(Self { user: String::new(), secret: Secret::RegistryToken(token) })
    }

    /// The user name; empty if a token needs none.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// A description of the credentials for people, without the secret.
    pub(crate) fn whose(&self) -> String {
        match (&self.secret, self.user.as_str()) {
            (Secret::RegistryToken(_), _) => "a registry token".to_owned(),
            (Secret::IdentityToken(_), "") => "an identity token".to_owned(),
            (Secret::IdentityToken(_), user) => format!("identity token of {user}"),
            (Secret::Password(_), user) => user.to_owned(),
        }
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// base64 of `user:password`, as in Basic authentication and in the `auth` member of configuration files. `None`
    /// for tokens.
    pub(crate) fn encoded(&self) -> Option<String> {
        match &self.secret {
            Secret::Password(password) => Some(STANDARD.encode(format!("{}:{password}", self.user))),
            _ => None,
        }
    }

    /// Decodes user and password from base64. Line breaks are ignored, as in Go, because `base64` of coreutils and BusyBox
    /// wraps its output. The error does not quote the text, because it is a secret.
    pub(crate) fn decoded(text: &str) -> Result<(String, String)> {
        let unwrapped = text.trim().replace(['\r', '\n'], "");
        let bytes = LENIENT.decode(unwrapped).map_err(|_| invalid("malformed base64"))?;
        let text = String::from_utf8(bytes).map_err(|_| invalid("not UTF-8"))?;
        let (user, password) = text.split_once(':').ok_or_else(|| invalid("no colon after the user name"))?;
        // Docker pads with NUL.
        Ok((user.to_owned(), password.trim_end_matches('\0').to_owned()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.user)
    }
}

/// Returns true if a header can carry the token: at least one character, all of RFC 9110's token68.
pub(crate) fn is_token(text: &str) -> bool {
    let is_token68 = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
    !text.is_empty() && text.bytes().all(is_token68)
}

fn invalid(why: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("invalid credentials: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_base64_with_and_without_padding() {
        let decoded = |text: &str| Credentials::decoded(text).ok();
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(decoded("dTpw"), pair("u", "p"));
        assert_eq!(decoded(" dTpwOnE=\n"), pair("u", "p:q"));
        assert_eq!(decoded("dTpwOnE"), pair("u", "p:q"));
        assert_eq!(decoded("dTpwAAA="), pair("u", "p"));
        assert_eq!(decoded("dTo="), pair("u", ""));
        for bad in ["", "!", "dXA=", "dTr/"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }

    #[test]
    fn ignores_line_breaks_in_base64() {
        let decoded = |text: &str| Credentials::decoded(text).ok().map(|(user, password)| format!("{user} {password}"));
        for wrapped in ["dTpw\nOnE=", "dTpw\r\nOnE=\r\n", "d\nTpwO\nnE\n=", "dTpwOnE\n"] {
            assert_eq!(decoded(wrapped).as_deref(), Some("u p:q"), "{wrapped:?}");
        }
        for bad in ["dTpw OnE=", "dTpw\tOnE=", "dTpw\\nOnE="] {
            assert_eq!(decoded(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn never_shows_a_secret() {
        for made in [
            Credentials::new("u", "s3cret"),
            Credentials::identity_token("u", "s3cret"),
            Credentials::registry_token("s3cret"),
        ] {
            assert!(made.is_ok_and(|made| !format!("{made:?}").contains("s3cret")));
        }
        for refused in [
            Credentials::new("s3:cret", "s3cret"),
            Credentials::registry_token("s3cret\r\nX: y"),
            Credentials::registry_token(""),
            Credentials::identity_token("s3cret", ""),
        ] {
            assert!(refused.is_err_and(|e| !e.to_string().contains("s3")));
        }
    }
}
