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

impl Configuration {
    /// The facts, in the order in which they count.
    pub fn facts(&self) -> Vec<Fact> {
        let mut facts =
            vec![Fact::new("name", self.name.to_string()), Fact::new("platform", self.platform.to_string())];
        facts.extend(self.roots.iter().map(|roots| Fact::new("roots", roots)));
        for (key, value) in &self.policy {
            let fact = Fact::new(key.trim_start(), value);
            match facts.last_mut() {
                Some(policy) if key.starts_with(' ') => policy.details.push(fact),
                _ => facts.push(fact),
            }
        }
        facts.extend(self.endpoints.iter().map(|(planned, whose)| endpoint(planned, whose)));
        facts
    }
}

/// One fact of a [`Configuration`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fact {
    /// What it is about, such as `endpoint` or `proxy`.
    pub key: &'static str,
    /// The value, for people.
    pub value: String,
    /// More about it. Several can have the same key.
    pub details: Vec<Fact>,
}

impl Fact {
    fn new(key: &'static str, value: impl Into<String>) -> Self {
        Self { key, value: value.into(), details: Vec::new() }
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fact in self.facts() {
            writeln!(f, "{}: {}", fact.key, Escaped(&fact.value))?;
            fact.details.iter().try_for_each(|more| writeln!(f, "  {}: {}", more.key, Escaped(&more.value)))?;
        }
        Ok(())
    }
}

fn endpoint(planned: &Planned, whose: &str) -> Fact {
    let mut details = Vec::new();
    let mut add = |key: &'static str, value: &str| details.push(Fact::new(key, value));
    add("from", if planned.from.is_empty() { "its name" } else { &planned.from });
    add(
        "asked for",
        match (planned.resolves, planned.pulls) {
            (true, true) => "tags, digests",
            (true, false) => "tags",
            (false, true) => "digests",
            (false, false) => "nothing",
        },
    );
    if let Some(namespace) = &planned.namespace {
        add("namespace", namespace);
    }
    if let Some(tls) = &planned.tls {
        let unverified = tls.insecure.as_ref().map(|from| format!("not verified ({from})"));
        add("certificate", unverified.as_deref().unwrap_or("verified"));
        tls.authorities.iter().for_each(|file| add("ca", file));
        tls.client.iter().for_each(|file| add("client certificate", file));
    }
    if planned.proxies.is_empty() {
        add("proxy", "none");
    }
    planned.proxies.iter().for_each(|(url, from)| add("proxy", &format!("{url} ({from})")));
    add("credentials", whose);
    Fact { details, ..Fact::new("endpoint", planned.urls.join(", else ")) }
}
