//! cross.toml as values: for which targets and in which flavours pullet is built. What is written there and not known
//! here is an error, so that a slip of the pen in a budget is not a budget less.

use std::collections::BTreeMap;

use super::toml::{self, Table, Value};
use crate::{Result, cargo, disk};

/// The one list.
pub struct Targets {
    pub flavours: Vec<Flavour>,
    pub targets: Vec<Target>,
}

/// What of pullet is built.
#[derive(Debug, Default)]
pub struct Flavour {
    pub name: String,
    pub features: Vec<String>,
    /// Features of the standard library; where there are any it is built with ours.
    pub std_features: Vec<String>,
    /// Whether a panic ends the program without a word.
    pub is_mute: bool,
    pub rustflags: Vec<String>,
    /// For the C parts.
    pub cflags: Option<String>,
}

/// For what it is built, and how it is run elsewhere.
#[derive(Debug, Default)]
pub struct Target {
    pub triple: String,
    pub tier: u64,
    /// Whether the standard library is built with ours although rustup may have it.
    pub has_own_std: bool,
    /// A program of qemu-user and the processor that it shall be; nothing where this machine runs the target itself.
    pub emulator: Option<[String; 2]>,
    /// More features for a flavour that has the default ones.
    more_features: Vec<String>,
    pub rustflags: Vec<String>,
    /// For the C parts.
    pub cflags: Option<String>,
    /// Most bytes, by flavour.
    pub budgets: BTreeMap<String, u64>,
}

/// Reads the list of the workspace.
pub fn read() -> Result<Targets> {
    let text = disk::read(&cargo::root().join("cross.toml"))?;
    parse(&text).map_err(|why| format!("cross.toml: {why}"))
}

impl Targets {
    pub fn flavour(&self, name: &str) -> Result<&Flavour> {
        let known: Vec<&str> = self.flavours.iter().map(|flavour| flavour.name.as_str()).collect();
        let found = self.flavours.iter().find(|flavour| flavour.name == name);
        found.ok_or_else(|| format!("no flavour \"{name}\": there are {}", known.join(", ")))
    }

    /// The target that the word names: whole, or by its beginning where only one begins so.
    pub fn target(&self, word: &str) -> Result<&Target> {
        let fits: Vec<&Target> = self.targets.iter().filter(|target| target.triple.starts_with(word)).collect();
        match fits[..] {
            [target] => Ok(target),
            _ => {
                let some = if fits.is_empty() { self.targets.iter().collect() } else { fits };
                let names: Vec<&str> = some.iter().map(|target| target.triple.as_str()).collect();
                Err(format!("\"{word}\" names no target or several, of {}", names.join(", ")))
            }
        }
    }
}

impl Flavour {
    /// Whether this feature was given to it by name.
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|name| name == feature)
    }
}

impl Target {
    /// What of pullet is built in this flavour.
    pub fn features<'a>(&'a self, flavour: &'a Flavour) -> Vec<&'a str> {
        let more: &[String] = if flavour.has("default") { &self.more_features } else { &[] };
        flavour.features.iter().chain(more).map(String::as_str).collect()
    }
}

fn parse(text: &str) -> Result<Targets> {
    let mut targets = Targets { flavours: Vec::new(), targets: Vec::new() };
    for (name, table) in toml::parse(text)? {
        let of = |why: String| format!("[{name}]: {why}");
        if let Some(triple) = name.strip_prefix("pullet.target.") {
            targets.targets.push(target(triple, table).map_err(of)?);
        } else if let Some(flavour) = name.strip_prefix("pullet.flavour.") {
            targets.flavours.push(self::flavour(flavour, table).map_err(of)?);
        } else if name.starts_with("pullet") {
            return Err(of("there is no such table".into()));
        }
    }
    targets.targets.sort_by(|one, other| (one.tier, &one.triple).cmp(&(other.tier, &other.triple)));
    let budgets = targets.targets.iter().flat_map(|target| target.budgets.keys().map(|name| (&target.triple, name)));
    for (triple, budget) in budgets {
        targets.flavour(budget).map_err(|why| format!("[pullet.target.{triple}]: {why}"))?;
    }
    Ok(targets)
}

fn flavour(name: &str, table: Table) -> Result<Flavour> {
    let mut flavour = Flavour { name: name.to_owned(), ..Flavour::default() };
    for (key, value) in table {
        match (key.as_str(), value) {
            ("features", Value::List(features)) => flavour.features = features,
            ("std-features", Value::List(features)) => flavour.std_features = features,
            ("panic", Value::Text(how)) if how == "immediate-abort" => flavour.is_mute = true,
            ("rustflags", Value::List(flags)) => flavour.rustflags = flags,
            ("cflags", Value::Text(flags)) => flavour.cflags = Some(flags),
            (key, value) => return Err(unexpected(key, &value)),
        }
    }
    Ok(flavour)
}

fn target(triple: &str, table: Table) -> Result<Target> {
    let mut target = Target { triple: triple.to_owned(), ..Target::default() };
    let (mut emulator, mut cpu) = (None, None);
    for (key, value) in table {
        match (key.as_str(), value) {
            ("tier", Value::Number(tier)) => target.tier = tier,
            ("std", Value::Text(from)) if from == "source" => target.has_own_std = true,
            ("emulator", Value::Text(program)) => emulator = Some(program),
            ("cpu", Value::Text(name)) => cpu = Some(name),
            ("features", Value::List(features)) => target.more_features = features,
            ("rustflags", Value::List(flags)) => target.rustflags = flags,
            ("cflags", Value::Text(flags)) => target.cflags = Some(flags),
            (flavour, Value::Number(bytes)) => drop(target.budgets.insert(flavour.to_owned(), bytes)),
            (key, value) => return Err(unexpected(key, &value)),
        }
    }
    target.emulator = match (emulator, cpu) {
        (Some(program), Some(cpu)) => Some([program, cpu]),
        (None, None) => None,
        _ => return Err("emulator and cpu belong together".into()),
    };
    if target.tier == 0 {
        return Err("a tier is missing, from 1 on".into());
    }
    Ok(target)
}

fn unexpected(key: &str, value: &Value) -> String {
    format!("{key} = {value:?} is not known")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_the_workspace_is_good() {
        let targets = read().unwrap();
        assert_eq!(targets.targets.len(), 7);
        assert_eq!(targets.target("armv7").unwrap().triple, "armv7-unknown-linux-musleabihf");
        assert!(targets.target("arm").is_err_and(|why| why.contains("armv5te-")));
        assert!(targets.target("sparc").is_err_and(|why| why.contains("x86_64-")));
        assert!(targets.flavour("huge").is_err_and(|why| why.contains("tiny-notls")));
        for target in &targets.targets {
            assert!(target.budgets.contains_key("full"), "{} has no budget", target.triple);
        }
        // CI tests the first tier: one of each width of a word.
        let first: Vec<&str> = targets.targets.iter().filter(|t| t.tier == 1).map(|t| t.triple.as_str()).collect();
        assert_eq!(first, ["armv7-unknown-linux-musleabihf", "x86_64-unknown-linux-musl"]);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for (text, expected) in [
            ("[pullet.x]", "[pullet.x]: there is no such table"),
            ("[pullet.target.t]", "[pullet.target.t]: a tier is missing, from 1 on"),
            ("[pullet.target.t]\ntier = 1\nfull = 9", "[pullet.target.t]: no flavour \"full\": there are "),
            ("[pullet.target.t]\ntier = \"1\"", "[pullet.target.t]: tier = Text(\"1\") is not known"),
            ("[pullet.target.t]\nstd = \"x\"", "[pullet.target.t]: std = Text(\"x\") is not known"),
            ("[pullet.target.t]\ntier = 1\ncpu = \"x\"", "[pullet.target.t]: emulator and cpu belong together"),
            ("[pullet.flavour.f]\nfeature = []", "[pullet.flavour.f]: feature = List([]) is not known"),
        ] {
            assert_eq!(parse(text).err().as_deref(), Some(expected), "{text}");
        }
        assert!(parse("[target.t]\nimage = \"x\"").is_ok(), "cross's own tables are cross's business");
    }
}
