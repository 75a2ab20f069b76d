//! Parses the boot parameters on the kernel's command line. The command line is trusted, because it decides what the machine
//! boots. Malformed and unknown `pullet.` parameters are still errors: a typing error in `pullet.digest` must not remove the
//! pin of an image silently.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::advice::Advice;
use crate::date::parse_duration;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::read_capped;

/// Maximum size of the command line in bytes; kernels for common machines have at most 4 KiB.
const LINE_LIMIT: usize = 64 << 10;
/// The default of `pullet.wait`.
const WAIT: Duration = Duration::from_secs(60);
/// The parameters that begin with `pullet.`.
const KNOWN: [&str; 8] = [
    "pullet.image",
    "pullet.digest",
    "pullet.ca",
    "pullet.key",
    "pullet.policy",
    "pullet.root",
    "pullet.overlay",
    "pullet.wait",
];

/// The parameters for a boot.
#[derive(Debug, PartialEq)]
pub(super) struct Parameters {
    /// `pullet.image`, not parsed.
    pub(super) image: String,
    pub(super) digest: Option<Digest>,
    pub(super) ca: Option<PathBuf>,
    /// All values of `pullet.key`.
    pub(super) keys: Vec<PathBuf>,
    pub(super) policy: Option<PathBuf>,
    pub(super) root: RootLocation,
    pub(super) overlay: Option<Tmpfs>,
    pub(super) wait: Duration,
    /// `init`, a parameter of the kernel.
    pub(super) init: Option<String>,
}

/// Where the tree of the new root is stored.
#[derive(Debug, PartialEq)]
pub(super) enum RootLocation {
    Memory(Tmpfs),
    /// A path in `/dev/`. The device may not exist yet.
    Device(PathBuf),
    Folder(PathBuf),
}

/// A tmpfs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tmpfs {
    /// The size as tmpfs's mount option has it: `64m`, `50%`.
    pub(super) size: Option<String>,
}

/// Reads the kernel's command line, or the file at `path` instead.
pub(super) fn read_cmdline(path: Option<&Path>) -> Result<Vec<u8>> {
    let is_kernel = path.is_none();
    let path = path.unwrap_or(Path::new("/proc/cmdline"));
    match File::open(path).and_then(|file| read_capped(file, LINE_LIMIT)) {
        Ok(Some(line)) => Ok(line),
        Ok(None) => Err(malformed(&format!("read {}: more than {LINE_LIMIT} bytes", path.display()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound && is_kernel => {
            let text = "read the kernel's command line: /proc is not mounted";
            Err(Error::new(ErrorKind::Disk, text).with_advice(Advice::GiveCommandLine))
        }
        Err(e) => Err(Error::disk("read", path, e)),
    }
}

impl Parameters {
    /// Parses a command line. If a parameter other than `pullet.key` is repeated, the last one counts.
    pub(super) fn parse(line: &[u8]) -> Result<Self> {
        for word in Words(line).filter(|word| word.name.starts_with(b"pullet.")) {
            if !KNOWN.iter().any(|known| known.as_bytes() == word.name) {
                return Err(malformed(&format!("unknown parameter {}", String::from_utf8_lossy(word.name))));
            }
        }
        let Some(image) = value_of(line, "pullet.image")? else { return Err(malformed("pullet.image is missing")) };
        let digest = match value_of(line, "pullet.digest")? {
            Some(text) => Some(text.parse().map_err(|e: Error| malformed(&format!("pullet.digest: {e}")))?),
            None => None,
        };
        let root = match value_of(line, "pullet.root")? {
            Some(text) => parse_root(&text)?,
            None => RootLocation::Memory(Tmpfs::default()),
        };
        let overlay = match value_of(line, "pullet.overlay")? {
            Some(text) => Some(parse_overlay(&text)?),
            None => None,
        };
        let wait = match value_of(line, "pullet.wait")? {
            Some(text) => parse_wait(&text)?,
            None => WAIT,
        };
        Ok(Self {
            image,
            digest,
            ca: value_of(line, "pullet.ca")?.map(PathBuf::from),
            keys: values_of(line, "pullet.key")?.into_iter().map(PathBuf::from).collect(),
            policy: value_of(line, "pullet.policy")?.map(PathBuf::from),
            root,
            overlay,
            wait,
            init: parse_init(line)?,
        })
    }
}

/// Returns the last value of a parameter, or `None` if the parameter is missing.
fn value_of(line: &[u8], name: &str) -> Result<Option<String>> {
    let last = Words(line).filter(|word| word.name == name.as_bytes()).last();
    last.map(|word| word.text(name)).transpose()
}

/// Returns all values of a parameter.
fn values_of(line: &[u8], name: &str) -> Result<Vec<String>> {
    Words(line).filter(|word| word.name == name.as_bytes()).map(|word| word.text(name)).collect()
}

fn parse_root(text: &str) -> Result<RootLocation> {
    if let Some(tmpfs) = parse_tmpfs("pullet.root", text)? {
        return Ok(RootLocation::Memory(tmpfs));
    }
    if text.starts_with("/dev/") {
        return Ok(RootLocation::Device(text.into()));
    }
    if text.starts_with('/') {
        return Ok(RootLocation::Folder(text.into()));
    }
    let expected = "neither tmpfs[:SIZE] nor the path of a block device or folder";
    Err(malformed(&format!("pullet.root={text} is {expected}")))
}

fn parse_overlay(text: &str) -> Result<Tmpfs> {
    parse_tmpfs("pullet.overlay", text)?
        .ok_or_else(|| malformed(&format!("pullet.overlay={text} is not tmpfs or tmpfs:SIZE")))
}

/// Parses `tmpfs` or `tmpfs:SIZE`. Returns `None` for anything else. The size must be a plain number, because other text
/// could add mount options, and not 0, because that means no limit for tmpfs.
fn parse_tmpfs(name: &str, text: &str) -> Result<Option<Tmpfs>> {
    if text == "tmpfs" {
        return Ok(Some(Tmpfs::default()));
    }
    let Some(size) = text.strip_prefix("tmpfs:") else { return Ok(None) };
    let digits = size.strip_suffix(['%', 'k', 'K', 'm', 'M', 'g', 'G']).unwrap_or(size);
    let is_number = digits.bytes().all(|b| b.is_ascii_digit());
    if is_number && digits.parse::<u64>().is_ok_and(|number| number > 0) {
        return Ok(Some(Tmpfs { size: Some(size.to_owned()) }));
    }
    Err(malformed(&format!("{name}={text}: \"{size}\" is not a size such as 64m or 50%")))
}

fn parse_wait(text: &str) -> Result<Duration> {
    let error = || malformed(&format!("pullet.wait={text} is not a time such as 30, 30s, 5m or 1h"));
    parse_duration(text).ok_or_else(error)
}

/// The program is printed as one word for a shell, so its path must have no spaces or control characters.
fn parse_init(line: &[u8]) -> Result<Option<String>> {
    let init = value_of(line, "init")?;
    if init.as_ref().is_some_and(|init| !init.bytes().all(|b| b.is_ascii_graphic())) {
        return Err(malformed("init is not a plain path"));
    }
    Ok(init)
}

fn malformed(what: &str) -> Error {
    let text = format!("kernel command line: {what}");
    Error::new(ErrorKind::Usage, text).with_advice(Advice::ListBootParameters)
}

/// One parameter of a command line.
struct Word<'a> {
    name: &'a [u8],
    /// The text after the equals sign, if there is one.
    value: Option<&'a [u8]>,
}

impl Word<'_> {
    /// The value, which must not be empty. `name` is for the error.
    fn text(&self, name: &str) -> Result<String> {
        let value = self.value.unwrap_or_default();
        if value.is_empty() {
            return Err(malformed(&format!("{name} has no value")));
        }
        match std::str::from_utf8(value) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(malformed(&format!("{name} is not UTF-8"))),
        }
    }
}

/// Iterates over the parameters of a command line. The grammar is that of `next_arg` in the kernel's lib/cmdline.c: spaces
/// inside quotes do not separate parameters, and the quotes around a value or a whole parameter are removed. Everything after
/// `--` is for init and is ignored.
struct Words<'a>(&'a [u8]);

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.0.iter().position(|&b| !is_space(b))?;
        let text = self.0.get(start..)?;
        let (text, is_quoted) = match text.strip_prefix(b"\"") {
            Some(inner) => (inner, true),
            None => (text, false),
        };
        let mut in_quotes = is_quoted;
        let end = text.iter().position(|&b| {
            in_quotes ^= b == b'"';
            is_space(b) && !in_quotes
        });
        let (text, rest) = text.split_at_checked(end.unwrap_or(text.len()))?;
        self.0 = rest;
        let word = split_word(text, is_quoted);
        if word.name == b"--" && word.value.is_none() {
            self.0 = &[];
            return None;
        }
        Some(word)
    }
}

/// Splits `NAME=VALUE`. `is_quoted` is true if a quote before the name was removed.
fn split_word(text: &[u8], is_quoted: bool) -> Word<'_> {
    let without_quote = |text| <[u8]>::strip_suffix(text, b"\"").unwrap_or(text);
    // As in the kernel, an equals sign at the start belongs to the name.
    let equals = text.iter().skip(1).position(|&b| b == b'=').map(|position| position + 1);
    let Some((name, value)) = equals.and_then(|position| text.split_at_checked(position)) else {
        return Word { name: if is_quoted { without_quote(text) } else { text }, value: None };
    };
    let value = value.strip_prefix(b"=").unwrap_or(value);
    let value = match value.strip_prefix(b"\"") {
        Some(inner) => without_quote(inner),
        None if is_quoted => without_quote(value),
        None => value,
    };
    Word { name, value: Some(value) }
}

/// The kernel's `isspace`. Unlike `is_ascii_whitespace`, it includes the vertical tab.
fn is_space(b: u8) -> bool {
    b.is_ascii_whitespace() || b == 0x0b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_words_as_the_kernel_does() {
        for (line, expected) in [
            ("", &[][..]),
            (" \t\n\x0b", &[]),
            ("quiet\n", &[("quiet", None)]),
            ("a=1  b=2\tc", &[("a", Some("1")), ("b", Some("2")), ("c", None)]),
            ("a= b==", &[("a", Some("")), ("b", Some("="))]),
            ("a=\"b c\" d", &[("a", Some("b c")), ("d", None)]),
            ("\"a=b c\" d", &[("a", Some("b c")), ("d", None)]),
            ("\"a b\" c", &[("a b", None), ("c", None)]),
            ("a=b\" c\"d e", &[("a", Some("b\" c\"d")), ("e", None)]),
            ("a=\"b c", &[("a", Some("b c"))]),
            ("a=\"", &[("a", Some(""))]),
            ("\"", &[("", None)]),
            ("=a=b", &[("=a", Some("b"))]),
            ("a=b -- a=c", &[("a", Some("b"))]),
            ("--=x a", &[("--", Some("x")), ("a", None)]),
        ] {
            let text = |bytes| std::str::from_utf8(bytes).unwrap_or("?");
            let words: Vec<_> = Words(line.as_bytes()).map(|word| (text(word.name), word.value.map(text))).collect();
            assert_eq!(words, expected, "{line:?}");
        }
    }

    fn parse(line: &str) -> std::result::Result<Parameters, String> {
        Parameters::parse(line.as_bytes()).map_err(|e| {
            assert_eq!(e.kind(), ErrorKind::Usage, "{e}");
            e.to_string()
        })
    }

    fn tmpfs(size: Option<&str>) -> Tmpfs {
        Tmpfs { size: size.map(str::to_owned) }
    }

    #[test]
    fn missing_parameters_have_defaults() {
        let expected = Parameters {
            image: "a".to_owned(),
            digest: None,
            ca: None,
            root: RootLocation::Memory(tmpfs(None)),
            keys: Vec::new(),
            policy: None,
            overlay: None,
            wait: Duration::from_secs(60),
            init: None,
        };
        assert_eq!(parse("BOOT_IMAGE=/vmlinuz pullet.image=a quiet\n"), Ok(expected));
    }

    #[test]
    fn parses_all_parameters() {
        let hex = "0123456789abcdef".repeat(4);
        let line = format!(
            "pullet.image=x init=/bin/x pullet.image=r.io/app:1 pullet.digest=sha256:{hex} pullet.ca=\"/a b.pem\" \
             pullet.root=/dev/vda pullet.policy=/policy.json pullet.key=/a.pub pullet.overlay=tmpfs:50% pullet.wait=5 pullet.key=/b.pub init=/bin/init -- pullet.image=no"
        );
        let expected = Parameters {
            image: "r.io/app:1".to_owned(),
            digest: format!("sha256:{hex}").parse().ok(),
            ca: Some("/a b.pem".into()),
            root: RootLocation::Device("/dev/vda".into()),
            overlay: Some(tmpfs(Some("50%"))),
            keys: vec!["/a.pub".into(), "/b.pub".into()],
            policy: Some("/policy.json".into()),
            wait: Duration::from_secs(5),
            init: Some("/bin/init".to_owned()),
        };
        assert_eq!(parse(&line), Ok(expected));
    }

    #[test]
    fn parses_root_locations() {
        let root = |text: &str| parse(&format!("pullet.image=a pullet.root={text}")).map(|found| found.root);
        for (text, expected) in [
            ("tmpfs", RootLocation::Memory(tmpfs(None))),
            ("tmpfs:64m", RootLocation::Memory(tmpfs(Some("64m")))),
            ("tmpfs:100%", RootLocation::Memory(tmpfs(Some("100%")))),
            ("tmpfs:65536", RootLocation::Memory(tmpfs(Some("65536")))),
            ("/dev/disk/by-label/root", RootLocation::Device("/dev/disk/by-label/root".into())),
            ("/mnt/data", RootLocation::Folder("/mnt/data".into())),
        ] {
            assert_eq!(root(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn parses_waits_with_their_units() {
        for (text, seconds) in [("1", 1), ("30", 30), ("30s", 30), ("5m", 300), ("1h", 3600), ("4294967295s", u32::MAX)]
        {
            assert_eq!(parse_wait(text).ok(), Some(Duration::from_secs(seconds.into())), "{text}");
        }
    }

    #[test]
    fn rejects_malformed_parameters() {
        for (line, expected) in [
            ("quiet", "pullet.image is missing"),
            ("-- pullet.image=a", "pullet.image is missing"),
            ("pullet.image", "pullet.image has no value"),
            ("pullet.image=", "pullet.image has no value"),
            ("pullet.image=a pullet.image=", "pullet.image has no value"),
            ("pullet.image=a pullet.key=/a pullet.key=", "pullet.key has no value"),
            ("pullet.image=a init", "init has no value"),
            ("pullet.image=a init=\"/bin/sh -c\"", "init is not a plain path"),
            ("pullet.image=a pullet.digset=sha256:0", "unknown parameter pullet.digset"),
            ("pullet.image=a pullet.=", "unknown parameter pullet."),
            ("pullet.image=a pullet.digest=sha256:0", "pullet.digest: "),
            ("pullet.image=a pullet.root=vda", "pullet.root=vda is neither"),
            ("pullet.image=a pullet.root=LABEL=root", "pullet.root=LABEL=root is neither"),
            ("pullet.image=a pullet.root=tmpfs:", "\"\" is not a size"),
            ("pullet.image=a pullet.root=tmpfs:0", "\"0\" is not a size"),
            ("pullet.image=a pullet.root=tmpfs:m", "\"m\" is not a size"),
            ("pullet.image=a pullet.root=tmpfs:+1m", "\"+1m\" is not a size"),
            ("pullet.image=a pullet.root=tmpfs:1m,mode=777", "\"1m,mode=777\" is not a size"),
            ("pullet.image=a pullet.root=tmpfs:99999999999999999999", "is not a size"),
            ("pullet.image=a pullet.root=tmpfsx", "pullet.root=tmpfsx is neither"),
            ("pullet.image=a pullet.overlay=/dev/vda", "pullet.overlay=/dev/vda is not tmpfs"),
            ("pullet.image=a pullet.wait=0", "pullet.wait=0 is not a time"),
            ("pullet.image=a pullet.wait=0m", "pullet.wait=0m is not a time"),
            ("pullet.image=a pullet.wait=-1", "pullet.wait=-1 is not a time"),
            ("pullet.image=a pullet.wait=+1s", "pullet.wait=+1s is not a time"),
            ("pullet.image=a pullet.wait=s", "pullet.wait=s is not a time"),
            ("pullet.image=a pullet.wait=5ss", "pullet.wait=5ss is not a time"),
            ("pullet.image=a pullet.wait=1d", "pullet.wait=1d is not a time"),
            ("pullet.image=a pullet.wait=4294967296", "is not a time"),
            ("pullet.image=a pullet.wait=1193047h", "is not a time"),
        ] {
            let found = parse(line);
            let is_expected = |text: &String| text.starts_with("kernel command line: ") && text.contains(expected);
            assert!(found.as_ref().is_err_and(is_expected), "{line}: {found:?}");
        }
        let found = Parameters::parse(b"pullet.image=\xff");
        assert!(found.is_err_and(|e| e.to_string().contains("is not UTF-8")));
        // Other parameters may have any content.
        assert!(Parameters::parse(b"\xff=\xfe pullet.image=a \x00").is_ok());
    }
}
