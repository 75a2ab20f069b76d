//! What a build without the feature `policy` must refuse, because ignoring it would remove a demand.

use super::client::Client;
use crate::error::{Error, ErrorKind, Result};
use crate::host::find_policy;

/// The policies that distributions install, without white space. They demand nothing.
const ACCEPT_ANYTHING: [&str; 2] = [
    r#"{"default":[{"type":"insecureAcceptAnything"}]}"#,
    r#"{"default":[{"type":"insecureAcceptAnything"}],"transports":{"docker-daemon":{"":[{"type":"insecureAcceptAnything"}]}}}"#,
];

impl Client {
    /// Fails in a build without the feature `policy` if the caller or this machine demands what it cannot check. The policy
    /// that distributions install is accepted.
    pub(super) fn check_features(&self) -> Result<()> {
        if cfg!(feature = "policy") {
            return Ok(());
        }
        let options = &self.options;
        if options.min_version.is_some() || options.allow_downgrade || options.unconfirmed {
            return Err(not_compiled_in("check versions"));
        }
        let given = options.policy.as_deref();
        if given.is_none() && !options.system_configuration {
            return Ok(());
        }
        let Some(file) = find_policy(given)? else { return Ok(()) };
        let text: Vec<u8> = file.text.into_iter().filter(|b| !b.is_ascii_whitespace()).collect();
        if given.is_none() && ACCEPT_ANYTHING.iter().any(|known| known.as_bytes() == text) {
            return Ok(());
        }
        Err(not_compiled_in(&format!("obey the policy {}", file.path.display())))
    }
}

fn not_compiled_in(what: &str) -> Error {
    let text = format!("{what}: not compiled in: this build does not have the feature \"policy\"");
    Error::new(ErrorKind::Unsupported, text)
}
