//! `pullet version`: prints what this program is made of.

use serde_json::{Map, Value};

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::options::{Group, Opt};
use crate::cli::registry::{PLATFORM, RegistryOptions};
use crate::exit::Failure;
use crate::json;
use crate::report::Reporter;
use crate::template::Template;
use crate::text;

pub(super) static COMMAND: Command = Command {
    name: "version",
    arguments: "",
    summary: "print what this program is made of",
    about: "Print the version, how this program was built and with which features, the platform for which it chooses images, and \
            which root certificates it has for machines without any.",
    definitions: &[],
    groups: &[&OPTIONS, &PLATFORM],
    notes: &["FORMAT is `json` or a template, in Go's syntax as with Docker: `{{.Version}}`, `{{.Features}}`."],
    run,
};

#[derive(Default)]
struct Options {
    format: Option<String>,
}

static OPTIONS: Group<Options> = Group {
    heading: "Options",
    options: &[Opt::value("-f, --format FORMAT", "print it in this form", |options, value| {
        options.format = Some(value.text()?.to_owned());
        Ok(())
    })],
};

/// The features of the package that this program has.
const FEATURES: [(&str, bool); 12] = [
    ("boot", cfg!(feature = "boot")),
    ("device", cfg!(feature = "device")),
    ("fast-inflate", cfg!(feature = "fast-inflate")),
    ("manage", cfg!(feature = "manage")),
    ("policy", cfg!(feature = "policy")),
    ("sandbox", cfg!(feature = "sandbox")),
    ("socks", cfg!(feature = "socks")),
    ("tls", cfg!(feature = "tls")),
    ("toml", cfg!(feature = "toml")),
    ("trust", cfg!(feature = "trust")),
    ("webpki-roots", cfg!(feature = "webpki-roots")),
    ("zstd", cfg!(feature = "zstd")),
];

fn run(line: &CommandLine, common: &Common, _: &Reporter) -> Result<(), Failure> {
    let Options { format } = line.options()?;
    let registry = RegistryOptions::parse(line, common)?;
    let [] = line.operands()?;
    let platform = registry.platform().cloned().unwrap_or_else(pullet::machine_platform);
    let facts = facts(&platform.to_string());
    let text = match format.as_deref() {
        None => facts.iter().map(|(name, value)| format!("{:<11}{value}\n", format!("{name}:"))).collect(),
        Some(format) => {
            let members = facts.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value)));
            let value = Value::Object(members.collect::<Map<_, _>>());
            match format {
                "json" => format!("{}\n", json::compact(&value)),
                template => format!("{}\n", Template::parse(template)?.text(&value)?),
            }
        }
    };
    text::print(text)
}

fn facts(platform: &str) -> Vec<(&'static str, String)> {
    let features: Vec<&str> = FEATURES.iter().filter(|(_, is_built)| *is_built).map(|(name, _)| *name).collect();
    vec![
        ("Version", env!("CARGO_PKG_VERSION").to_owned()),
        ("Date", pullet::format_rfc_3339(pullet::build_date())),
        ("Target", target()),
        ("Build", if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned()),
        ("Features", features.join(" ")),
        ("Crypto", crypto().to_owned()),
        ("Platform", platform.to_owned()),
        ("Roots", pullet::built_in_roots().unwrap_or_else(|| "none".to_owned())),
    ]
}

const fn crypto() -> &'static str {
    match (cfg!(feature = "tls"), cfg!(feature = "trust")) {
        (true, _) => "ring, rustls",
        (false, true) => "ring, no TLS",
        (false, false) => "none",
    }
}

/// Architecture, system and C library for which the compiler built this.
fn target() -> String {
    let library = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    let linking = if cfg!(target_feature = "crt-static") { "static" } else { "dynamic" };
    format!("{}-{}-{library}, {linking}", std::env::consts::ARCH, std::env::consts::OS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_the_features_of_the_package() {
        let manifest = include_str!("../../../../Cargo.toml");
        let (_, table) = manifest.split_once("\n[features]\n").unwrap_or_default();
        let (table, _) = table.split_once("\n[").unwrap_or_default();
        let names = table.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name);
        let mut expected: Vec<&str> = names.filter(|name| !["cli", "default"].contains(name)).collect();
        expected.sort_unstable();
        assert_eq!(FEATURES.map(|(name, _)| name).to_vec(), expected);
    }
}
