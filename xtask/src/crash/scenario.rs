//! The scenarios: a command of pullet and its start state.

use super::images::{IMAGE, MOVED, OTHER};

pub struct Scenario {
    pub name: &'static str,
    /// The images to pull before: the repository, and the content that its tag names then.
    pub before: &'static [(&'static str, &'static str)],
    /// The arguments. `@` is replaced by the registry, `GUARDED` by the one that requires a login, and `TARGET` by the
    /// target.
    pub words: &'static [&'static str],
    /// True if the user nobody runs it, not root.
    pub is_ordinary: bool,
}

pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "pull into an empty store", words: &["pull", "@/image"], ..NOTHING },
    Scenario {
        name: "pull in addition to another image",
        before: &[(OTHER, OTHER)],
        words: &["pull", "@/image"],
        ..NOTHING
    },
    Scenario { name: "pull a tag that moved", before: &[(MOVED, OTHER)], words: &["pull", "@/moved"], ..NOTHING },
    Scenario {
        name: "unpack from the store",
        before: &[(IMAGE, IMAGE)],
        words: &["unpack", "@/image", "TARGET"],
        ..NOTHING
    },
    Scenario { name: "unpack with its pull", words: &["unpack", "@/image", "TARGET"], ..NOTHING },
    Scenario { name: "unpack as it arrives", words: &["unpack", "--stream", "@/image", "TARGET"], ..NOTHING },
    Scenario { name: "artifact", words: &["artifact", "@/artifact", "TARGET"], ..NOTHING },
    Scenario { name: "login", words: &["login", "-u", "me", "--password-stdin", "GUARDED"], ..NOTHING },
    Scenario {
        name: "unpack with its pull, as an ordinary user",
        words: &["unpack", "@/image", "TARGET"],
        is_ordinary: true,
        ..NOTHING
    },
];

const NOTHING: Scenario = Scenario { name: "", before: &[], words: &[], is_ordinary: false };
