//! cross.toml as values: the targets and flavours that pullet is built for. Unknown keys are errors, so that a typo in
//! a budget cannot remove the budget.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Result, cargo, disk};

pub struct Targets {
    pub flavours: Vec<Flavour>,
    /// Sorted by tier, then by triple.
    pub targets: Vec<Target>,
}

/// A choice of features.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Flavour {
    /// Its key in the file.
    #[serde(skip)]
    pub name: String,
    pub features: Vec<String>,
    /// Features of the standard library. If there are any, the standard library is built from source.
    #[serde(default)]
    pub std_features: Vec<String>,
    /// How a panic ends the program, if not as in the release profile.
    pub panic: Option<Panic>,
    #[serde(default)]
    pub rustflags: Vec<String>,
    /// Flags for C code.
    pub cflags: Option<String>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Panic {
    /// Without a message.
    ImmediateAbort,
}

/// How pullet is built for one target, and how the result runs on this machine.
#[derive(Debug, Deserialize)]
pub struct Target {
    /// Its key in the file.
    #[serde(skip)]
    pub triple: String,
    pub tier: u64,
    /// Where the standard library comes from, if it must not be rustup's prebuilt one.
    pub std: Option<Std>,
    /// A program of qemu-user, and the processor that it emulates. A target has both, or this machine runs it.
    emulator: Option<String>,
    cpu: Option<String>,
    /// Features on top of the default ones, for flavours that have those.
    #[serde(default, rename = "features")]
    extra_features: Vec<String>,
    #[serde(default)]
    pub rustflags: Vec<String>,
    /// Flags for C code.
    pub cflags: Option<String>,
    /// All other keys: the most bytes that the binary may have, by flavour.
    #[serde(flatten)]
    pub budgets: BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Std {
    Source,
}

/// How this machine runs programs of another architecture.
pub struct Emulation<'a> {
    /// A program of qemu-user.
    pub program: &'a str,
    pub cpu: &'a str,
}

/// The file. The tables outside `pullet` belong to cross-rs.
#[derive(Deserialize)]
struct Document {
    pullet: Tables,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    flavour: BTreeMap<String, Flavour>,
    target: BTreeMap<String, Target>,
}

/// Reads cross.toml of the workspace.
pub fn read() -> Result<Targets> {
    let text = disk::read(&cargo::root().join("cross.toml"))?;
    parse(&text).map_err(|error| format!("cross.toml: {error}"))
}

impl Targets {
    pub fn flavour(&self, name: &str) -> Result<&Flavour> {
        let known: Vec<&str> = self.flavours.iter().map(|flavour| flavour.name.as_str()).collect();
        let found = self.flavours.iter().find(|flavour| flavour.name == name);
        found.ok_or_else(|| format!("no flavour \"{name}\": expected one of {}", known.join(", ")))
    }

    /// The target with this triple, or the only one whose triple begins with the word.
    pub fn target(&self, word: &str) -> Result<&Target> {
        let matching: Vec<&Target> = self.targets.iter().filter(|target| target.triple.starts_with(word)).collect();
        if let [target] = matching[..] {
            return Ok(target);
        }
        let candidates = if matching.is_empty() { self.targets.iter().collect() } else { matching };
        let names: Vec<&str> = candidates.iter().map(|target| target.triple.as_str()).collect();
        Err(format!("\"{word}\" does not name exactly one target of {}", names.join(", ")))
    }
}

impl Flavour {
    /// True if the flavour lists the feature itself.
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|name| name == feature)
    }
}

impl Target {
    /// The emulator that the target's programs need, or `None` if they run natively.
    pub fn emulation(&self) -> Option<Emulation<'_>> {
        Some(Emulation { program: self.emulator.as_deref()?, cpu: self.cpu.as_deref()? })
    }

    /// The features of pullet in this flavour.
    pub fn features<'a>(&'a self, flavour: &'a Flavour) -> Vec<&'a str> {
        let extra: &[String] = if flavour.has("default") { &self.extra_features } else { &[] };
        flavour.features.iter().chain(extra).map(String::as_str).collect()
    }
}

fn parse(text: &str) -> Result<Targets> {
    let document: Document = toml::from_str(text).map_err(|error| error.to_string())?;
    let name_flavour = |(name, flavour)| Flavour { name, ..flavour };
    let flavours = document.pullet.flavour.into_iter().map(name_flavour).collect();
    let name_target = |(triple, target)| Target { triple, ..target };
    let targets = document.pullet.target.into_iter().map(name_target).collect();
    let mut targets = Targets { flavours, targets };
    targets.targets.sort_by(|one, other| (one.tier, &one.triple).cmp(&(other.tier, &other.triple)));
    for target in &targets.targets {
        check(target, &targets).map_err(|why| format!("[pullet.target.{}]: {why}", target.triple))?;
    }
    Ok(targets)
}

fn check(target: &Target, targets: &Targets) -> Result {
    if target.emulator.is_some() != target.cpu.is_some() {
        return Err("emulator and cpu need each other".into());
    }
    target.budgets.keys().try_for_each(|flavour| targets.flavour(flavour).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_file_of_the_workspace() {
        let targets = read().unwrap();
        assert_eq!(targets.targets.len(), 7);
        assert_eq!(targets.target("armv7").unwrap().triple, "armv7-unknown-linux-musleabihf");
        assert!(targets.target("arm").is_err_and(|why| why.contains("armv5te-")));
        assert!(targets.target("sparc").is_err_and(|why| why.contains("x86_64-")));
        assert!(targets.flavour("huge").is_err_and(|why| why.contains("tiny-notls")));
        for target in &targets.targets {
            assert!(target.budgets.contains_key("full"), "{} has no budget", target.triple);
        }
        // CI tests the first tier: one 32-bit and one 64-bit target.
        let first: Vec<&str> = targets.targets.iter().filter(|t| t.tier == 1).map(|t| t.triple.as_str()).collect();
        assert_eq!(first, ["armv7-unknown-linux-musleabihf", "x86_64-unknown-linux-musl"]);
    }

    #[test]
    fn refuses_unknown_keys_and_values() {
        let check = |target: &str, expected: &str| {
            let text = format!("[pullet.flavour.full]\nfeatures = []\n[pullet.target.t]\n{target}");
            let error = parse(&text).err().unwrap_or_default();
            assert_eq!(error.is_empty(), expected.is_empty(), "{target}: {error}");
            assert!(error.contains(expected), "{target}: {error}");
        };
        check("tier = 1\nfull = 9\n[target.t]\nimage = \"tables of cross-rs may hold anything\"", "");
        check("full = 9", "missing field `tier`");
        check("tier = 1\nfull = \"9\"", "invalid type");
        check("tier = 1\nrustflag = []", "invalid type");
        check("tier = 1\ntiny = 9", "[pullet.target.t]: no flavour \"tiny\"");
        check("tier = 1\nstd = \"x\"", "unknown variant `x`");
        check("tier = 1\ncpu = \"x\"", "[pullet.target.t]: emulator and cpu need each other");
        check("tier = 1\n[pullet.x]", "unknown field `x`");
        check("tier = 1\n[pullet.flavour.f]\nfeatures = []\nflags = []", "unknown field `flags`");
    }
}
