//! Replaces `registries` and `hosts` in builds without TOML. A file that configures registries is rejected, because it may
//! forbid what would otherwise be fetched.

use std::path::Path;

use crate::oci::reference::Reference;
use crate::oci::route::Route;

const MISSING_FEATURE: &str = "this pullet was built without TOML support and cannot follow this file";

/// A `registries.conf` that configures no registry.
#[derive(Default)]
pub(super) struct Registries(());

/// The rule for a name; without TOML there is never one.
pub(super) enum Rule {
    #[allow(dead_code, reason = "files with rules are rejected")]
    Blocked { from: String },
    #[allow(dead_code, reason = "files with rules are rejected")]
    Route(Box<Route>),
}

impl Registries {
    /// Accepts the files that distributions install: comments, and settings that do not concern registries.
    pub(super) fn parse(text: &str, _: &str) -> Result<Self, String> {
        let mut is_top_level = true;
        for line in text.lines() {
            let line: String = line.chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '\'')).collect();
            is_top_level &= !line.starts_with('[');
            // Only top-level keys count: the table of aliases may have keys with any name.
            let keys = ["registry=", "registry.", "registries.", "unqualified-search-registries="];
            let tables = ["[[registry]]", "[registry", "[registries"];
            let is_key = is_top_level && keys.iter().any(|key| line.starts_with(key));
            if is_key || tables.iter().any(|table| line.starts_with(table)) {
                return Err(MISSING_FEATURE.to_owned());
            }
        }
        Ok(Self(()))
    }

    pub(super) fn merge(&mut self, _: Self) {}

    /// Files alone are the sources of credentials.
    pub(super) fn credential_helpers(&self) -> &[String] {
        &[]
    }

    pub(super) fn unqualified_search(&self) -> Option<&str> {
        None
    }

    pub(super) fn rule_for(&self, _: &Reference) -> Result<Option<Rule>, String> {
        Ok(None)
    }
}

/// Rejects every `hosts.toml`.
pub(super) fn parse(_: &str, _: &Path, _: &str) -> Result<Route, String> {
    Err(MISSING_FEATURE.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_files_that_configure_registries() {
        for (text, is_refused) in [
            ("", false),
            ("# [[registry]]\n# location = \"r.io\"\n", false),
            ("short-name-mode = \"permissive\"\n[aliases]\n\"registry\" = \"docker.io/library/registry\"\n", false),
            ("[[registry]]\nlocation = \"r.io\"\n", true),
            ("  [[ registry ]]\n", true),
            ("[[\"registry\"]]\n", true),
            ("registry = [{ location = \"r.io\", blocked = true }]\n", true),
            ("[registries.block]\nregistries = [\"r.io\"]\n", true),
            ("unqualified-search-registries = [\"r.io\"]\n", true),
        ] {
            assert_eq!(Registries::parse(text, "f").is_err(), is_refused, "{text}");
        }
    }
}
