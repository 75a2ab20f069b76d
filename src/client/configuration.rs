//! Lists the configuration for a name, and which file, variable or option it comes from. No server is contacted, no
//! credential helper is run, and no secret is shown.

use std::fmt;

use super::client::Client;
use crate::error::Result;
use crate::escape::Escaped;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::progress::Progress;
use crate::registry::Planned;

/// The configuration for a name. `Display` prints one `key: value` line for each fact, for people and scripts; the lines of
/// an endpoint are indented.
pub struct Configuration {
    name: Reference,
    platform: Platform,
    roots: Option<String>,
    endpoints: Vec<(Planned, String)>,
    policy: Vec<(&'static str, String)>,
}

impl Client {
    /// Returns the configuration for `name`: its endpoints in the order in which they would be tried, with certificates,
    /// proxy, and the source of the credentials.
    pub fn configuration(&self, name: &Reference, progress: &dyn Progress) -> Result<Configuration> {
        let collect = || -> Result<Configuration> {
            let (planned, roots) = self.connections.plan(name)?;
            let mut endpoints = Vec::new();
            for planned in planned {
                let whose = match &self.options.credentials {
                    Some(given) if planned.is_named => format!("{} (given explicitly)", given.whose()),
                    _ => self.credential_store.describe(&planned.name, progress)?.unwrap_or_else(|| "none".to_owned()),
                };
                endpoints.push((planned, whose));
            }
            let policy = self.policy_lines(name)?;
            Ok(Configuration { name: name.clone(), platform: self.platform.clone(), roots, endpoints, policy })
        };
        collect().map_err(|e| e.context(format!("configuration for {name}")))
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "name: {}\nplatform: {}", self.name, self.platform)?;
        if let Some(roots) = &self.roots {
            writeln!(f, "roots: {}", Escaped(roots))?;
        }
        self.policy.iter().try_for_each(|(key, value)| writeln!(f, "{key}: {}", Escaped(value)))?;
        self.endpoints.iter().try_for_each(|(planned, whose)| endpoint(f, planned, whose))
    }
}

fn endpoint(f: &mut fmt::Formatter<'_>, planned: &Planned, whose: &str) -> fmt::Result {
    let mut line = |key: &str, value: &str| writeln!(f, "{key}: {}", Escaped(value));
    line("endpoint", &planned.urls.join(", else "))?;
    line("  from", if planned.from.is_empty() { "its name" } else { &planned.from })?;
    line(
        "  asked for",
        match (planned.resolves, planned.pulls) {
            (true, true) => "tags, digests",
            (true, false) => "tags",
            (false, true) => "digests",
            (false, false) => "nothing",
        },
    )?;
    if let Some(namespace) = &planned.namespace {
        line("  namespace", namespace)?;
    }
    if let Some(tls) = &planned.tls {
        let unverified = tls.insecure.as_ref().map(|from| format!("not verified ({from})"));
        line("  certificate", unverified.as_deref().unwrap_or("verified"))?;
        tls.authorities.iter().try_for_each(|file| line("  ca", file))?;
        tls.client.iter().try_for_each(|file| line("  client certificate", file))?;
    }
    if planned.proxies.is_empty() {
        line("  proxy", "none")?;
    }
    planned.proxies.iter().try_for_each(|(url, from)| line("  proxy", &format!("{url} ({from})")))?;
    line("  credentials", whose)
}
