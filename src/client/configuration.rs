//! What would be used for a name, and which file, variable or option says so. Nobody is contacted, no program is run, and
//! no secret is shown.

use std::fmt;

use super::client::Client;
use crate::error::Result;
use crate::escape::Escaped;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::progress::Progress;
use crate::registry::Planned;

/// What would be used for a name. Its `Display` is for people and for scripts alike: a line a fact, `key: value`, those
/// of an endpoint indented below it.
pub struct Configuration {
    name: Reference,
    platform: Platform,
    roots: Option<String>,
    endpoints: Vec<(Planned, String)>,
}

impl Client {
    /// What would be used for `name`: its endpoints in the order in which they are asked, with certificates, proxy, and
    /// whose credentials.
    pub fn configuration(&self, name: &Reference, progress: &dyn Progress) -> Result<Configuration> {
        let shown = || -> Result<Configuration> {
            let (planned, roots) = self.connections.plan(name)?;
            let mut endpoints = Vec::new();
            for planned in planned {
                let whose = match &self.options.credentials {
                    Some(given) if planned.is_named => format!("{} (given explicitly)", given.whose()),
                    _ => self.credential_store.whose(&planned.name, progress)?.unwrap_or_else(|| "none".to_owned()),
                };
                endpoints.push((planned, whose));
            }
            Ok(Configuration { name: name.clone(), platform: self.platform.clone(), roots, endpoints })
        };
        shown().map_err(|e| e.context(format!("configuration for {name}")))
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "name: {}\nplatform: {}", self.name, self.platform)?;
        if let Some(roots) = &self.roots {
            writeln!(f, "roots: {}", Escaped(roots))?;
        }
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
