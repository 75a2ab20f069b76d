//! Stands in for `registries` and `hosts` where pullet is built without TOML: nothing of these files is read, and what
//! says something is refused, for it might say that nothing may be fetched.

use std::path::Path;

use crate::oci::reference::Reference;
use crate::oci::route::Route;

const ABSENT: &str = "this pullet is built without TOML and cannot obey it";

/// Files of containers that say nothing of registries.
#[derive(Default)]
pub(super) struct Registries(());

/// What such files say of a name: nothing ever.
pub(super) enum Word {
    #[allow(dead_code, reason = "what would be said is refused before")]
    Blocked(String),
    #[allow(dead_code, reason = "what would be said is refused before")]
    Route(Box<Route>),
}

impl Registries {
    /// What distributions install, comments and settings of other things, is as good as no file.
    pub(super) fn parse(text: &str, _: &str) -> Result<Self, String> {
        let mut is_top = true;
        let mut is_said = |line: &str| {
            let line: String = line.chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '\'')).collect();
            is_top &= !line.starts_with('[');
            // A key behind a table's head is that table's own: short names have aliases of any name.
            let keys = ["registry=", "registry.", "registries.", "unqualified-search-registries="];
            (is_top && keys.iter().any(|key| line.starts_with(key)))
                || ["[[registry]]", "[registry", "[registries"].iter().any(|head| line.starts_with(head))
        };
        if text.lines().any(&mut is_said) { Err(ABSENT.to_owned()) } else { Ok(Self(())) }
    }

    pub(super) fn merge(&mut self, _: Self) {}

    pub(super) fn search(&self) -> Option<&str> {
        None
    }

    pub(super) fn word(&self, _: &Reference) -> Result<Option<Word>, String> {
        Ok(None)
    }
}

/// Any `hosts.toml` says something.
pub(super) fn parse(_: &str, _: &Path, _: &str) -> Result<Route, String> {
    Err(ABSENT.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_something_is_refused() {
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
