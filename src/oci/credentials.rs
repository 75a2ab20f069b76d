//! What a registry is shown to be let in, pure: a user's password, or a token. No secret is ever displayed; who may have
//! one is decided elsewhere.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use crate::error::{Error, ErrorKind, Result};

/// Configuration files are written by hand too: padding may be missing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Credentials for a registry: user name and password, or a token. Shown to nobody: its `Debug` has no secret.
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

/// What makes credentials secret, and how it is used.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    /// Sent as Basic, to the registry or to its token endpoint.
    Password(String),
    /// An OAuth2 refresh token: exchanged for tokens at the token endpoint, never sent to the registry.
    IdentityToken(String),
    /// Sent to the registry as Bearer, as it is.
    RegistryToken(String),
}

impl Credentials {
    /// A user name and password. Fails with [`ErrorKind::Usage`] if the name is empty or has a colon, which Basic
    /// cannot carry (RFC 7617).
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Result<Self> {
        let user = user.into();
        match user.is_empty() || user.contains(':') {
            true => Err(invalid("the user name is empty or has a colon")),
            false => Ok(Self { user, secret: Secret::Password(password.into()) }),
        }
    }

    /// An identity token: an OAuth2 refresh token, with which a token endpoint gives tokens. `user` may be empty.
    /// Fails with [`ErrorKind::Usage`] if the token is empty.
    pub fn identity_token(user: impl Into<String>, token: impl Into<String>) -> Result<Self> {
        match token.into() {
            empty if empty.is_empty() => Err(invalid("the identity token is empty")),
            token => Ok(Self { user: user.into(), secret: Secret::IdentityToken(token) }),
        }
    }

    /// A token that the registry takes as it is. Fails with [`ErrorKind::Usage`] if no header can carry it.
    pub fn registry_token(token: impl Into<String>) -> Result<Self> {
        let token = token.into();
        match is_token(&token) {
            true => Ok(Self { user: String::new(), secret: Secret::RegistryToken(token) }),
            false => Err(invalid("the registry token has characters that no token has")),
        }
    }

    /// The user name; empty where a token says enough.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// For people, without the secret.
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

    /// base64 of `user:password`, as Basic and the `auth` member of configuration files have it. Tokens have none.
    pub(crate) fn encoded(&self) -> Option<String> {
        match &self.secret {
            Secret::Password(password) => Some(STANDARD.encode(format!("{}:{password}", self.user))),
            _ => None,
        }
    }

    /// User and password out of base64. The text is not quoted in the error: it is a secret.
    pub(crate) fn decoded(text: &str) -> Result<(String, String)> {
        let bytes = LENIENT.decode(text.trim()).map_err(|_| invalid("no base64"))?;
        let text = String::from_utf8(bytes).map_err(|_| invalid("not UTF-8"))?;
        // Docker fills up with NUL.
        let (user, password) = text.split_once(':').ok_or_else(|| invalid("there is no colon in it"))?;
        Ok((user.to_owned(), password.trim_end_matches('\0').to_owned()))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.user)
    }
}

/// Whether a header may carry it: the characters of RFC 9110's token68, at least one of them.
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
    fn reads_what_docker_and_people_write() {
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
    fn no_secret_is_shown() {
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
