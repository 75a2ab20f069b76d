//! `pullet ls`: lists a directory of the merged root filesystem of an image in the store.

use std::os::unix::ffi::OsStrExt as _;

use pullet::{FileType, ListedFile, Sandbox};
use serde_json::{Value, json};

use crate::cli::command::{Command, CommandLine};
use crate::cli::common::Common;
use crate::cli::format::{self, FORMAT, Format};
use crate::cli::limits::{BLOB_LIMITS, TREE_LIMITS, WINDOW_LIMIT};
use crate::cli::options::{Group, Opt};
use crate::cli::registry::{NAME_NOTE, RegistryOptions};
use crate::cli::value::selector;
use crate::exit::Failure;
use crate::report::Reporter;
use crate::{output, sandbox, text};

pub(super) static COMMAND: Command = Command {
    name: "ls",
    arguments: "NAME [PATH]",
    summary: "list a folder of an image in the store",
    about: "List a folder of the merged root filesystem of an image in the store, or its root, sorted by name. Links lead to \
            where they would lead a program that runs in the image. Names are escaped if the output is a terminal. NAME \
            may be the beginning of an image ID.",
    definitions: &[],
    groups: &[&OPTIONS, &FORMAT, &BLOB_LIMITS, &TREE_LIMITS, &WINDOW_LIMIT],
    notes: &[NAME_NOTE],
    run,
};

/// The first and the last second of the years that are shown, since the Unix epoch. An archive may have any time.
const YEAR_1: i64 = pullet::GO_ZERO_TIME;
const YEAR_9999: i64 = 253_402_300_799;

#[derive(Default)]
struct Options {
    is_long: bool,
    is_recursive: bool,
}

static OPTIONS: Group<Options> = Group {
    heading: "Options",
    options: &[
        Opt::flag("-l", "also print mode, owner, group, size, time (UTC), and where links lead", |options| {
            options.is_long = true;
        }),
        Opt::flag("-R, --recursive", "list everything below the folder, as paths", |options| {
            options.is_recursive = true;
        }),
    ],
};

fn run(line: &CommandLine, common: &Common, reporter: &Reporter) -> Result<(), Failure> {
    let Options { is_long, is_recursive } = line.options()?;
    let Format { is_json } = line.options()?;
    if is_json && is_long {
        return Err(line.misused("-l has no effect with --format json, which prints all that is known"));
    }
    let options = RegistryOptions::parse(line, common)?.read_options();
    let (word, path) = match line.all_operands() {
        [] => return Err(line.missing(COMMAND.arguments)),
        [word] => (word, &b"/"[..]),
        [word, path] => (word, path.as_bytes()),
        [_, _, extra, ..] => return Err(line.misused(format!("unexpected argument {extra:?}"))),
    };
    let selector = selector(word)?;
    let store = common.store()?;
    sandbox::enter(&Sandbox::new().stored(&store).offline(), reporter);
    let files = store.select(&selector)?.list(path, is_recursive, &options)?;
    if is_json {
        return text::print(format::lines(files.iter().map(object)));
    }
    let widths = Widths::of(&files);
    let mut lines = Vec::new();
    for file in &files {
        if is_long {
            lines.extend(widths.details(file).into_bytes());
        }
        lines.extend(output::image_path(&file.path));
        if is_long && let FileType::Symlink(target) = &file.file_type {
            lines.extend_from_slice(b" -> ");
            lines.extend(output::image_path(target));
        }
        lines.push(b'\n');
    }
    text::print(lines)
}

/// A file for programs. JSON cannot have bytes that are not UTF-8, so they are replaced.
fn object(file: &ListedFile) -> Value {
    let target =
        if let FileType::Symlink(target) = &file.file_type { Some(String::from_utf8_lossy(target)) } else { None };
    json!({
        "Path": String::from_utf8_lossy(&file.path),
        "Mode": mode(file),
        "Uid": file.uid,
        "Gid": file.gid,
        "Size": file.size,
        "ModTime": pullet::format_rfc_3339(file.mtime.clamp(YEAR_1, YEAR_9999)),
        "Target": target,
    })
}

/// The widths of columns with numbers.
#[derive(Default)]
struct Widths {
    uid: usize,
    gid: usize,
    size: usize,
}

impl Widths {
    fn of(files: &[ListedFile]) -> Self {
        let mut widths = Self::default();
        for file in files {
            widths.uid = widths.uid.max(file.uid.to_string().len());
            widths.gid = widths.gid.max(file.gid.to_string().len());
            widths.size = widths.size.max(size(file).len());
        }
        widths
    }

    /// The columns before the name.
    fn details(&self, file: &ListedFile) -> String {
        let Self { uid, gid, size: width } = *self;
        let time = pullet::format_rfc_3339(file.mtime.clamp(YEAR_1, YEAR_9999)).replace('T', " ");
        let (mode, size) = (mode(file), size(file));
        format!("{mode} {:>uid$} {:>gid$} {size:>width$} {} ", file.uid, file.gid, time.trim_end_matches('Z'))
    }
}

/// The size, or the numbers of a device.
fn size(file: &ListedFile) -> String {
    match file.file_type {
        FileType::BlockDevice(major, minor) | FileType::CharacterDevice(major, minor) => format!("{major}, {minor}"),
        _ => file.size.to_string(),
    }
}

/// Type and permissions in the letters of `ls -l`.
fn mode(file: &ListedFile) -> String {
    let mut text = String::from(match file.file_type {
        FileType::Directory => 'd',
        FileType::Symlink(_) => 'l',
        FileType::Fifo => 'p',
        FileType::BlockDevice(..) => 'b',
        FileType::CharacterDevice(..) => 'c',
        _ => '-',
    });
    // Who, the bit that changes the meaning of execution, and its letters without and with it.
    for (shift, special, letters) in [(6, 0o4000, ['S', 's']), (3, 0o2000, ['S', 's']), (0, 0o1000, ['T', 't'])] {
        let bits = file.mode >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        let [without, with] = if file.mode & special == 0 { ['-', 'x'] } else { letters };
        text.push(if bits & 1 == 0 { without } else { with });
    }
    text
}
