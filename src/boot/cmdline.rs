//! The kernel's command line: its grammar, and what of it is for us. Whoever writes it says what the machine boots, so it
//! is believed; but it must be well-formed, and no `pullet.` in it is passed over: a slip in `pullet.digest` would else
//! unpin an image without a word.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::advice::Advice;
use crate::digest::Digest;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::read_capped;

/// No kernel takes more than 4 KiB on today's machines.
const LINE_LIMIT: usize = 64 << 10;
/// Seconds that the network may take to come up, where nothing is said.
const WAIT: u32 = 60;

/// What the command line says of the system to be booted.
#[derive(Debug, PartialEq)]
pub(crate) struct Parameters {
    /// `pullet.image`, not parsed.
    pub(crate) image: String,
    pub(crate) digest: Option<Digest>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) root: RootPlace,
    pub(crate) overlay: Option<Memory>,
    pub(crate) wait: Duration,
    /// `init`, which is the kernel's own.
    pub(crate) init: Option<String>,
}

/// Where the new root is to lie.
#[derive(Debug, PartialEq)]
pub(crate) enum RootPlace {
    Memory(Memory),
    /// In `/dev/`: it may be that it has yet to appear.
    Device(PathBuf),
    Folder(PathBuf),
}

/// A tmpfs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Memory {
    /// In tmpfs's own words: `64m`, `50%`.
    pub(crate) size: Option<String>,
}

/// The command line as the kernel tells it, or as a file has it.
pub(crate) fn read_cmdline(named: Option<&Path>) -> Result<Vec<u8>> {
    let path = named.unwrap_or(Path::new("/proc/cmdline"));
    let read = File::open(path).and_then(|file| read_capped(file, LINE_LIMIT));
    match read {
        Ok(Some(line)) => Ok(line),
        Ok(None) => Err(misspelt(&format!("read {}: more than {LINE_LIMIT} bytes", path.display()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound && named.is_none() => {
            let text = "read the kernel's command line: /proc is not mounted";
            Err(Error::new(ErrorKind::Disk, text).with_advice(Advice::GiveCommandLine))
        }
        Err(e) => Err(Error::disk("read", path, e)),
    }
}

impl Parameters {
    /// Of parameters that are there several times the last one counts.
    pub(crate) fn parse(line: &[u8]) -> Result<Self> {
        if let Some((name, _)) = Words(line).find(|(name, _)| name.starts_with(b"pullet.") && !is_known(name)) {
            return Err(misspelt(&format!("there is no {}", String::from_utf8_lossy(name))));
        }
        let Some(image) = said(line, "pullet.image")? else {
            let text = "pullet.image is missing";
            return Err(misspelt(text));
        };
        let digest = said(line, "pullet.digest")?.map(|text| digest(&text)).transpose()?;
        let ca = said(line, "pullet.ca")?.map(PathBuf::from);
        let root = said(line, "pullet.root")?.map_or_else(|| Ok(RootPlace::Memory(Memory::default())), root)?;
        let overlay = said(line, "pullet.overlay")?.map(overlay).transpose()?;
        let wait = said(line, "pullet.wait")?.map_or(Ok(WAIT), |text| seconds(&text))?;
        let init = said(line, "init")?;
        if init.as_ref().is_some_and(|init| !init.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(misspelt("init is no plain path"));
        }
        Ok(Self { image, digest, ca, root, overlay, wait: Duration::from_secs(wait.into()), init })
    }
}

fn is_known(name: &[u8]) -> bool {
    let ours = name.strip_prefix(b"pullet.").unwrap_or_default();
    [&b"image"[..], b"digest", b"ca", b"root", b"overlay", b"wait"].contains(&ours)
}

/// The last value that a parameter has.
fn said(line: &[u8], name: &str) -> Result<Option<String>> {
    let Some((_, value)) = Words(line).filter(|(word, _)| *word == name.as_bytes()).last() else { return Ok(None) };
    match value.map(|value| std::str::from_utf8(value)) {
        None | Some(Ok("")) => Err(misspelt(&format!("{name} says nothing"))),
        Some(Ok(text)) => Ok(Some(text.to_owned())),
        Some(Err(_)) => Err(misspelt(&format!("{name} is not UTF-8"))),
    }
}

fn digest(text: &str) -> Result<Digest> {
    text.parse().map_err(|e: Error| misspelt(&format!("pullet.digest: {e}")))
}

fn root(text: String) -> Result<RootPlace> {
    if let Some(memory) = memory("pullet.root", &text)? {
        return Ok(RootPlace::Memory(memory));
    }
    match text.as_str() {
        device if device.starts_with("/dev/") => Ok(RootPlace::Device(text.into())),
        folder if folder.starts_with('/') => Ok(RootPlace::Folder(text.into())),
        _ => Err(misspelt(&format!(
            "pullet.root={text} is neither tmpfs[:SIZE] nor the path of a block device or folder"
        ))),
    }
}

fn overlay(text: String) -> Result<Memory> {
    memory("pullet.overlay", &text)?
        .ok_or_else(|| misspelt(&format!("pullet.overlay={text} is not tmpfs or tmpfs:SIZE")))
}

/// `tmpfs` or `tmpfs:SIZE`. What is no plain number could be another option of the mount; and of 0 tmpfs takes that it has
/// no limit.
fn memory(name: &str, text: &str) -> Result<Option<Memory>> {
    let size = match text.strip_prefix("tmpfs") {
        Some("") => return Ok(Some(Memory::default())),
        Some(rest) => rest.strip_prefix(':'),
        None => None,
    };
    let Some(size) = size else { return Ok(None) };
    let digits = size.strip_suffix(['%', 'k', 'K', 'm', 'M', 'g', 'G']).unwrap_or(size);
    match digits.parse::<u64>().is_ok_and(|n| n > 0) && digits.bytes().all(|b| b.is_ascii_digit()) {
        true => Ok(Some(Memory { size: Some(size.to_owned()) })),
        false => Err(misspelt(&format!("{name}={text}: \"{size}\" is no size such as 64m or 50%"))),
    }
}

fn seconds(text: &str) -> Result<u32> {
    let seconds = text.parse().ok().filter(|&seconds| seconds > 0);
    seconds
        .ok_or_else(|| misspelt(&format!("pullet.wait={text} is no number of seconds, of which it takes at least one")))
}

fn misspelt(what: &str) -> Error {
    let text = format!("kernel command line: {what}");
    Error::new(ErrorKind::Usage, text).with_advice(Advice::ListBootParameters)
}

/// The parameters of a command line, each with its value if it has one. The grammar is that of `next_arg` in the kernel's
/// lib/cmdline.c: quotes keep spaces together, and are taken off around a value or around the whole. What follows `--` is
/// for init.
struct Words<'a>(&'a [u8]);

impl<'a> Iterator for Words<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.0.iter().position(|&b| !is_space(b))?;
        let text = self.0.get(start..)?;
        let (text, is_quoted) = text.strip_prefix(b"\"").map_or((text, false), |text| (text, true));
        let mut in_quotes = is_quoted;
        let end = text.iter().position(|&b| {
            in_quotes ^= b == b'"';
            is_space(b) && !in_quotes
        });
        let (word, rest) = text.split_at_checked(end.unwrap_or(text.len()))?;
        self.0 = rest;
        let bare = |text: &'a [u8]| text.strip_suffix(b"\"").unwrap_or(text);
        // One at the very start is none.
        let equals = word.iter().skip(1).position(|&b| b == b'=').map(|at| at + 1);
        let found = match equals.and_then(|at| word.split_at_checked(at)) {
            None => (if is_quoted { bare(word) } else { word }, None),
            Some((name, value)) => {
                let value = value.strip_prefix(b"=").unwrap_or(value);
                let value = match value.strip_prefix(b"\"") {
                    Some(inner) => bare(inner),
                    None if is_quoted => bare(value),
                    None => value,
                };
                (name, Some(value))
            }
        };
        match found {
            (b"--", None) => {
                self.0 = &[];
                None
            }
            found => Some(found),
        }
    }
}

/// The kernel's `isspace`, of which Rust's lacks the vertical tab.
fn is_space(b: u8) -> bool {
    b.is_ascii_whitespace() || b == 0x0b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_kernel() {
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
            let words: Vec<_> = Words(line.as_bytes()).map(|(name, value)| (text(name), value.map(text))).collect();
            assert_eq!(words, expected, "{line:?}");
        }
    }

    fn parse(line: &str) -> std::result::Result<Parameters, String> {
        Parameters::parse(line.as_bytes()).map_err(|e| {
            assert_eq!(e.kind(), ErrorKind::Usage, "{e}");
            e.to_string()
        })
    }

    fn memory(size: Option<&str>) -> Memory {
        Memory { size: size.map(str::to_owned) }
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let expected = Parameters {
            image: "a".to_owned(),
            digest: None,
            ca: None,
            root: RootPlace::Memory(memory(None)),
            overlay: None,
            wait: Duration::from_secs(60),
            init: None,
        };
        assert_eq!(parse("BOOT_IMAGE=/vmlinuz pullet.image=a quiet\n"), Ok(expected));
    }

    #[test]
    fn all_that_can_be_said() {
        let hex = "0123456789abcdef".repeat(4);
        let line = format!(
            "pullet.image=x init=/bin/x pullet.image=r.io/app:1 pullet.digest=sha256:{hex} pullet.ca=\"/a b.pem\" \
             pullet.root=/dev/vda pullet.overlay=tmpfs:50% pullet.wait=5 init=/bin/init -- pullet.image=no"
        );
        let expected = Parameters {
            image: "r.io/app:1".to_owned(),
            digest: format!("sha256:{hex}").parse().ok(),
            ca: Some("/a b.pem".into()),
            root: RootPlace::Device("/dev/vda".into()),
            overlay: Some(memory(Some("50%"))),
            wait: Duration::from_secs(5),
            init: Some("/bin/init".to_owned()),
        };
        assert_eq!(parse(&line), Ok(expected));
    }

    #[test]
    fn places() {
        let root = |text: &str| parse(&format!("pullet.image=a pullet.root={text}")).map(|found| found.root);
        for (text, expected) in [
            ("tmpfs", RootPlace::Memory(memory(None))),
            ("tmpfs:64m", RootPlace::Memory(memory(Some("64m")))),
            ("tmpfs:100%", RootPlace::Memory(memory(Some("100%")))),
            ("tmpfs:65536", RootPlace::Memory(memory(Some("65536")))),
            ("/dev/disk/by-label/root", RootPlace::Device("/dev/disk/by-label/root".into())),
            ("/mnt/data", RootPlace::Folder("/mnt/data".into())),
        ] {
            assert_eq!(root(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for (line, expected) in [
            ("quiet", "pullet.image is missing"),
            ("-- pullet.image=a", "pullet.image is missing"),
            ("pullet.image", "pullet.image says nothing"),
            ("pullet.image=", "pullet.image says nothing"),
            ("pullet.image=a pullet.image=", "pullet.image says nothing"),
            ("pullet.image=a init", "init says nothing"),
            ("pullet.image=a init=\"/bin/sh -c\"", "init is no plain path"),
            ("pullet.image=a pullet.digset=sha256:0", "there is no pullet.digset"),
            ("pullet.image=a pullet.=", "there is no pullet."),
            ("pullet.image=a pullet.digest=sha256:0", "pullet.digest: "),
            ("pullet.image=a pullet.root=vda", "pullet.root=vda is neither"),
            ("pullet.image=a pullet.root=LABEL=root", "pullet.root=LABEL=root is neither"),
            ("pullet.image=a pullet.root=tmpfs:", "\"\" is no size"),
            ("pullet.image=a pullet.root=tmpfs:0", "\"0\" is no size"),
            ("pullet.image=a pullet.root=tmpfs:m", "\"m\" is no size"),
            ("pullet.image=a pullet.root=tmpfs:+1m", "\"+1m\" is no size"),
            ("pullet.image=a pullet.root=tmpfs:1m,mode=777", "\"1m,mode=777\" is no size"),
            ("pullet.image=a pullet.root=tmpfs:99999999999999999999", "is no size"),
            ("pullet.image=a pullet.root=tmpfsx", "pullet.root=tmpfsx is neither"),
            ("pullet.image=a pullet.overlay=/dev/vda", "pullet.overlay=/dev/vda is not tmpfs"),
            ("pullet.image=a pullet.wait=0", "pullet.wait=0 is no number"),
            ("pullet.image=a pullet.wait=-1", "pullet.wait=-1 is no number"),
            ("pullet.image=a pullet.wait=5s", "pullet.wait=5s is no number"),
            ("pullet.image=a pullet.wait=4294967296", "is no number"),
        ] {
            let found = parse(line);
            let is_expected = |text: &String| text.starts_with("kernel command line: ") && text.contains(expected);
            assert!(found.as_ref().is_err_and(is_expected), "{line}: {found:?}");
        }
        let found = Parameters::parse(b"pullet.image=\xff");
        assert!(found.is_err_and(|e| e.to_string().contains("is not UTF-8")));
        // What is not ours may be anything.
        assert!(Parameters::parse(b"\xff=\xfe pullet.image=a \x00").is_ok());
    }
}
