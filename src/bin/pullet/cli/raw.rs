//! The options of commands that write an image to a file or a device.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use pullet::{Decompression, RawTarget, Readback, Reference, WriteOptions, Written};

use super::command::CommandLine;
use super::options::{Group, Opt};
use super::value::name;
use crate::exit::Failure;
use crate::report::{Outcome, Reporter};

/// Where an image is written, and how.
#[derive(Default)]
pub(crate) struct RawOptions {
    pub(crate) output: Option<PathBuf>,
    write: WriteOptions,
    reads_back: bool,
    reads_not_back: bool,
}

/// The options for a single image.
pub(crate) static RAW: Group<RawOptions> = Group {
    heading: "Output",
    options: &[
        Opt::value(
            "-o, --output FILE|DEVICE",
            "write to a file, which appears complete or not at all, or to a block device",
            |raw, value| {
                raw.output = Some(value.path()?);
                Ok(())
            },
        ),
        Opt::value(
            "--decompress auto|gzip|zstd|none",
            "unpack the blob; auto goes by its media type, which a blob without a manifest does not have (default: auto)",
            |raw, value| {
                let decompression = value.choice(&DECOMPRESSIONS)?;
                raw.write = std::mem::take(&mut raw.write).decompression(decompression);
                Ok(())
            },
        ),
        Opt::value(
            "--unpacked-digest DIGEST",
            "refuse an image that does not have this digest when it is unpacked (default: the annotation \
             containerd.io/uncompressed, if there is one)",
            |raw, value| {
                raw.write = std::mem::take(&mut raw.write).unpacked_digest(value.text()?.parse()?);
                Ok(())
            },
        ),
        Opt::value(
            "--unpacked-size BYTES[k|m|g|t]",
            "refuse an image that does not have this size when it is unpacked, and a device that is smaller before anything is \
             fetched",
            |raw, value| {
                raw.write = std::mem::take(&mut raw.write).unpacked_size(value.bytes()?);
                Ok(())
            },
        ),
        Opt::flag(
            "--skip-same",
            "compare with what is there and write only blocks that differ; an existing file is then changed in place",
            |raw| raw.write = std::mem::take(&mut raw.write).skip_same(true),
        ),
        Opt::flag("--readback", "read the image back and verify it, also in a file", |raw| raw.reads_back = true),
        Opt::flag("--no-readback", "do not read the image back from a device", |raw| raw.reads_not_back = true),
        Opt::value("--expect-partlabel LABEL", "refuse anything but a partition with this label", |raw, value| {
            raw.write = std::mem::take(&mut raw.write).expect_partlabel(value.text()?);
            Ok(())
        }),
    ],
};

const DECOMPRESSIONS: [(&str, Decompression); 4] = [
    ("auto", Decompression::Auto),
    ("gzip", Decompression::Gzip),
    ("zstd", Decompression::Zstd),
    ("none", Decompression::None),
];

/// What a user must know about devices.
pub(crate) const DEVICE_NOTE: &str = "A device must exist and must not be in use. Its old image is lost as soon as the first half megabyte has arrived. Until the new \
     image is complete and was read back, its first 68 KiB are invalid, so that nothing boots or mounts it. The same command \
     goes on where an earlier one was cut off.";

impl RawOptions {
    /// Opens the target. Call it before the sandbox is entered.
    pub(crate) fn open(self, line: &CommandLine, path: &Path) -> Result<RawTarget, Failure> {
        if self.reads_back && self.reads_not_back {
            return Err(line.misused("--readback and --no-readback exclude each other"));
        }
        let mut options = self.write;
        if self.reads_back || self.reads_not_back {
            options = options.readback(self.reads_back);
        }
        Ok(RawTarget::open(path, options)?)
    }

    /// Refuses the options if there is no output.
    pub(crate) fn refuse_without_output(line: &CommandLine) -> Result<(), Failure> {
        let mut names = RAW.options.iter().map(|option| option.spec.long()).chain(["--max-zstd-window", "--max-bytes"]);
        match names.find(|name| line.is_given(name)) {
            Some(name) => Err(line.misused(format!("{name} needs -o"))),
            None => Ok(()),
        }
    }
}

/// A NAME with the title of a file behind it: `NAME:TAG:TITLE` or `NAME@DIGEST:TITLE`. What follows a name without a tag is the
/// tag, as everywhere.
pub(crate) fn name_and_title(word: &OsString) -> Result<(Reference, Option<String>), Failure> {
    let whole = match name(word) {
        Ok(name) => return Ok((name, None)),
        Err(failure) => failure,
    };
    let text = word.to_str().unwrap_or_default();
    for (colon, _) in text.match_indices(':') {
        let (label, title) = (text.get(..colon).unwrap_or_default(), text.get(colon + 1..).unwrap_or_default());
        let has_tag = label.contains('@') || label.rsplit('/').next().is_some_and(|last| last.contains(':'));
        if has_tag
            && !title.is_empty()
            && let Ok(name) = name(&label.into())
        {
            return Ok((name, Some(title.to_owned())));
        }
    }
    Err(whole)
}

/// Reports what was written.
pub(crate) fn report(written: &Written, path: &Path, reporter: &Reporter) {
    let Written { digest, size, blocks, written: count, punched, readback, .. } = written;
    reporter.result(&Outcome { path: Some(path), bytes: Some(*size), ..Outcome::default() });
    reporter.note(&format!("Wrote {size} bytes ({digest}) to {}", path.display()));
    let zeroed = if *punched > 0 { format!(", and {punched} made zero") } else { String::new() };
    reporter.note(&format!("Blocks of 4 KiB: {count} written{zeroed}, of an image of {blocks}"));
    if *readback != Readback::Skipped {
        reporter.note(&format!("Readback: {}", readback.word()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_follows_a_tag_or_a_digest() {
        let digest = format!("sha256:{}", "0".repeat(64));
        for (word, expected) in [
            ("r.io/a", ("r.io/a:latest", None)),
            ("r.io/a:boot.img", ("r.io/a:boot.img", None)),
            ("localhost:5000/a", ("localhost:5000/a:latest", None)),
            ("localhost:5000/a:1:boot.img", ("localhost:5000/a:1", Some("boot.img"))),
            ("r.io/a:1:etc/x:y@z", ("r.io/a:1", Some("etc/x:y@z"))),
            ("docker://r.io/a:1:x", ("r.io/a:1", Some("x"))),
            (&format!("r.io/a@{digest}"), (&format!("r.io/a@{digest}"), None)),
            (&format!("r.io/a@{digest}:x"), (&format!("r.io/a@{digest}"), Some("x"))),
            (&format!("r.io/a:1@{digest}:x y"), (&format!("r.io/a:1@{digest}"), Some("x y"))),
        ] {
            let found = name_and_title(&word.into()).ok().map(|(name, title)| (name.to_string(), title));
            assert_eq!(found, Some((expected.0.to_owned(), expected.1.map(str::to_owned))), "{word}");
        }
        for word in ["r.io/a:1:", "r.io/A:1:x", "r.io/a@sha256:0:x", ":x", "::"] {
            assert!(name_and_title(&word.into()).is_err(), "{word}");
        }
    }
}
