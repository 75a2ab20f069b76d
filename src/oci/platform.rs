//! Platforms, and which of them run on which: containerd's rules (`platforms/compare.go`, `database.go`,
//! `cpuinfo_linux.go`). Detects the platform of this machine from data that `host/` reads.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};

/// An operating system, architecture and variant, in Go's names and normalised: `arm` without a variant becomes
/// `arm/v7`; `arm64/v8` and `amd64/v1` lose their variant.
///
/// ```
/// let platform: pullet::Platform = "linux/aarch64".parse()?;
/// assert_eq!(platform.to_string(), "linux/arm64");
/// # Ok::<(), pullet::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Platform {
    os: String,
    architecture: String,
    variant: String,
}

impl Platform {
    /// Normalises the names in a manifest or config. Accepts any text, because platforms are only compared.
    pub(crate) fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let (architecture, variant) = normalise(&architecture.to_ascii_lowercase(), &variant.to_ascii_lowercase());
        Self { os: normalise_os(os), architecture, variant }
    }

    /// The platform of a machine. `architecture` is Rust's name; `cpuinfo` (the content of `/proc/cpuinfo`) and
    /// `machine` (the output of `uname -m`) give the variant on ARM.
    pub(crate) fn of_machine(architecture: &str, cpuinfo: Option<&str>, machine: &str) -> Self {
        let variant = match architecture {
            "arm" => cpuinfo.and_then(arm_variant).or_else(|| machine_variant(machine)).unwrap_or_default(),
            _ => String::new(),
        };
        Self::new("linux", rust_architecture(architecture), &variant)
    }

    /// The operating system, such as `linux`.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The architecture, such as `arm64`.
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The variant, such as `v7`; empty if there is none.
    pub fn variant(&self) -> &str {
        &self.variant
    }

    /// How well an image for `other` runs on this platform: 0 is the same platform, larger is a worse fallback, `None`
    /// does not run.
    pub(crate) fn rank(&self, other: &Platform) -> Option<usize> {
        if other.os != self.os {
            return None;
        }
        self.runnable().iter().position(|(a, v)| *a == other.architecture && *v == other.variant)
    }

    /// The architectures and variants that run on this platform, best first (containerd's `platformVector`).
    fn runnable(&self) -> Vec<(String, String)> {
        let mut candidates: Vec<(&str, String)> = Vec::new();
        match self.architecture.as_str() {
            "amd64" => {
                candidates.extend(below(&self.variant, 1).map(|variant| ("amd64", variant)));
                candidates.push(("amd64", String::new()));
                candidates.push(("386", String::new()));
            }
            "arm" => candidates.extend(below(&self.variant, 5).map(|variant| ("arm", variant))),
            "arm64" => {
                candidates.extend(arm64_variants(&self.variant).map(|variant| ("arm64", variant)));
                candidates.extend((5..=8).rev().map(|n| ("arm", format!("v{n}"))));
            }
            _ => {}
        }
        let mut runnable = vec![(self.architecture.clone(), self.variant.clone())];
        for (architecture, variant) in candidates {
            let (architecture, variant) = normalise(architecture, &variant);
            if !runnable.contains(&(architecture.clone(), variant.clone())) {
                runnable.push((architecture, variant));
            }
        }
        runnable
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// Parses `OS[/ARCH[/VARIANT]]`. A single word may also be an architecture, as in containerd. The default operating
    /// system is `linux`, the default architecture the one of this build. Fails with [`ErrorKind::Usage`].
    fn from_str(text: &str) -> Result<Self> {
        let is_word = |part: &&str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        };
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(is_word) {
            return Err(invalid(text));
        }
        match parts.as_slice() {
            [one] if is_os(one) => Ok(Self::new(one, rust_architecture(std::env::consts::ARCH), "")),
            [one] if is_architecture(one) => Ok(Self::new("linux", one, "")),
            [os, architecture] => Ok(Self::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Self::new(os, architecture, variant)),
            _ => Err(invalid(text)),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_str() {
            "" => Ok(()),
            variant => write!(f, "/{variant}"),
        }
    }
}

fn invalid(text: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("invalid platform \"{text}\""))
        .with_hint("a platform is OS[/ARCH[/VARIANT]], for example linux/arm64 or linux/arm/v7")
}

/// The variants below `variant`, down to `v{last}`.
fn below(variant: &str, last: u32) -> impl Iterator<Item = String> + use<> {
    let own = variant.strip_prefix('v').and_then(|n| n.parse::<u32>().ok()).filter(|&n| n <= 16).unwrap_or(0);
    (last..own).rev().map(|n| format!("v{n}"))
}

/// The arm64 variants that run on `variant`: v9.N runs v8.(N+5) and below (Arm's architecture manual).
fn arm64_variants(variant: &str) -> impl Iterator<Item = String> + use<> {
    let own = match variant {
        "" => "8",
        variant => variant.trim_start_matches('v'),
    };
    let (major, minor) = own.split_once('.').unwrap_or((own, "0"));
    let minor = minor.parse::<u32>().ok().filter(|&n| n <= 16).unwrap_or(0);
    let (nines, eights) = match major {
        "9" => (Some(minor), Some(minor + 5)),
        "8" => (None, Some(minor)),
        _ => (None, None),
    };
    let versions = move |major: u32, top: Option<u32>| {
        top.into_iter().flat_map(|top| (0..=top).rev()).map(move |minor| match minor {
            0 => format!("v{major}"),
            minor => format!("v{major}.{minor}"),
        })
    };
    versions(9, nines).chain(versions(8, eights))
}

fn normalise_os(os: &str) -> String {
    match os.to_ascii_lowercase().as_str() {
        "macos" => "darwin".to_owned(),
        os => os.to_owned(),
    }
}

/// containerd's `normalizeArch`.
fn normalise(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = match (architecture, variant) {
        ("i386" | "i686" | "386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64" | "arm64", "9" | "9.0" | "v9.0") => ("arm64", "v9"),
        ("aarch64" | "arm64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

/// Go's name for an architecture that has this name in Rust.
fn rust_architecture(architecture: &str) -> &str {
    match architecture {
        "x86" => "386",
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "loongarch64" => "loong64",
        "mips" if cfg!(target_endian = "little") => "mipsle",
        "mips64" if cfg!(target_endian = "little") => "mips64le",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "powerpc64" => "ppc64",
        other => other,
    }
}

/// The variant in `/proc/cpuinfo`. An ARMv6 core (Raspberry Pi 1 and Zero) reports architecture 7 and a model name with
/// "ARMv6-compatible"; images for v7 crash on it (moby#37647).
fn arm_variant(cpuinfo: &str) -> Option<String> {
    let field = |name: &str| {
        cpuinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let model = field("model name").or_else(|| field("Processor")).unwrap_or_default().to_ascii_lowercase();
    match field("CPU architecture")?.to_ascii_lowercase().as_str() {
        version if version.starts_with('7') && model.starts_with("armv6-compatible") => Some("v6".to_owned()),
        "8" | "aarch64" => Some("v8".to_owned()),
        version => arm_generation(version),
    }
}

/// The variant in the output of `uname -m`, such as `armv6l`.
fn machine_variant(machine: &str) -> Option<String> {
    match machine.strip_prefix("armv") {
        Some(generation) => arm_generation(generation),
        None => (machine == "aarch64").then(|| "v8".to_owned()),
    }
}

/// The variant of an ARM architecture such as `5TEJ`, `6TEJ` or `7M`. The generation is the first digit.
fn arm_generation(text: &str) -> Option<String> {
    match text.chars().next() {
        Some(digit @ '3'..='8') => Some(format!("v{digit}")),
        _ => None,
    }
}

fn is_os(word: &str) -> bool {
    const KNOWN: [&str; 15] = [
        "aix",
        "android",
        "darwin",
        "dragonfly",
        "freebsd",
        "illumos",
        "ios",
        "js",
        "linux",
        "macos",
        "netbsd",
        "openbsd",
        "plan9",
        "solaris",
        "windows",
    ];
    KNOWN.contains(&word.to_ascii_lowercase().as_str())
}

fn is_architecture(word: &str) -> bool {
    const KNOWN: [&str; 24] = [
        "386", "aarch64", "amd64", "arm", "arm64", "armbe", "armel", "armhf", "i386", "i686", "loong64", "mips",
        "mips64", "mips64le", "mipsle", "ppc", "ppc64", "ppc64le", "riscv", "riscv64", "s390x", "wasm", "x86-64",
        "x86_64",
    ];
    KNOWN.contains(&word.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Platform {
        match text.parse() {
            Ok(platform) => platform,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn parses_and_normalises_as_containerd_does() {
        for (text, normal) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("armhf", "linux/arm/v7"),
            ("armel", "linux/arm/v6"),
            ("arm64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/i386", "linux/386"),
            ("macos/arm64", "darwin/arm64"),
        ] {
            assert_eq!(parse(text).to_string(), normal, "{text}");
        }
        for bad in ["", "/", "linux/", "linux/arm/v7/x", "li nux/arm", "nonsense", "linux/\u{1b}[31m"] {
            assert_eq!(bad.parse::<Platform>().map_err(|e| e.kind()).err(), Some(ErrorKind::Usage), "{bad}");
        }
    }

    #[test]
    fn ranks_runnable_platforms_best_first() {
        let cases: [(&str, &[&str], &[&str]); 7] = [
            ("linux/amd64", &["linux/amd64", "linux/386"], &["linux/amd64/v2", "linux/arm64", "windows/amd64"]),
            ("linux/amd64/v3", &["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"], &["linux/amd64/v4"]),
            ("linux/arm/v7", &["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"], &["linux/arm/v8", "linux/arm64"]),
            ("linux/arm/v6", &["linux/arm/v6", "linux/arm/v5"], &["linux/arm/v7"]),
            (
                "linux/arm64",
                &["linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v5"],
                &["linux/arm64/v9", "linux/amd64"],
            ),
            (
                "linux/arm64/v9",
                &["linux/arm64/v9", "linux/arm64/v8.5", "linux/arm64", "linux/arm/v7"],
                &["linux/arm64/v9.1"],
            ),
            ("linux/riscv64", &["linux/riscv64"], &["linux/arm64"]),
        ];
        for (host, runs, cannot) in cases {
            let ranks: Vec<_> = runs.iter().map(|other| parse(host).rank(&parse(other))).collect();
            assert!(ranks.iter().all(Option::is_some) && ranks.is_sorted(), "{host}: {ranks:?}");
            for other in cannot {
                assert_eq!(parse(host).rank(&parse(other)), None, "{other} on {host}");
            }
        }
    }

    #[test]
    fn detects_the_arm_variant_of_the_machine() {
        let cpuinfo = |model: &str, version: &str| {
            format!("processor\t: 0\nmodel name\t: {model}\nCPU architecture: {version}\n")
        };
        for (cpuinfo, machine, expected) in [
            (Some(cpuinfo("ARMv7 Processor rev 4 (v7l)", "7")), "armv7l", "linux/arm/v7"),
            (Some(cpuinfo("ARMv6-compatible processor rev 7 (v6l)", "7")), "armv6l", "linux/arm/v6"),
            (Some(cpuinfo("ARM926EJ-S rev 5 (v5l)", "5TEJ")), "armv5tejl", "linux/arm/v5"),
            (Some(cpuinfo("ARMv8 Processor", "8")), "armv8l", "linux/arm/v8"),
            (Some("no such line".to_owned()), "armv6l", "linux/arm/v6"),
            (None, "armv5tel", "linux/arm/v5"),
            (None, "aarch64", "linux/arm/v8"),
            (None, "unknown", "linux/arm/v7"),
        ] {
            assert_eq!(Platform::of_machine("arm", cpuinfo.as_deref(), machine).to_string(), expected);
        }
        assert_eq!(Platform::of_machine("aarch64", None, "aarch64").to_string(), "linux/arm64");
        assert_eq!(Platform::of_machine("x86_64", None, "x86_64").to_string(), "linux/amd64");
    }
}
